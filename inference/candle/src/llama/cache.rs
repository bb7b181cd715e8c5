//! One sequence's keys and values, allocated once for all the tokens that it may ever have.

use steward_inference::Reservation;

use super::LlamaConfig;

/// Keys and values by layer, key-value head and position.
#[derive(Debug)]
pub struct KeyValueCache {
    keys: Vec<f32>,
    values: Vec<f32>,
    capacity: usize,
    head_size: usize,
    layer_size: usize,
    /// Gives the device memory back when the sequence ends.
    _reservation: Reservation,
}

impl KeyValueCache {
    /// Room for `capacity` tokens, for which `reservation` was taken.
    pub fn new(config: &LlamaConfig, capacity: usize, reservation: Reservation) -> Self {
        let head_size = config.attention.head_size;
        let layer_size = config.attention.kv_heads * capacity * head_size;
        let zeros = || vec![0.0; config.layers * layer_size];
        Self { keys: zeros(), values: zeros(), capacity, head_size, layer_size, _reservation: reservation }
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
