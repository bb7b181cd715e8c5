//! The driver's library, found at run time: only those of its functions that are used, each by the address that the
//! system's loader gives. Once loaded it stays for the life of the process.

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use crate::GpuError;

/// Where the driver's library is looked for: as the system's loader finds it.
const LIBRARY: &str = "libcuda.so.1";
/// All of the library's own needs at once, so that a broken one fails here; its names stay its own.
const RESOLVE: c_int = libc::RTLD_NOW | libc::RTLD_LOCAL;

/// A result of the driver; 0 is success.
pub type Status = c_int;
/// An address in device memory.
pub type Address = u64;

/// `CUDA_SUCCESS`.
pub const SUCCESS: Status = 0;
/// `CUDA_ERROR_OUT_OF_MEMORY`.
pub const OUT_OF_MEMORY: Status = 2;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR`.
pub const CAPABILITY_MAJOR: c_int = 75;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR`.
pub const CAPABILITY_MINOR: c_int = 76;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
pub const DYNAMIC_SHARED_BYTES_MAX: c_int = 8;
/// `CU_JIT_ERROR_LOG_BUFFER`.
pub const JIT_ERROR_LOG: c_uint = 5;
/// `CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES`.
pub const JIT_ERROR_LOG_BYTES: c_uint = 6;
/// `CU_STREAM_NON_BLOCKING`.
pub const STREAM_NON_BLOCKING: c_uint = 1;

/// Declares the functions' table: a field a function, named as in `cuda.h`, and the symbol that it has since CUDA 4.
macro_rules! functions {
    ($($field:ident = $symbol:literal: fn($($argument:ty),*);)*) => {
        /// The functions of the loaded library: each is documented in NVIDIA's reference of the driver API, by its symbol.
        #[derive(Debug)]
        pub struct Driver {
            $(pub $field: unsafe extern "C" fn($($argument),*) -> Status,)*
        }

        impl Driver {
            fn resolve(library: &Library) -> Result<Self, String> {
                Ok(Self {
                    // SAFETY: the symbol is the function of this signature in every version of the library that has it.
                    $($field: unsafe {
                        std::mem::transmute::<*mut c_void, unsafe extern "C" fn($($argument),*) -> Status>(
                            library.symbol($symbol)?,
                        )
                    },)*
                })
            }
        }
    };
}

functions! {
    init = c"cuInit": fn(c_uint);
    error_name = c"cuGetErrorName": fn(Status, *mut *const c_char);
    error_text = c"cuGetErrorString": fn(Status, *mut *const c_char);
    device_count = c"cuDeviceGetCount": fn(*mut c_int);
    device_get = c"cuDeviceGet": fn(*mut c_int, c_int);
    device_name = c"cuDeviceGetName": fn(*mut c_char, c_int, c_int);
    device_attribute = c"cuDeviceGetAttribute": fn(*mut c_int, c_int, c_int);
    context_retain = c"cuDevicePrimaryCtxRetain": fn(*mut *mut c_void, c_int);
    context_set = c"cuCtxSetCurrent": fn(*mut c_void);
    memory_info = c"cuMemGetInfo_v2": fn(*mut usize, *mut usize);
    memory_allocate = c"cuMemAlloc_v2": fn(*mut Address, usize);
    memory_free = c"cuMemFree_v2": fn(Address);
    memory_set = c"cuMemsetD8_v2": fn(Address, u8, usize);
    host_allocate = c"cuMemAllocHost_v2": fn(*mut *mut c_void, usize);
    host_free = c"cuMemFreeHost": fn(*mut c_void);
    upload = c"cuMemcpyHtoD_v2": fn(Address, *const c_void, usize);
    upload_async = c"cuMemcpyHtoDAsync_v2": fn(Address, *const c_void, usize, *mut c_void);
    download_async = c"cuMemcpyDtoHAsync_v2": fn(*mut c_void, Address, usize, *mut c_void);
    stream_create = c"cuStreamCreate": fn(*mut *mut c_void, c_uint);
    stream_synchronize = c"cuStreamSynchronize": fn(*mut c_void);
    stream_destroy = c"cuStreamDestroy_v2": fn(*mut c_void);
    module_load = c"cuModuleLoadDataEx": fn(*mut *mut c_void, *const c_void, c_uint, *mut c_uint, *mut *mut c_void);
    module_function = c"cuModuleGetFunction": fn(*mut *mut c_void, *mut c_void, *const c_char);
    function_set = c"cuFuncSetAttribute": fn(*mut c_void, c_int, c_int);
    launch = c"cuLaunchKernel": fn(
        *mut c_void, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, *mut c_void, *mut *mut c_void,
        *mut *mut c_void
    );
}

impl Driver {
    /// The machine's driver, loaded and started once. A failure is kept too: what is missing at the start stays missing.
    pub fn get() -> Result<&'static Self, GpuError> {
        static LOADED: OnceLock<Result<Driver, GpuError>> = OnceLock::new();
        LOADED.get_or_init(|| Self::start(LIBRARY)).as_ref().map_err(Clone::clone)
    }

    fn start(library: &str) -> Result<Self, GpuError> {
        let driver = Library::open(library)
            .and_then(|library| Self::resolve(&library))
            .map_err(|reason| GpuError::NoDriver { reason })?;
        // SAFETY: the function takes flags, which must be 0.
        let status = unsafe { (driver.init)(0) };
        match status {
            SUCCESS => Ok(driver),
            failed => Err(GpuError::Failed {
                device: "the NVIDIA driver".to_owned(),
                operation: "starting it".to_owned(),
                reason: driver.reason(failed),
            }),
        }
    }

    /// The name of an error and its text.
    pub fn reason(&self, status: Status) -> String {
        let text = |ask: unsafe extern "C" fn(Status, *mut *const c_char) -> Status| {
            let mut text = std::ptr::null();
            // SAFETY: the functions write the address of a text of their own, or null.
            unsafe {
                let known = ask(status, &raw mut text) == SUCCESS && !text.is_null();
                known.then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
            }
        };
        match (text(self.error_name), text(self.error_text)) {
            (Some(name), Some(text)) => format!("{name} ({text})"),
            _ => format!("unknown error {status}"),
        }
    }
}

/// An open shared library. It is never closed: the driver cannot be unloaded.
struct Library(*mut c_void);

impl Library {
    fn open(name: &str) -> Result<Self, String> {
        let name = CString::new(name).map_err(|_| "a library's name must not hold a zero byte".to_owned())?;
        // SAFETY: `name` ends in a zero byte. The library's initialisers run, as they would if it were linked.
        let handle = unsafe { libc::dlopen(name.as_ptr(), RESOLVE) };
        if handle.is_null() { Err(last_error()) } else { Ok(Self(handle)) }
    }

    fn symbol(&self, name: &'static CStr) -> Result<*mut c_void, String> {
        // SAFETY: the handle came from `dlopen` and is never closed; the name ends in a zero byte.
        let address = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        let lacks = || format!("the library lacks the function {}; is the driver too old?", name.to_string_lossy());
        if address.is_null() { Err(lacks()) } else { Ok(address) }
    }
}

fn last_error() -> String {
    // SAFETY: `dlerror` gives null or a text of this thread that lives until the next call of its family.
    let text = unsafe {
        let text = libc::dlerror();
        if text.is_null() { c"the loader gives no reason" } else { CStr::from_ptr(text) }
    };
    text.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_is_missing_is_named() {
        let missing = Driver::start("libcuda-nowhere.so.1").unwrap_err().to_string();
        assert!(missing.starts_with("no NVIDIA driver can be loaded: libcuda-nowhere.so.1"), "{missing}");
    }

    #[test]
    fn a_library_that_is_no_driver_is_refused_by_what_it_lacks() {
        let other = Driver::start("libm.so.6").unwrap_err().to_string();
        assert!(other.contains("lacks the function cuInit"), "{other}");
    }
}
