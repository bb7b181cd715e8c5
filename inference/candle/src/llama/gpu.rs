//! A llama on a GPU. Its rows' results do not depend on their batch, as on the processor, and differ from the
//! processor's by rounding alone: weights are the same numbers, and keys and values are kept in 16 bits.

mod memory;
mod weights;

use std::io::{Read, Seek};
use std::sync::Arc;

use steward_inference_cuda::{
    AttentionPlan, AttentionShape, Cache, CacheShape, Gpu, GpuError, Output, Placing, Queue, RowEntry, Rows,
};

use super::{LlamaConfig, LoadError, Row};
use crate::gguf::Header;
pub use memory::GpuBytes;
use memory::{LOGIT_ROWS, ROWS_MAX, Work};
use weights::{Layer, Weights};

/// A model in a GPU's memory.
#[derive(Debug)]
pub struct GpuLlama {
    config: LlamaConfig,
    queue: Queue,
    weights: Weights,
    work: Work,
}

impl GpuLlama {
    /// Loads the weights of a file whose header was checked.
    pub fn load(
        gpu: &Arc<Gpu>,
        file: impl Read + Seek,
        header: &Header,
        config: LlamaConfig,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, LoadError> {
        let weights = Weights::load(gpu, file, header, &config, progress)?;
        let work = Work::new(gpu, &config)?;
        Ok(Self { queue: Queue::new(gpu)?, config, weights, work })
    }

    /// Its sizes.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Bytes that one token of one sequence takes in the cache.
    pub fn kv_bytes_per_token(&self) -> u64 {
        cache_shape(&self.config).bytes_per_token()
    }

    /// An empty cache with room for `capacity` tokens.
    pub fn cache(&self, capacity: usize) -> Result<Cache, GpuError> {
        Cache::new(self.queue.gpu(), cache_shape(&self.config), capacity)
    }

    /// Copies the keys and values of the first `positions` from another cache.
    pub fn copy_prefix(&self, from: &Cache, to: &Cache, positions: usize) -> Result<(), GpuError> {
        self.queue.copy_prefix(from, to, positions)
    }

    /// Runs a batch; see [`super::Llama::forward`].
    pub fn forward(&mut self, rows: &[Row], caches: &[&Cache]) -> Result<Vec<Vec<f32>>, GpuError> {
        self.queue.begin()?;
        let mut logits = Vec::new();
        for rows in rows.chunks(ROWS_MAX) {
            self.run(rows, caches, &mut logits)?;
        }
        Ok(logits)
    }

    fn run(&mut self, rows: &[Row], caches: &[&Cache], logits: &mut Vec<Vec<f32>>) -> Result<(), GpuError> {
        let entry = |row: &Row| RowEntry { cache: caches[row.cache], position: row.position, token: row.token };
        let entries: Vec<RowEntry<'_>> = rows.iter().map(entry).collect();
        let shape = attention_shape(&self.config);
        {
            let Self { queue, work, weights, .. } = &*self;
            let told = work.rows.fill(queue, &entries)?;
            let plan = work.attention.plan(queue, shape, &told)?;
            queue.embed(&weights.embedding, &told, &work.hidden)?;
            for (number, layer) in weights.layers.iter().enumerate() {
                self.attention((number, layer), &told, &plan)?;
                self.feed_forward(layer, rows.len())?;
            }
        }
        let wanted = (0u32..).zip(rows).filter(|(_, row)| row.wants_logits).map(|(at, _)| at);
        let wanted: Vec<u32> = wanted.collect();
        for wanted in wanted.chunks(LOGIT_ROWS) {
            self.logits(wanted, rows.len(), logits)?;
        }
        self.queue.synchronize()
    }

    fn attention(
        &self,
        (number, layer): (usize, &Layer),
        rows: &Rows<'_>,
        plan: &AttentionPlan,
    ) -> Result<(), GpuError> {
        let Self { config, queue, work, weights } = self;
        let (count, shape) = (rows.count(), attention_shape(config));
        let normed = (&work.normed, count);
        queue.norm(&work.hidden, None, &layer.attention_norm, config.norm_epsilon, normed)?;
        layer.query_key_value.multiply(queue, normed, &work.query_key_value)?;
        let placing = Placing { frequencies: &weights.frequencies, pairs: config.rope_size / 2 };
        queue.place(&work.query_key_value, rows, number, shape, placing)?;
        let attention = (&work.attention, plan);
        queue.attend(&work.query_key_value, rows, (number, shape), attention, &work.attended)?;
        let output = Output::added(&work.hidden, config.hidden);
        queue.multiply(&layer.attention_output, (&work.attended, count), output)
    }

    fn feed_forward(&self, layer: &Layer, count: usize) -> Result<(), GpuError> {
        let Self { config, queue, work, .. } = self;
        let normed = (&work.normed, count);
        queue.norm(&work.hidden, None, &layer.feed_forward_norm, config.norm_epsilon, normed)?;
        layer.gate_up.multiply(queue, normed, &work.gate_up)?;
        let gated = (&work.gated, count);
        queue.gate(&work.gate_up, gated)?;
        queue.multiply(&layer.down, gated, Output::added(&work.hidden, config.hidden))
    }

    /// The logits of some rows of a batch, at most as many as there is room for.
    fn logits(&mut self, wanted: &[u32], rows: usize, logits: &mut Vec<Vec<f32>>) -> Result<(), GpuError> {
        let Self { config, queue, work, weights } = self;
        let told: Vec<u8> = wanted.iter().flat_map(|row| row.to_le_bytes()).collect();
        queue.upload(&work.wanted, &told)?;
        let (index, normed) = (Some((&work.wanted, rows)), (&work.last, wanted.len()));
        queue.norm(&work.hidden, index, &weights.output_norm, config.norm_epsilon, normed)?;
        let output = weights.output.as_ref().unwrap_or(&weights.embedding);
        queue.multiply(output, normed, Output::whole(&work.logits, config.vocabulary))?;
        let found = queue.download(&work.logits, &mut work.told_logits, wanted.len() * config.vocabulary)?;
        logits.extend(found.chunks_exact(config.vocabulary).map(<[f32]>::to_vec));
        Ok(())
    }
}

fn attention_shape(config: &LlamaConfig) -> AttentionShape {
    let crate::kernel::Attention { heads, kv_heads, head_size } = config.attention;
    AttentionShape { heads, kv_heads, head_size }
}

fn cache_shape(config: &LlamaConfig) -> CacheShape {
    let crate::kernel::Attention { kv_heads, head_size, .. } = config.attention;
    CacheShape { layers: config.layers, kv_heads, head_size }
}
