//! The products in plain Rust: for machines without AVX2, and as what the others are checked against.

use super::{BLOCK, LANES, Packing, QuantizedRows, half};

/// Eight weight rows times every row of activations.
pub fn multiply_group(packing: Packing, group: &[u8], input: &QuantizedRows, result: &mut [f32]) {
    let packed_bytes = packing.block_bytes() * LANES;
    for (row, sums) in result.chunks_exact_mut(LANES).enumerate() {
        let (words, scales) = input.row(row);
        sums.fill(0.0);
        let blocks = group.chunks_exact(packed_bytes).zip(words.chunks_exact(BLOCK / 4)).zip(scales);
        for ((weights, words), scale) in blocks {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let activation = |at: usize| i32::from(words[at / 4].to_le_bytes()[at % 4].cast_signed());
                let dot: i32 = (0..BLOCK).map(|at| quant(packing, weights, lane, at) * activation(at)).sum();
                #[expect(clippy::cast_precision_loss, reason = "at most 2^19, kept exactly")]
                let dot = dot as f32;
                *sum += scale.scale * scale_of(weights, lane) * dot;
                if packing == Packing::Q4_1 {
                    *sum += minimum_of(weights, lane) * scale.sum;
                }
            }
        }
    }
}

/// The numbers of one row of a packed group.
pub fn unpack_row(packing: Packing, group: &[u8], lane: usize) -> Vec<f32> {
    let packed_bytes = packing.block_bytes() * LANES;
    let mut row = Vec::with_capacity(group.len() / packed_bytes * BLOCK);
    for weights in group.chunks_exact(packed_bytes) {
        let minimum = if packing == Packing::Q4_1 { minimum_of(weights, lane) } else { 0.0 };
        #[expect(clippy::cast_precision_loss, reason = "eight bits are kept exactly")]
        row.extend((0..BLOCK).map(|at| scale_of(weights, lane) * quant(packing, weights, lane, at) as f32 + minimum));
    }
    row
}

fn scale_of(weights: &[u8], lane: usize) -> f32 {
    half::to_f32([weights[lane * 2], weights[lane * 2 + 1]])
}

fn minimum_of(weights: &[u8], lane: usize) -> f32 {
    scale_of(&weights[LANES * 2..], lane)
}

/// The quant at `at` of a lane's block. In Q4_1 the low halves hold the first 16 of a block, the high halves the others.
fn quant(packing: Packing, weights: &[u8], lane: usize, at: usize) -> i32 {
    let place = |at: usize| at / 4 * (LANES * 4) + lane * 4 + at % 4;
    match packing {
        Packing::Q4_1 => {
            let byte = weights[LANES * 4 + place(at % 16)];
            i32::from(if at < 16 { byte & 15 } else { byte >> 4 })
        }
        Packing::Q8_0 => i32::from(weights[LANES * 2 + place(at)].cast_signed()),
    }
}
