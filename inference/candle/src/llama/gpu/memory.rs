//! The memory that a llama takes on a GPU besides its weights and its sequences' caches, and how much all of it is.

use std::sync::Arc;

use steward_inference_cuda::{
    Activations, Buffer, Gpu, GpuError, HEAD_SIZE_MAX, MatrixShape, PinnedBuffer, RowTable, Workspace,
};
use steward_types::limits::REPLICA_ACTIVE_GPU_MAX;

use super::super::{LlamaConfig, PROMPT_ROWS_GPU};
use super::weights::stored_as;
use super::{attention_shape, cache_shape};
use crate::gguf::{Header, HeaderError};

/// Most rows that are run at once: a chunk of one prompt, and a token of each other sequence.
pub const ROWS_MAX: usize = PROMPT_ROWS_GPU + REPLICA_ACTIVE_GPU_MAX;
/// Rows whose logits are worked out at once.
pub const LOGIT_ROWS: usize = REPLICA_ACTIVE_GPU_MAX;
/// Room for the parts of attention of all rows of a batch, as long as their sequences are not long.
const ATTENTION_BYTES: usize = 64 << 20;
/// Bytes of a 32-bit float.
const FLOAT: usize = size_of::<f32>();

/// What a batch is worked out in.
#[derive(Debug)]
pub struct Work {
    pub rows: RowTable,
    pub hidden: Buffer,
    pub normed: Activations,
    pub query_key_value: Buffer,
    pub attention: Workspace,
    pub attended: Activations,
    pub gate_up: Buffer,
    pub gated: Activations,
    pub wanted: Buffer,
    pub last: Activations,
    pub logits: Buffer,
    pub told_logits: PinnedBuffer,
}

/// Bytes that a model takes on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GpuBytes {
    /// Its weights.
    pub weights: u64,
    /// What its batches are worked out in.
    pub work: u64,
    /// One token of one sequence.
    pub kv_per_token: u64,
}

impl GpuBytes {
    /// What a model takes. An error says why it cannot be on a GPU at all.
    pub fn of(config: &LlamaConfig, header: &Header) -> Result<Self, HeaderError> {
        let head_size = config.attention.head_size;
        if head_size > HEAD_SIZE_MAX {
            let what = format!("heads of {head_size} numbers are more than the {HEAD_SIZE_MAX} that GPUs are used for");
            return Err(HeaderError::new(what));
        }
        let mut weights = 0u64;
        for entry in header.tensors.values() {
            let size = |at: usize| entry.dimensions.get(at).map_or(1, |&size| usize::try_from(size).unwrap_or(0));
            let shape = MatrixShape { format: stored_as(entry.dtype).format(), rows: size(1), columns: size(0) };
            weights = weights.saturating_add(if entry.dimensions.len() == 1 { entry.bytes } else { shape.bytes() });
        }
        Ok(Self { weights, work: Work::bytes(config), kv_per_token: cache_shape(config).bytes_per_token() })
    }
}

impl Work {
    pub fn new(gpu: &Arc<Gpu>, config: &LlamaConfig) -> Result<Self, GpuError> {
        let (shape, logits) = (attention_shape(config), LOGIT_ROWS * config.vocabulary * FLOAT);
        let buffer = |numbers: usize| Buffer::new(gpu, "working memory", numbers * FLOAT);
        let activations = |columns| Activations::new(gpu, ROWS_MAX, columns);
        Ok(Self {
            rows: RowTable::new(gpu, ROWS_MAX)?,
            hidden: buffer(ROWS_MAX * config.hidden)?,
            normed: activations(config.hidden)?,
            query_key_value: buffer(ROWS_MAX * shape.row())?,
            attention: Workspace::new(gpu, shape, ROWS_MAX, config.context, ATTENTION_BYTES)?,
            attended: activations(shape.heads * shape.head_size)?,
            gate_up: buffer(ROWS_MAX * 2 * config.feed_forward)?,
            gated: activations(config.feed_forward)?,
            wanted: buffer(LOGIT_ROWS)?,
            last: Activations::new(gpu, LOGIT_ROWS, config.hidden)?,
            logits: Buffer::new(gpu, "logits", logits)?,
            told_logits: PinnedBuffer::new(gpu, logits)?,
        })
    }

    /// Bytes that [`Self::new`] takes on the device, but for the few that tell it of rows.
    fn bytes(config: &LlamaConfig) -> u64 {
        let shape = attention_shape(config);
        let numbers =
            ROWS_MAX * (config.hidden + shape.row() + 2 * config.feed_forward) + LOGIT_ROWS * config.vocabulary;
        let columns = [config.hidden, shape.heads * shape.head_size, config.feed_forward];
        let activations: u64 = columns.iter().map(|&columns| Activations::bytes(ROWS_MAX, columns)).sum();
        let last = Activations::bytes(LOGIT_ROWS, config.hidden);
        let attention = Workspace::bytes(shape, ROWS_MAX, config.context, ATTENTION_BYTES);
        (numbers * FLOAT) as u64 + activations + last + attention
    }
}
