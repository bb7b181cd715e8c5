//! Rows of activations, quantised to eight bits in blocks of 32, as ggml's Q8_1.

use super::BLOCK;

/// Added to a number below 2^22 in size and taken off again, it rounds to the nearest integer.
const ROUNDER: f32 = 12_582_912.0;

/// Quants in a word.
const WORD: usize = 4;

/// Rows of quantised activations.
#[derive(Debug)]
pub struct QuantizedRows {
    columns: usize,
    /// Four quants to a word, the first in its lowest byte: as they are broadcast.
    words: Vec<i32>,
    blocks: Vec<BlockScale>,
}

/// What the 32 quants of a block stand for.
#[derive(Debug, Clone, Copy)]
pub struct BlockScale {
    /// A quant's unit.
    pub scale: f32,
    /// The sum of the quants, times the scale: what a weight's minimum is multiplied by.
    pub sum: f32,
}

impl QuantizedRows {
    /// Quantises rows of `columns` numbers each, a multiple of 32.
    pub fn new(values: &[f32], columns: usize) -> Self {
        debug_assert!(columns.is_multiple_of(BLOCK) && values.len().is_multiple_of(columns));
        let mut words = Vec::with_capacity(values.len() / WORD);
        let blocks = values.chunks_exact(BLOCK).map(|values| {
            let (quants, scale) = quantize(values);
            words
                .extend(quants.chunks_exact(WORD).map(|four| i32::from_le_bytes([four[0], four[1], four[2], four[3]])));
            scale
        });
        let blocks = blocks.collect();
        Self { columns, words, blocks }
    }

    /// Numbers in a row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How many rows.
    pub fn rows(&self) -> usize {
        self.words.len() * WORD / self.columns
    }

    /// The quants of a row, four to a word, and the scales of its blocks.
    pub fn row(&self, row: usize) -> (&[i32], &[BlockScale]) {
        let (words, blocks) = (self.columns / WORD, self.columns / BLOCK);
        (&self.words[row * words..][..words], &self.blocks[row * blocks..][..blocks])
    }
}

/// Quants, as the bytes that they are stored in.
#[expect(clippy::cast_possible_truncation, reason = "a quant lies within ±127, and a NaN becomes 0")]
fn quantize(values: &[f32]) -> ([u8; BLOCK], BlockScale) {
    let largest = values.iter().fold(0f32, |most, value| most.max(value.abs()));
    let scale = largest / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let (mut quants, mut sum) = ([0; BLOCK], 0i32);
    for (quant, value) in quants.iter_mut().zip(values) {
        let rounded = ((value * inverse + ROUNDER) - ROUNDER) as i8;
        *quant = rounded.cast_unsigned();
        sum += i32::from(rounded);
    }
    #[expect(clippy::cast_precision_loss, reason = "a sum of 32 quants has 12 bits")]
    let sum = scale * sum as f32;
    (quants, BlockScale { scale, sum })
}
