//! A stream of operations on one card: they run in the order that they are given, beside what other queues give.

use std::ffi::c_void;
use std::fmt;
use std::sync::Arc;

use crate::driver::{Address, STREAM_NON_BLOCKING};
use crate::kernel::Kernel;
use crate::{Buffer, Gpu, GpuError, PinnedBuffer};

/// A queue of operations. One thread uses it at a time.
pub struct Queue {
    gpu: Arc<Gpu>,
    stream: *mut c_void,
}

// SAFETY: a stream may be used by any thread that makes its context current first; it is used by one at a time.
unsafe impl Send for Queue {}

/// What a kernel is given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Argument {
    Address(Address),
    Size(u32),
    Long(u64),
    Float(f32),
}

/// How many threads run a kernel.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    pub(crate) blocks: [usize; 3],
    pub(crate) threads: u32,
    pub(crate) shared_bytes: usize,
}

impl Queue {
    /// A new, empty queue.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Self, GpuError> {
        gpu.bind()?;
        let mut stream = std::ptr::null_mut();
        // SAFETY: the function writes one handle.
        let status = unsafe { (gpu.driver().stream_create)(&raw mut stream, STREAM_NON_BLOCKING) };
        gpu.check("making a stream", status)?;
        Ok(Self { gpu: Arc::clone(gpu), stream })
    }

    /// The card.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Copies bytes to the beginning of a buffer, after what was given before.
    pub fn upload(&self, to: &Buffer, bytes: &[u8]) -> Result<(), GpuError> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.gpu.bind()?;
        let address = to.at(0, bytes.len(), 1);
        // SAFETY: the buffer is long enough. From memory that is not pinned the driver has copied when it returns.
        let status =
            unsafe { (self.gpu.driver().upload_async)(address, bytes.as_ptr().cast(), bytes.len(), self.stream) };
        self.gpu.check("copying to the device", status)
    }

    /// Copies the first `count` floats of a buffer to the machine, when all that was given before is done.
    pub fn download<'a>(&self, from: &Buffer, to: &'a mut PinnedBuffer, count: usize) -> Result<&'a [f32], GpuError> {
        self.gpu.bind()?;
        let bytes = count * size_of::<f32>();
        let (from, pointer) = (from.at(0, bytes, 1), to.pointer(bytes));
        // SAFETY: both are long enough, and the copy is awaited before anybody may look.
        let status = unsafe { (self.gpu.driver().download_async)(pointer, from, bytes, self.stream) };
        let begun = self.gpu.check("copying from the device", status);
        self.synchronize()?;
        begun?;
        Ok(to.floats(count))
    }

    /// The bytes of a whole buffer, when all that was given before is done: for tests and tools.
    pub fn read(&self, from: &Buffer) -> Result<Vec<u8>, GpuError> {
        self.gpu.bind()?;
        let mut bytes = vec![0; from.bytes()];
        // SAFETY: both are as long, and the copy is awaited before the bytes are given away.
        let status = unsafe {
            (self.gpu.driver().download_async)(bytes.as_mut_ptr().cast(), from.address(), bytes.len(), self.stream)
        };
        let begun = self.gpu.check("copying from the device", status);
        self.synchronize()?;
        begun.map(|()| bytes)
    }

    /// Waits until all that was given is done. What failed on the card is told here at the latest.
    pub fn synchronize(&self) -> Result<(), GpuError> {
        self.gpu.bind()?;
        // SAFETY: the stream is this queue's own.
        self.gpu.check("running its kernels", unsafe { (self.gpu.driver().stream_synchronize)(self.stream) })
    }

    /// Gives a kernel to the card. The context must be this thread's: see [`Self::begin`].
    ///
    /// # Safety
    /// The arguments are what the kernel takes, and the memory that they name is as large as it uses and is not freed
    /// before the queue is done.
    pub(crate) unsafe fn launch(&self, kernel: Kernel, grid: Grid, arguments: &[Argument]) -> Result<(), GpuError> {
        // Each lies in the low bytes of a slot of its own, as the processor is little-endian.
        let mut slots: [u64; ARGUMENTS_MAX] = [0; ARGUMENTS_MAX];
        let mut pointers: [*mut c_void; ARGUMENTS_MAX] = [std::ptr::null_mut(); ARGUMENTS_MAX];
        for ((slot, pointer), argument) in slots.iter_mut().zip(&mut pointers).zip(arguments) {
            *slot = match *argument {
                Argument::Address(address) => address,
                Argument::Long(number) => number,
                Argument::Size(number) => u64::from(number),
                Argument::Float(number) => u64::from(number.to_bits()),
            };
            *pointer = (&raw mut *slot).cast();
        }
        assert!(arguments.len() <= ARGUMENTS_MAX, "a kernel takes few arguments");
        let [x, y, z] = grid.blocks.map(|count| u32::try_from(count).unwrap_or(u32::MAX));
        let shared_bytes = u32::try_from(grid.shared_bytes).unwrap_or(u32::MAX);
        let function = self.gpu.kernels().function(kernel);
        // SAFETY: the pointers name as many arguments as the caller says that the kernel takes.
        let status = unsafe {
            (self.gpu.driver().launch)(
                function,
                x,
                y,
                z,
                grid.threads,
                1,
                1,
                shared_bytes,
                self.stream,
                pointers.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.gpu.check(kernel.name(), status)
    }

    /// Makes the card's context this thread's, once before a row of launches.
    pub fn begin(&self) -> Result<(), GpuError> {
        self.gpu.bind()
    }
}

/// Most arguments of a kernel.
const ARGUMENTS_MAX: usize = 12;

impl Drop for Queue {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: the stream is this queue's own and is destroyed once; the driver ends what is in it first.
            unsafe { (self.gpu.driver().stream_destroy)(self.stream) };
        }
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Queue({})", self.gpu.device())
    }
}
