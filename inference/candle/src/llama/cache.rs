//! One sequence's keys and values in the machine's memory, allocated once for all the tokens that it may ever have.

use super::LlamaConfig;

/// Keys and values by layer, key-value head and position.
#[derive(Debug)]
pub struct ProcessorCache {
    keys: Vec<f32>,
    values: Vec<f32>,
    capacity: usize,
    head_size: usize,
    layer_size: usize,
}

impl ProcessorCache {
    /// Room for `capacity` tokens.
    pub fn new(config: &LlamaConfig, capacity: usize) -> Self {
        let head_size = config.attention.head_size;
        let layer_size = config.attention.kv_heads * capacity * head_size;
        let zeros = || vec![0.0; config.layers * layer_size];
        Self { keys: zeros(), values: zeros(), capacity, head_size, layer_size }
    }

    /// Positions that it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// A layer's keys and values: for each key-value head, all positions.
    pub fn layer(&self, layer: usize) -> (&[f32], &[f32]) {
        let extent = layer * self.layer_size..(layer + 1) * self.layer_size;
        (&self.keys[extent.clone()], &self.values[extent])
    }

    /// Copies the keys and values of the first `positions` from another cache of the same model.
    pub fn copy_prefix(&mut self, from: &Self, positions: usize) {
        let size = positions * self.head_size;
        let heads = self.keys.len() / (self.capacity * self.head_size);
        for head in 0..heads {
            let (to, at) = (head * self.capacity * self.head_size, head * from.capacity * self.head_size);
            self.keys[to..][..size].copy_from_slice(&from.keys[at..][..size]);
            self.values[to..][..size].copy_from_slice(&from.values[at..][..size]);
        }
    }

    /// Writes one position's key and value, all heads in turn.
    pub fn write(&mut self, layer: usize, position: usize, key: &[f32], value: &[f32]) {
        let size = self.head_size;
        for (head, (key, value)) in key.chunks_exact(size).zip(value.chunks_exact(size)).enumerate() {
            let at = layer * self.layer_size + (head * self.capacity + position) * size;
            self.keys[at..][..size].copy_from_slice(key);
            self.values[at..][..size].copy_from_slice(value);
        }
    }
}
