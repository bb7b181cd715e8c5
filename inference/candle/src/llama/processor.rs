//! A llama on the processor.

use std::io::{Read, Seek};

use rayon::prelude::*;

use super::cache::ProcessorCache;
use super::reader::TensorReader;
use super::rope::RotaryTable;
use super::{LlamaConfig, Row};
use crate::gguf::{Header, HeaderError};
use crate::kernel::attend;
use crate::linear::{Activations, Linear};

/// Multiplications in a batch's attention above which its rows are shared between threads.
const PARALLEL_ATTENTION_MIN: usize = 4 << 20;

/// A model in the machine's memory.
#[derive(Debug)]
pub struct ProcessorLlama {
    config: LlamaConfig,
    embedding: Linear,
    layers: Vec<Layer>,
    output_norm: Vec<f32>,
    /// None when the embedding table serves.
    output: Option<Linear>,
    rotary: RotaryTable,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    query: Linear,
    key: Linear,
    value: Linear,
    attention_output: Linear,
    feed_forward_norm: Vec<f32>,
    gate: Linear,
    up: Linear,
    down: Linear,
}

impl<R: Read + Seek> TensorReader<'_, R> {
    fn linear(&mut self, name: &str) -> Result<Linear, HeaderError> {
        let (entry, bytes) = self.stored(name)?;
        Linear::load(&entry, &bytes).map_err(|error| HeaderError::new(format!("tensor {name:?}: {error}")))
    }

    fn layer(&mut self, number: usize) -> Result<Layer, HeaderError> {
        let name = |part: &str| format!("blk.{number}.{part}.weight");
        Ok(Layer {
            attention_norm: self.vector(&name("attn_norm"))?,
            query: self.linear(&name("attn_q"))?,
            key: self.linear(&name("attn_k"))?,
            value: self.linear(&name("attn_v"))?,
            attention_output: self.linear(&name("attn_output"))?,
            feed_forward_norm: self.vector(&name("ffn_norm"))?,
            gate: self.linear(&name("ffn_gate"))?,
            up: self.linear(&name("ffn_up"))?,
            down: self.linear(&name("ffn_down"))?,
        })
    }
}

impl ProcessorLlama {
    /// Loads the weights of a file whose header was checked by [`LlamaConfig::check`]. `progress` hears how many more
    /// bytes were read.
    pub fn load(
        file: impl Read + Seek,
        header: &Header,
        config: LlamaConfig,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, HeaderError> {
        let mut reader = TensorReader { file, header, progress };
        let embedding = reader.linear("token_embd.weight")?;
        let layers = (0..config.layers).map(|number| reader.layer(number)).collect::<Result<_, _>>()?;
        let output_norm = reader.vector("output_norm.weight")?;
        let output = reader.has("output.weight").then(|| reader.linear("output.weight")).transpose()?;
        let factors = reader.has("rope_freqs.weight").then(|| reader.vector("rope_freqs.weight")).transpose()?;
        let rotary = RotaryTable::new(&config, factors.as_deref());
        Ok(Self { config, embedding, layers, output_norm, output, rotary })
    }

    /// Its sizes.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Whether a row's result is the same in every batch, so that sequences may share one.
    pub fn is_batch_invariant(&self) -> bool {
        let invariant = |linear: &Linear| linear.is_batch_invariant();
        let layer = |layer: &Layer| {
            let Layer { query, key, value, attention_output, gate, up, down, .. } = layer;
            [query, key, value, attention_output, gate, up, down].into_iter().all(invariant)
        };
        invariant(&self.embedding) && self.output.as_ref().is_none_or(invariant) && self.layers.iter().all(layer)
    }

    /// Runs a batch: each row's keys and values go into its sequence's cache, and the logits of the rows that want them
    /// come back, in the order of the rows. A sequence's rows stand in the order of their positions.
    pub fn forward(&self, rows: &[Row], caches: &mut [&mut ProcessorCache]) -> candle_core::Result<Vec<Vec<f32>>> {
        let mut hidden = Vec::with_capacity(rows.len() * self.config.hidden);
        for row in rows {
            hidden.extend(self.embedding.row(row.token)?);
        }
        for (number, layer) in self.layers.iter().enumerate() {
            self.attention(number, layer, rows, caches, &mut hidden)?;
            self.feed_forward(layer, &mut hidden)?;
        }
        let size = self.config.hidden;
        let wanted = rows.iter().zip(hidden.chunks_exact(size)).filter(|(row, _)| row.wants_logits);
        let wanted: Vec<f32> = wanted.flat_map(|(_, hidden)| hidden.iter().copied()).collect();
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let normed = self.norm(&wanted, &self.output_norm);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let logits = output.forward(&Activations::new(&normed, size))?;
        Ok(logits.chunks_exact(self.config.vocabulary).map(<[f32]>::to_vec).collect())
    }

    fn attention(
        &self,
        number: usize,
        layer: &Layer,
        rows: &[Row],
        caches: &mut [&mut ProcessorCache],
        hidden: &mut [f32],
    ) -> candle_core::Result<()> {
        let shape = self.config.attention;
        let normed = self.norm(hidden, &layer.attention_norm);
        let input = Activations::new(&normed, self.config.hidden);
        let (mut query, mut key) = (layer.query.forward(&input)?, layer.key.forward(&input)?);
        let value = layer.value.forward(&input)?;
        let (query_size, key_size) = (shape.heads * shape.head_size, shape.kv_heads * shape.head_size);
        for (at, row) in rows.iter().enumerate() {
            let key = &mut key[at * key_size..][..key_size];
            self.rotary.rotate(&mut query[at * query_size..][..query_size], shape.head_size, row.position);
            self.rotary.rotate(key, shape.head_size, row.position);
            caches[row.cache].write(number, row.position, key, &value[at * key_size..][..key_size]);
        }
        let mut attended = vec![0.0; query.len()];
        let caches: &[&mut ProcessorCache] = caches;
        let attend_row = |(row, (query, output)): (&Row, (&[f32], &mut [f32]))| {
            let cache = &caches[row.cache];
            attend(shape, query, cache.layer(number), (row.position + 1, cache.capacity()), output);
        };
        let work: usize = rows.iter().map(|row| (row.position + 1) * query_size * 2).sum();
        if work < PARALLEL_ATTENTION_MIN {
            let parts = query.chunks_exact(query_size).zip(attended.chunks_exact_mut(query_size));
            rows.iter().zip(parts).for_each(attend_row);
        } else {
            let parts = query.par_chunks_exact(query_size).zip(attended.par_chunks_exact_mut(query_size));
            rows.par_iter().zip(parts).for_each(attend_row);
        }
        add(hidden, &layer.attention_output.forward(&Activations::new(&attended, query_size))?);
        Ok(())
    }

    fn feed_forward(&self, layer: &Layer, hidden: &mut [f32]) -> candle_core::Result<()> {
        let normed = self.norm(hidden, &layer.feed_forward_norm);
        let input = Activations::new(&normed, self.config.hidden);
        let (mut gate, up) = (layer.gate.forward(&input)?, layer.up.forward(&input)?);
        for (gate, up) in gate.iter_mut().zip(&up) {
            *gate = *gate / (1.0 + (-*gate).exp()) * up;
        }
        add(hidden, &layer.down.forward(&Activations::new(&gate, self.config.feed_forward))?);
        Ok(())
    }

    /// Zhang and Sennrich, "Root Mean Square Layer Normalization" (2019).
    fn norm(&self, values: &[f32], weights: &[f32]) -> Vec<f32> {
        let mut normed = Vec::with_capacity(values.len());
        for row in values.chunks_exact(weights.len()) {
            #[expect(clippy::cast_precision_loss, reason = "a row has few thousand numbers")]
            let mean = row.iter().map(|x| x * x).sum::<f32>() / row.len() as f32;
            let factor = 1.0 / (mean + self.config.norm_epsilon).sqrt();
            normed.extend(row.iter().zip(weights).map(|(x, weight)| x * factor * weight));
        }
        normed
    }
}

fn add(values: &mut [f32], more: &[f32]) {
    for (value, more) in values.iter_mut().zip(more) {
        *value += more;
    }
}
