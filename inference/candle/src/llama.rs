//! A decoder of the llama kind: its weights, and one pass over a batch of rows, on the processor or on a GPU.
//!
//! A row is one token of one sequence. A batch may mix a prompt's many rows with single rows of other sequences.

mod cache;
mod config;
mod gpu;
mod processor;
mod reader;
mod rope;

use std::io::{Read, Seek};
use std::sync::Arc;

use steward_inference::ModelError;
use steward_inference_cuda::{Cache, Gpu, GpuError};
use steward_types::limits::{REPLICA_ACTIVE_GPU_MAX, REPLICA_ACTIVE_MAX};

pub use config::LlamaConfig;
pub use gpu::GpuBytes;

use crate::gguf::{Header, HeaderError};
use cache::ProcessorCache;
use gpu::GpuLlama;
use processor::ProcessorLlama;

/// Rows of one prompt in one round on the processor. It is the same whatever else runs, so that results are too.
const PROMPT_ROWS: usize = 64;
/// The same on a GPU, where many rows cost little more than few.
const PROMPT_ROWS_GPU: usize = 256;

/// One token of one sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// Which of the batch's caches is its sequence's.
    pub cache: usize,
    /// Its place in its sequence.
    pub position: usize,
    /// The token.
    pub token: u32,
    /// Whether the logits of the token after it are wanted.
    pub wants_logits: bool,
}

/// A loaded model.
#[derive(Debug)]
pub enum Llama {
    /// In the machine's memory.
    Processor(Box<ProcessorLlama>),
    /// In a GPU's.
    Gpu(Box<GpuLlama>),
}

/// One sequence's keys and values, where its model is.
#[derive(Debug)]
pub enum KeyValueCache {
    /// In the machine's memory.
    Processor(ProcessorCache),
    /// In a GPU's.
    Gpu(Cache),
}

/// Why a model could not be loaded.
#[derive(Debug)]
pub enum LoadError {
    /// Its file.
    File(HeaderError),
    /// The device.
    Gpu(GpuError),
}

impl Llama {
    /// Loads the weights of a file whose header was checked by [`LlamaConfig::check`], to a GPU or to the machine's
    /// memory. `progress` hears how many more bytes were read.
    pub fn load(
        gpu: Option<&Arc<Gpu>>,
        file: impl Read + Seek,
        header: &Header,
        config: LlamaConfig,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, LoadError> {
        Ok(match gpu {
            Some(gpu) => Self::Gpu(Box::new(GpuLlama::load(gpu, file, header, config, progress)?)),
            None => Self::Processor(Box::new(ProcessorLlama::load(file, header, config, progress)?)),
        })
    }

    /// Its sizes.
    pub fn config(&self) -> &LlamaConfig {
        match self {
            Self::Processor(llama) => llama.config(),
            Self::Gpu(llama) => llama.config(),
        }
    }

    /// Whether a row's result is the same in every batch, so that sequences may share one.
    pub fn is_batch_invariant(&self) -> bool {
        match self {
            Self::Processor(llama) => llama.is_batch_invariant(),
            // Each kernel sums a row's numbers in one order, whatever else there is.
            Self::Gpu(_) => true,
        }
    }

    /// Rows of one prompt in one batch.
    pub fn prompt_rows(&self) -> usize {
        match self {
            Self::Processor(_) => PROMPT_ROWS,
            Self::Gpu(_) => PROMPT_ROWS_GPU,
        }
    }

    /// Most sequences that are worth to be run together.
    pub fn active_max(&self) -> usize {
        match self {
            Self::Processor(_) => REPLICA_ACTIVE_MAX,
            Self::Gpu(_) => REPLICA_ACTIVE_GPU_MAX,
        }
    }

    /// Bytes that one token of one sequence takes in the cache.
    pub fn kv_bytes_per_token(&self) -> u64 {
        match self {
            Self::Processor(llama) => llama.config().kv_bytes_per_token(),
            Self::Gpu(llama) => llama.kv_bytes_per_token(),
        }
    }

    /// An empty cache with room for `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> Result<KeyValueCache, ModelError> {
        Ok(match self {
            Self::Processor(llama) => KeyValueCache::Processor(ProcessorCache::new(llama.config(), capacity)),
            Self::Gpu(llama) => KeyValueCache::Gpu(llama.cache(capacity).map_err(device_error)?),
        })
    }

    /// Copies the keys and values of the first `positions` from another cache of this model.
    pub fn copy_prefix(
        &self,
        from: &KeyValueCache,
        to: &mut KeyValueCache,
        positions: usize,
    ) -> Result<(), ModelError> {
        match (self, from, to) {
            (Self::Processor(_), KeyValueCache::Processor(from), KeyValueCache::Processor(to)) => {
                to.copy_prefix(from, positions);
                Ok(())
            }
            (Self::Gpu(llama), KeyValueCache::Gpu(from), KeyValueCache::Gpu(to)) => {
                llama.copy_prefix(from, to, positions).map_err(device_error)
            }
            _ => Err(misplaced()),
        }
    }

    /// Runs a batch: each row's keys and values go into its sequence's cache, and the logits of the rows that want them
    /// come back, in the order of the rows. A sequence's rows stand in the order of their positions.
    pub fn forward(&mut self, rows: &[Row], caches: &mut [&mut KeyValueCache]) -> Result<Vec<Vec<f32>>, ModelError> {
        match self {
            Self::Processor(llama) => {
                let own = caches.iter_mut().map(|cache| match &mut **cache {
                    KeyValueCache::Processor(cache) => Some(cache),
                    KeyValueCache::Gpu(_) => None,
                });
                let mut own: Vec<&mut ProcessorCache> = own.collect::<Option<_>>().ok_or_else(misplaced)?;
                let failed = |error: candle_core::Error| ModelError::Failed { what: error.to_string() };
                llama.forward(rows, &mut own).map_err(failed)
            }
            Self::Gpu(llama) => {
                let own = caches.iter().map(|cache| match &**cache {
                    KeyValueCache::Gpu(cache) => Some(cache),
                    KeyValueCache::Processor(_) => None,
                });
                let own: Vec<&Cache> = own.collect::<Option<_>>().ok_or_else(misplaced)?;
                llama.forward(rows, &own).map_err(device_error)
            }
        }
    }
}

/// An error of a GPU as that of a model on it.
pub fn device_error(error: GpuError) -> ModelError {
    match error {
        GpuError::OutOfMemory { device, purpose, bytes, free_bytes } => {
            ModelError::DeviceMemory { device, owner: purpose, needed_bytes: bytes, free_bytes }
        }
        GpuError::Failed { device, operation, reason } => ModelError::DeviceFailed { device, operation, what: reason },
        other => ModelError::Failed { what: other.to_string() },
    }
}

fn misplaced() -> ModelError {
    ModelError::Failed { what: "a sequence's cache is not where its model is".to_owned() }
}

impl From<HeaderError> for LoadError {
    fn from(error: HeaderError) -> Self {
        Self::File(error)
    }
}

impl From<GpuError> for LoadError {
    fn from(error: GpuError) -> Self {
        Self::Gpu(error)
    }
}
