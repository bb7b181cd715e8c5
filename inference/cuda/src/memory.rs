//! Memory of a card, and memory of the machine that a card reads and writes by itself. Both are given back when dropped.

use std::ffi::c_void;
use std::sync::Arc;

use crate::driver::Address;
use crate::{Gpu, GpuError};

/// Device memory, filled with zeros at first.
#[derive(Debug)]
pub struct Buffer {
    gpu: Arc<Gpu>,
    address: Address,
    bytes: usize,
}

impl Buffer {
    /// Takes `bytes` for `purpose`. [`GpuError::OutOfMemory`] when they are not there.
    pub fn new(gpu: &Arc<Gpu>, purpose: &str, bytes: usize) -> Result<Self, GpuError> {
        let bytes = bytes.max(1);
        gpu.bind()?;
        let mut address = 0;
        // SAFETY: the function writes one address.
        let status = unsafe { (gpu.driver().memory_allocate)(&raw mut address, bytes) };
        gpu.check_memory(purpose, bytes, status)?;
        let buffer = Self { gpu: Arc::clone(gpu), address, bytes };
        // SAFETY: so many bytes were allocated at the address.
        gpu.check("clearing memory", unsafe { (gpu.driver().memory_set)(address, 0, bytes) })?;
        buffer.settle()?;
        Ok(buffer)
    }

    /// Takes as much as `bytes` has, and copies it there.
    pub fn with(gpu: &Arc<Gpu>, purpose: &str, bytes: &[u8]) -> Result<Self, GpuError> {
        let buffer = Self::new(gpu, purpose, bytes.len())?;
        // SAFETY: the buffer is as long as the bytes; the call returns when they are copied.
        let status = unsafe { (gpu.driver().upload)(buffer.address, bytes.as_ptr().cast(), bytes.len()) };
        gpu.check("copying to the device", status)?;
        buffer.settle()?;
        Ok(buffer)
    }

    /// Waits until what was written to it by no queue is there. Queues do not wait for that.
    fn settle(&self) -> Result<(), GpuError> {
        let no_queue = std::ptr::null_mut();
        // SAFETY: null names the context's own stream.
        self.gpu.check("filling memory", unsafe { (self.gpu.driver().stream_synchronize)(no_queue) })
    }

    /// The same from 32-bit floats.
    pub fn with_floats(gpu: &Arc<Gpu>, purpose: &str, numbers: &[f32]) -> Result<Self, GpuError> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self::with(gpu, purpose, &bytes)
    }

    /// How long it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The card that it is on.
    pub fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    pub(crate) fn address(&self) -> Address {
        self.address
    }

    /// The address of `count` pieces of `size` bytes from `offset` bytes on.
    ///
    /// # Panics
    /// When they do not lie within the buffer: a bug of the caller, which must not reach the card.
    pub(crate) fn at(&self, offset: usize, count: usize, size: usize) -> Address {
        let end = count.checked_mul(size).and_then(|length| length.checked_add(offset));
        assert!(end.is_some_and(|end| end <= self.bytes), "{offset} + {count} × {size} of {} bytes", self.bytes);
        self.address + offset as u64
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // A card that fails gives nothing back, and its context is lost: there is nobody to tell.
        if self.gpu.bind().is_ok() {
            // SAFETY: the address came from the driver and is freed once. The driver waits for what still uses it.
            unsafe { (self.gpu.driver().memory_free)(self.address) };
        }
    }
}

/// Memory of the machine that a card writes to without the processor's help.
#[derive(Debug)]
pub struct PinnedBuffer {
    gpu: Arc<Gpu>,
    address: *mut c_void,
    bytes: usize,
}

// SAFETY: it is plain memory that this value owns.
unsafe impl Send for PinnedBuffer {}

impl PinnedBuffer {
    /// Takes `bytes`, filled with zeros.
    pub fn new(gpu: &Arc<Gpu>, bytes: usize) -> Result<Self, GpuError> {
        let bytes = bytes.max(1);
        gpu.bind()?;
        let mut address = std::ptr::null_mut();
        // SAFETY: the function writes one address.
        let status = unsafe { (gpu.driver().host_allocate)(&raw mut address, bytes) };
        gpu.check_memory("pinned memory of the machine", bytes, status)?;
        // SAFETY: so many bytes were allocated at the address.
        unsafe { std::ptr::write_bytes(address.cast::<u8>(), 0, bytes) };
        Ok(Self { gpu: Arc::clone(gpu), address, bytes })
    }

    /// The first `count` of it as 32-bit floats.
    ///
    /// # Panics
    /// When it is shorter.
    pub fn floats(&self, count: usize) -> &[f32] {
        assert!(count * size_of::<f32>() <= self.bytes, "{count} numbers of {} bytes", self.bytes);
        // SAFETY: the memory is there, is aligned to a page, and was filled; any bits are a float. Nothing writes to it
        // while this borrow lives: `Queue::download` takes it exclusively, and returns when the copy is done.
        unsafe { std::slice::from_raw_parts(self.address.cast(), count) }
    }

    pub(crate) fn pointer(&mut self, bytes: usize) -> *mut c_void {
        assert!(bytes <= self.bytes, "{bytes} of {} bytes", self.bytes);
        self.address
    }
}

impl Drop for PinnedBuffer {
    fn drop(&mut self) {
        if self.gpu.bind().is_ok() {
            // SAFETY: the address came from the driver and is freed once; no copy to it is under way.
            unsafe { (self.gpu.driver().host_free)(self.address) };
        }
    }
}
