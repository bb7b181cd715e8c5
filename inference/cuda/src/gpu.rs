//! One card: its context, its kernels, and how much memory it has.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;
use std::sync::Arc;

use crate::GpuError;
use crate::driver::{CAPABILITY_MAJOR, CAPABILITY_MINOR, Driver, OUT_OF_MEMORY, SUCCESS, Status};
use crate::kernel::Kernels;

/// Memory of a card that models leave alone: for the driver, and for what it takes by itself while kernels run.
pub const MEMORY_MARGIN_BYTES: u64 = 512 << 20;

/// The first compute capability with all that the kernels use, and its name.
const CAPABILITY_MIN: ((c_int, c_int), &str) = ((8, 0), "8.0");
/// Longest name of a card.
const NAME_BYTES_MAX: usize = 128;

/// A card that is ready to be used. Handles share it; its context stays until the process ends.
pub struct Gpu {
    driver: &'static Driver,
    device: String,
    model: String,
    context: *mut c_void,
    kernels: Kernels,
}

// SAFETY: a context and its functions may be used by any thread that makes the context current first, as `bind` does.
unsafe impl Send for Gpu {}
// SAFETY: as above; the driver serialises its calls where it must.
unsafe impl Sync for Gpu {}

/// A card's memory at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuMemory {
    /// Bytes that it has.
    pub total_bytes: u64,
    /// Bytes that nobody has taken, of this process or another.
    pub free_bytes: u64,
}

impl Gpu {
    /// How many cards there are. [`GpuError::NoDriver`] where there is no driver.
    pub fn count() -> Result<u32, GpuError> {
        let driver = Driver::get()?;
        let mut count = 0;
        // SAFETY: the function writes one integer.
        let status = unsafe { (driver.device_count)(&raw mut count) };
        check(driver, "the NVIDIA driver", "counting GPUs", status)?;
        Ok(u32::try_from(count).unwrap_or(0))
    }

    /// Makes card number `ordinal` ready: its context is made, and the driver compiles the kernels for it, which takes
    /// seconds the first time.
    pub fn open(ordinal: u32) -> Result<Arc<Self>, GpuError> {
        let device = device_name(ordinal);
        let count = Self::count()?;
        let driver = Driver::get()?;
        let number = c_int::try_from(ordinal).ok().filter(|_| ordinal < count);
        let Some(number) = number else { return Err(GpuError::NoDevice { device, count }) };
        let check = |operation, status| check(driver, &device, operation, status);
        let mut handle = 0;
        // SAFETY: the function writes one integer.
        check("opening the device", unsafe { (driver.device_get)(&raw mut handle, number) })?;
        let model = model(driver, handle);
        let attribute = |which| {
            let mut value = 0;
            // SAFETY: the function writes one integer.
            check("asking its capability", unsafe { (driver.device_attribute)(&raw mut value, which, handle) })?;
            Ok::<c_int, GpuError>(value)
        };
        let capability = (attribute(CAPABILITY_MAJOR)?, attribute(CAPABILITY_MINOR)?);
        let (least, needed) = CAPABILITY_MIN;
        if capability < least {
            let found = format!("{}.{}", capability.0, capability.1);
            return Err(GpuError::TooOld { device, model, found, needed });
        }
        let mut context = std::ptr::null_mut();
        // SAFETY: the function writes the context's address, which stays valid while it is retained, as it is for good.
        check("making a context", unsafe { (driver.context_retain)(&raw mut context, handle) })?;
        // SAFETY: the context is retained.
        check("using its context", unsafe { (driver.context_set)(context) })?;
        let kernels = Kernels::load(driver, &device)?;
        Ok(Arc::new(Self { driver, device, model, context, kernels }))
    }

    /// Its name on this machine: `cuda:` and its number.
    pub fn device(&self) -> &str {
        &self.device
    }

    /// The card's name.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// How much memory it has now.
    pub fn memory(&self) -> Result<GpuMemory, GpuError> {
        self.bind()?;
        let (mut free, mut total) = (0usize, 0usize);
        // SAFETY: the function writes two sizes.
        self.check("asking its memory", unsafe { (self.driver.memory_info)(&raw mut free, &raw mut total) })?;
        Ok(GpuMemory { total_bytes: total as u64, free_bytes: free as u64 })
    }

    pub(crate) fn driver(&self) -> &'static Driver {
        self.driver
    }

    pub(crate) fn kernels(&self) -> &Kernels {
        &self.kernels
    }

    /// Makes its context that of this thread, as every call needs it.
    pub(crate) fn bind(&self) -> Result<(), GpuError> {
        // SAFETY: the context is retained for the life of the process.
        self.check("using its context", unsafe { (self.driver.context_set)(self.context) })
    }

    /// Turns a result of the driver into an error that names the operation.
    pub(crate) fn check(&self, operation: &str, status: Status) -> Result<(), GpuError> {
        check(self.driver, &self.device, operation, status)
    }

    /// The same for what takes `bytes` of memory.
    pub(crate) fn check_memory(&self, purpose: &str, bytes: usize, status: Status) -> Result<(), GpuError> {
        if status == OUT_OF_MEMORY {
            let (device, purpose) = (self.device.clone(), purpose.to_owned());
            let free_bytes = self.memory().map_or(0, |memory| memory.free_bytes);
            return Err(GpuError::OutOfMemory { device, purpose, bytes: bytes as u64, free_bytes });
        }
        self.check(purpose, status)
    }
}

impl fmt::Debug for Gpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpu({}, {})", self.device, self.model)
    }
}

fn device_name(ordinal: u32) -> String {
    format!("cuda:{ordinal}")
}

fn model(driver: &Driver, handle: c_int) -> String {
    let mut name = [0u8; NAME_BYTES_MAX];
    // SAFETY: the function writes at most so many bytes, the last of them 0; nothing is written where it fails.
    unsafe { (driver.device_name)(name.as_mut_ptr().cast::<c_char>(), NAME_BYTES_MAX as c_int, handle) };
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(0);
    String::from_utf8_lossy(&name[..end]).into_owned()
}

pub(crate) fn check(driver: &Driver, device: &str, operation: &str, status: Status) -> Result<(), GpuError> {
    if status == SUCCESS {
        return Ok(());
    }
    let (device, operation) = (device.to_owned(), operation.to_owned());
    Err(GpuError::Failed { device, operation, reason: driver.reason(status) })
}
