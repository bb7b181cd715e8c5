//! The kernels: their PTX, their names, and their functions once a card's driver has compiled them.

use std::ffi::{CStr, CString, c_int, c_void};

use crate::GpuError;
use crate::driver::{DYNAMIC_SHARED_BYTES_MAX, Driver, JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES, SUCCESS};
use crate::gpu::check;

/// The kernels' source.
pub const KERNELS_SOURCE: &str = include_str!("../kernels/llama.cu");
/// The kernels as the driver takes them, made from [`KERNELS_SOURCE`] by `examples/compile_kernels.rs`.
pub const KERNELS_PTX: &str = include_str!("../kernels/llama.ptx");

/// Rows of activations are taken in whole steps of this many: a kernel may read, and then ignore, what follows the last.
pub const TOKENS_STEP: usize = 64;

/// Shared memory that a block may have without asking for more.
const SHARED_BYTES_DEFAULT: usize = 48 << 10;
/// Longest text of the driver's compiler that is kept.
const LOG_BYTES_MAX: usize = 4 << 10;

/// Declares the kernels with the most dynamic shared memory that each is started with.
macro_rules! kernels {
    ($($kernel:ident = $name:literal, $shared:expr;)*) => {
        /// A kernel of the source, by its name there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Kernel { $($kernel,)* }

        impl Kernel {
            const ALL: &'static [Self] = &[$(Self::$kernel,)*];

            /// Its name in the source.
            pub(crate) const fn name(self) -> &'static str {
                match self { $(Self::$kernel => $name,)* }
            }

            /// Bytes of dynamic shared memory that a block of it has at most.
            pub(crate) const fn shared_bytes_max(self) -> usize {
                match self { $(Self::$kernel => $shared,)* }
            }
        }
    };
}

kernels! {
    Norm = "norm", 0;
    Gate = "gate", 0;
    Place = "place", 0;
    Attend64 = "attend_64", attend_shared_bytes(64);
    Attend128 = "attend_128", attend_shared_bytes(128);
    Attend256 = "attend_256", attend_shared_bytes(256);
    Join = "join", 0;
    CopyPrefix = "copy_prefix", 0;
    EmbedQ4Minimum = "embed_q4_minimum", 0;
    EmbedQ8 = "embed_q8", 0;
    EmbedQ8Minimum = "embed_q8_minimum", 0;
    EmbedF16 = "embed_f16", 0;
    EmbedBf16 = "embed_bf16", 0;
    EmbedF32 = "embed_f32", 0;
    NarrowQ4Minimum1 = "narrow_q4_minimum_1", NARROW_SHARED_BYTES;
    NarrowQ4Minimum2 = "narrow_q4_minimum_2", NARROW_SHARED_BYTES;
    NarrowQ81 = "narrow_q8_1", NARROW_SHARED_BYTES;
    NarrowQ82 = "narrow_q8_2", NARROW_SHARED_BYTES;
    NarrowQ8Minimum1 = "narrow_q8_minimum_1", NARROW_SHARED_BYTES;
    NarrowQ8Minimum2 = "narrow_q8_minimum_2", NARROW_SHARED_BYTES;
    WideQ4Minimum = "wide_q4_minimum", 0;
    WideQ8 = "wide_q8", 0;
    WideQ8Minimum = "wide_q8_minimum", 0;
    MultiplyF16 = "multiply_f16", 0;
    MultiplyBf16 = "multiply_bf16", 0;
    MultiplyF32 = "multiply_f32", 0;
}

/// What `multiply_narrow` has for the blocks that are on their way, and then for its sums: what every card from compute
/// capability 8.0 on can give, and some can give twice.
pub(crate) const NARROW_SHARED_BYTES: usize = 96 << 10;

/// What `attend` keeps: 64 keys, padded, and values; 16 queries, and their weights of 32 positions. Where the keys were,
/// parts of 4 queries are handed over, which are smaller.
pub(crate) const fn attend_shared_bytes(head_size: usize) -> usize {
    64 * (head_size + 8) * 2 + 64 * head_size * 2 + 16 * head_size * size_of::<f32>() + 16 * 32 * size_of::<f32>()
}

/// The functions of all kernels on one card.
pub(crate) struct Kernels(Vec<*mut c_void>);

impl Kernels {
    /// Compiles the kernels for the card whose context is this thread's.
    pub(crate) fn load(driver: &Driver, device: &str) -> Result<Self, GpuError> {
        let module = compile(driver, device)?;
        let mut functions = Vec::with_capacity(Kernel::ALL.len());
        for kernel in Kernel::ALL {
            let mut function = std::ptr::null_mut();
            let name = CString::new(kernel.name()).unwrap_or_default();
            // SAFETY: the module is loaded, the name ends in a zero byte, and the function writes one handle.
            let status = unsafe { (driver.module_function)(&raw mut function, module, name.as_ptr()) };
            check(driver, device, &format!("finding the kernel {}", kernel.name()), status)?;
            if kernel.shared_bytes_max() > SHARED_BYTES_DEFAULT {
                let most = c_int::try_from(kernel.shared_bytes_max()).unwrap_or(c_int::MAX);
                // SAFETY: the function's handle is valid as long as its module, which is never unloaded.
                let status = unsafe { (driver.function_set)(function, DYNAMIC_SHARED_BYTES_MAX, most) };
                check(driver, device, &format!("giving {} shared memory", kernel.name()), status)?;
            }
            functions.push(function);
        }
        Ok(Self(functions))
    }

    pub(crate) fn function(&self, kernel: Kernel) -> *mut c_void {
        self.0[kernel as usize]
    }
}

fn compile(driver: &Driver, device: &str) -> Result<*mut c_void, GpuError> {
    let text = CString::new(KERNELS_PTX).unwrap_or_default();
    let mut log = vec![0u8; LOG_BYTES_MAX];
    let mut options = [JIT_ERROR_LOG, JIT_ERROR_LOG_BYTES];
    // The second option's value is a number in a pointer's place.
    let mut values = [log.as_mut_ptr().cast::<c_void>(), std::ptr::without_provenance_mut(LOG_BYTES_MAX)];
    let mut module = std::ptr::null_mut();
    // SAFETY: the text ends in a zero byte; there are two options with a value each, the log as long as is said.
    let status = unsafe {
        (driver.module_load)(&raw mut module, text.as_ptr().cast(), 2, options.as_mut_ptr(), values.as_mut_ptr())
    };
    if status == SUCCESS {
        return Ok(module);
    }
    let said = CStr::from_bytes_until_nul(&log).map(|text| text.to_string_lossy()).unwrap_or_default();
    let reason = format!("{} {}", driver.reason(status), said.trim()).trim().to_owned();
    Err(GpuError::Failed { device: device.to_owned(), operation: "compiling the kernels".to_owned(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kernel_stands_in_the_ptx() {
        let entries: Vec<&str> = KERNELS_PTX
            .lines()
            .filter_map(|line| line.strip_prefix(".visible .entry "))
            .map(|rest| rest.trim_end_matches('('))
            .collect();
        for kernel in Kernel::ALL {
            assert!(entries.contains(&kernel.name()), "{} is in {entries:?}", kernel.name());
        }
        assert_eq!(entries.len(), Kernel::ALL.len());
    }
}
