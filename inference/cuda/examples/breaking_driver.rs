//! A `libcuda.so.1` whose card breaks, for tests of what happens then: built as a library, it is put into a folder of that
//! name and found through `LD_LIBRARY_PATH`. It has the functions that `src/driver.rs` looks up, and no others.
//!
//! `BREAKING_DRIVER_LAUNCHES` says after how many kernels the card breaks; unset, never. `BREAKING_DRIVER_REAL` names the
//! real library: then all is passed on to it, and the card breaks because a kernel is given an address that is none, as a
//! bug or a faulty card would have it. Unset, there is a stand-in for a card: its memory is the machine's and its kernels
//! do nothing, so that whatever runs on it makes nonsense; once broken, every call fails as the real driver's do.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// `CUDA_ERROR_ILLEGAL_ADDRESS`.
const ILLEGAL_ADDRESS: c_int = 700;
/// `CUDA_ERROR_INVALID_VALUE`.
const INVALID_VALUE: c_int = 1;
/// `CUDA_ERROR_OUT_OF_MEMORY`.
const OUT_OF_MEMORY: c_int = 2;
/// An address that no card has.
const NOWHERE: u64 = 0x10;
/// What the stand-in says that it has.
const MEMORY_BYTES: usize = 8 << 30;
/// A handle that stands for whatever is asked for.
const HANDLE: *mut c_void = std::ptr::without_provenance_mut(1);

static LAUNCHES: AtomicU64 = AtomicU64::new(0);
static IS_BROKEN: AtomicBool = AtomicBool::new(false);

/// After how many kernels the card breaks.
fn launches_most() -> u64 {
    static MOST: OnceLock<u64> = OnceLock::new();
    let said = || std::env::var("BREAKING_DRIVER_LAUNCHES").ok().and_then(|count| count.parse().ok());
    *MOST.get_or_init(|| said().unwrap_or(u64::MAX))
}

/// The real library's function of a name; none where there is only the stand-in.
fn real(name: &CStr) -> Option<usize> {
    static LIBRARY: OnceLock<Option<usize>> = OnceLock::new();
    let library = *LIBRARY.get_or_init(|| {
        let path = CString::new(std::env::var("BREAKING_DRIVER_REAL").ok()?).ok()?;
        // SAFETY: the path ends in a zero byte; the library is the driver, whose initialisers run.
        let library = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!library.is_null(), "BREAKING_DRIVER_REAL names no library");
        Some(library as usize)
    });
    // SAFETY: the handle came from `dlopen` and is never closed; the name ends in a zero byte.
    let address = library.map(|library| unsafe { libc::dlsym(library as *mut c_void, name.as_ptr()) });
    assert!(address.is_none_or(|address| !address.is_null()), "the real library lacks {name:?}");
    address.map(|address| address as usize)
}

/// Gives the call to the real function of this name, where there is a real library.
macro_rules! pass_on {
    ($name:ident($($argument:ident: $kind:ty),*)) => {
        static REAL: OnceLock<Option<usize>> = OnceLock::new();
        let name = concat!(stringify!($name), "\0");
        let find = || CStr::from_bytes_with_nul(name.as_bytes()).ok().and_then(real);
        if let Some(address) = *REAL.get_or_init(find) {
            // SAFETY: the address is the real function of this name, which takes the same, and the caller keeps to its
            // terms.
            return unsafe {
                let function: unsafe extern "C" fn($($kind),*) -> c_int = std::mem::transmute(address as *const c_void);
                function($($argument),*)
            };
        }
    };
}

/// Declares functions of the driver by what the stand-in does.
macro_rules! functions {
    ($($name:ident($($argument:ident: $kind:ty),*) $body:block)*) => {$(
        /// As NVIDIA's reference of the driver API has it.
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> c_int {
            pass_on!($name($($argument: $kind),*));
            // SAFETY: the caller keeps to the function's terms: what is written to and read from is there.
            unsafe { $body }
        }
    )*};
}

/// Declares functions for which the stand-in has nothing to do.
macro_rules! idle_functions {
    ($($name:ident($($argument:ident: $kind:ty),*);)*) => {$(
        /// As NVIDIA's reference of the driver API has it.
        ///
        /// # Safety
        /// As there.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name($($argument: $kind),*) -> c_int {
            pass_on!($name($($argument: $kind),*));
            unless_broken(|| ())
        }
    )*};
}

/// Fails once the stand-in is broken, as every call does whose context is lost.
fn unless_broken(work: impl FnOnce()) -> c_int {
    if IS_BROKEN.load(Ordering::Relaxed) {
        return ILLEGAL_ADDRESS;
    }
    work();
    0
}

fn allocate(bytes: usize) -> *mut c_void {
    // SAFETY: any size may be asked for; null says that there is none.
    unsafe { libc::calloc(bytes.max(1), 1) }
}

fn text_of(status: c_int, known: &'static CStr) -> Option<*const c_char> {
    (status == ILLEGAL_ADDRESS).then_some(known.as_ptr())
}

idle_functions! {
    cuInit(_flags: c_uint);
    cuCtxSetCurrent(_context: *mut c_void);
    cuStreamSynchronize(_stream: *mut c_void);
    cuStreamDestroy_v2(_stream: *mut c_void);
    cuFuncSetAttribute(_function: *mut c_void, _attribute: c_int, _value: c_int);
}

functions! {
    cuGetErrorName(status: c_int, text: *mut *const c_char) {
        text_of(status, c"CUDA_ERROR_ILLEGAL_ADDRESS").map_or(INVALID_VALUE, |known| { *text = known; 0 })
    }
    cuGetErrorString(status: c_int, text: *mut *const c_char) {
        text_of(status, c"an illegal memory access was encountered").map_or(INVALID_VALUE, |known| { *text = known; 0 })
    }
    cuDeviceGetCount(count: *mut c_int) { *count = 1; 0 }
    cuDeviceGet(device: *mut c_int, ordinal: c_int) { *device = ordinal; 0 }
    cuDeviceGetName(name: *mut c_char, bytes: c_int, _device: c_int) {
        let said = c"a stand-in for a card".to_bytes_with_nul();
        std::ptr::copy_nonoverlapping(said.as_ptr().cast(), name, said.len().min(bytes as usize));
        0
    }
    // Its compute capability is 8.0: these are the attributes 75 and 76.
    cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, _device: c_int) {
        *value = if attribute == 75 { 8 } else { 0 };
        0
    }
    cuDevicePrimaryCtxRetain(context: *mut *mut c_void, _device: c_int) { *context = HANDLE; 0 }
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize) {
        unless_broken(|| (*free, *total) = (MEMORY_BYTES, MEMORY_BYTES))
    }
    cuMemAlloc_v2(address: *mut u64, bytes: usize) {
        let found = allocate(bytes);
        if found.is_null() { OUT_OF_MEMORY } else { unless_broken(|| *address = found as u64) }
    }
    cuMemFree_v2(address: u64) { unless_broken(|| libc::free(address as *mut c_void)) }
    cuMemsetD8_v2(address: u64, byte: u8, bytes: usize) {
        unless_broken(|| std::ptr::write_bytes(address as *mut u8, byte, bytes))
    }
    cuMemAllocHost_v2(address: *mut *mut c_void, bytes: usize) {
        let found = allocate(bytes);
        if found.is_null() { OUT_OF_MEMORY } else { unless_broken(|| *address = found) }
    }
    cuMemFreeHost(address: *mut c_void) { unless_broken(|| libc::free(address)) }
    cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) {
        unless_broken(|| std::ptr::copy_nonoverlapping(from.cast::<u8>(), to as *mut u8, bytes))
    }
    cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, _stream: *mut c_void) {
        unless_broken(|| std::ptr::copy_nonoverlapping(from.cast::<u8>(), to as *mut u8, bytes))
    }
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, _stream: *mut c_void) {
        unless_broken(|| std::ptr::copy_nonoverlapping(from as *const u8, to.cast::<u8>(), bytes))
    }
    cuStreamCreate(stream: *mut *mut c_void, _flags: c_uint) { unless_broken(|| *stream = HANDLE) }
    cuModuleLoadDataEx(
        module: *mut *mut c_void, _image: *const c_void, _count: c_uint, _options: *mut c_uint, _values: *mut *mut c_void
    ) {
        unless_broken(|| *module = HANDLE)
    }
    cuModuleGetFunction(function: *mut *mut c_void, _module: *mut c_void, _name: *const c_char) {
        unless_broken(|| *function = HANDLE)
    }
}

type Launch = unsafe extern "C" fn(
    *mut c_void,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    c_uint,
    *mut c_void,
    *mut *mut c_void,
    *mut *mut c_void,
) -> c_int;

/// Counts kernels, and breaks the card with the one that is too many. Its first argument is an address, as each kernel's
/// of `kernels/llama.cu` is.
///
/// # Safety
/// As NVIDIA's reference of the driver API has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    function: *mut c_void,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared_bytes: c_uint,
    stream: *mut c_void,
    arguments: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> c_int {
    static REAL: OnceLock<Option<usize>> = OnceLock::new();
    let is_last = LAUNCHES.fetch_add(1, Ordering::Relaxed) == launches_most();
    let Some(address) = *REAL.get_or_init(|| real(c"cuLaunchKernel")) else {
        IS_BROKEN.fetch_or(is_last, Ordering::Relaxed);
        return unless_broken(|| ());
    };
    let mut nowhere = NOWHERE;
    if is_last {
        // SAFETY: the arguments are a row of pointers, at least one; the driver reads them before it returns.
        unsafe { *arguments = (&raw mut nowhere).cast() };
    }
    // SAFETY: the address is the real function of this name; the caller keeps to its terms.
    unsafe {
        let launch = std::mem::transmute::<*const c_void, Launch>(address as *const c_void);
        launch(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream, arguments, extra)
    }
}
