//! NVIDIA GPUs: the driver found at run time, device memory, and the kernels of a llama's forward pass.
//!
//! Nothing of CUDA is needed to build this, and nothing but the driver to use it: the kernels are PTX that stands in the
//! program, which the driver compiles for the card that is there. What this crate gives is safe to call: an operation
//! checks that the memory it is given is large enough before it starts a kernel. It knows nothing of files or sequences.

mod driver;
mod error;
mod gpu;
mod kernel;
mod matrix;
mod memory;
mod operations;
mod queue;

pub use error::GpuError;
pub use gpu::{Gpu, GpuMemory, MEMORY_MARGIN_BYTES};
pub use kernel::{KERNELS_PTX, KERNELS_SOURCE};
pub use matrix::{Format, Matrix, MatrixShape, StoredAs};
pub use memory::{Buffer, PinnedBuffer};
pub use operations::{
    Activations, Adds, AttentionPlan, AttentionShape, Cache, CacheShape, HEAD_SIZE_MAX, Output, Placing, RowEntry,
    RowTable, Rows, Workspace,
};
pub use queue::Queue;
