//! Models on candle: GGUF llama-family generation and safetensors BERT embedding.
//!
//! Tensors, file formats and the quantised fallback are candle's; the model code, its key-value cache, its batching and
//! the kernels for the common quantisations are our own, because one replica serves several sequences and the same
//! request must give the same tokens whatever else runs.

mod bert;
mod chat_template;
mod embedder;
mod generator;
pub mod gguf;
pub mod kernel;
pub mod linear;
pub mod llama;
mod loader;
mod replica;
mod sampler;
mod text_stream;
mod tokenizer;

pub use loader::CandleLoader;
pub use steward_inference_cuda::{Gpu, GpuError, MEMORY_MARGIN_BYTES};
