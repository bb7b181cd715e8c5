//! Rotary positions: Su and others, "RoFormer" (2021), on neighbouring pairs, as GGUF files of the llama kind have them.

use super::LlamaConfig;

/// How fast each pair of numbers turns.
#[derive(Debug)]
pub struct RotaryTable {
    /// Radians a position, one for each pair.
    frequencies: Vec<f32>,
}

impl RotaryTable {
    /// The frequencies of a model; `factors` divide them one by one.
    #[expect(clippy::cast_precision_loss, reason = "a head has few hundred numbers")]
    pub fn new(config: &LlamaConfig, factors: Option<&[f32]>) -> Self {
        let pairs = config.rope_size / 2;
        let frequency = |pair: usize| {
            let factor = factors.and_then(|factors| factors.get(pair)).copied().unwrap_or(1.0);
            config.rope_base.powf(-2.0 * pair as f32 / config.rope_size as f32) / factor / config.rope_scale
        };
        Self { frequencies: (0..pairs).map(frequency).collect() }
    }

    /// Radians a position, one for each pair.
    pub fn frequencies(&self) -> &[f32] {
        &self.frequencies
    }

    /// Turns each head of a row at `position`.
    #[expect(clippy::cast_precision_loss, reason = "positions stay below 2^24")]
    pub fn rotate(&self, row: &mut [f32], head_size: usize, position: usize) {
        for (pair, frequency) in self.frequencies.iter().enumerate() {
            let (sin, cos) = (position as f32 * frequency).sin_cos();
            for head in row.chunks_exact_mut(head_size) {
                let (x, y) = (head[2 * pair], head[2 * pair + 1]);
                head[2 * pair] = x * cos - y * sin;
                head[2 * pair + 1] = x * sin + y * cos;
            }
        }
    }
}
