//! Weight matrices in device memory, in the layouts that `kernels/llama.cu` describes.
//!
//! What a file stores in blocks of 32 with one scale becomes quants of four or eight bits without loss: Q4_0 and Q5_1
//! are Q4_1 and Q8_0 with a minimum. Anything else is kept as floats of 16 or 32 bits.

mod blocks;

use std::sync::Arc;

use rayon::prelude::*;

use crate::{Buffer, Gpu, GpuError};
use blocks::Block;

/// Numbers that share a scale.
pub(crate) const BLOCK: usize = 32;
/// Weight rows that lie side by side.
pub(crate) const GROUP: usize = 32;
/// Bytes of a row that lie together.
const PIECE_BYTES: usize = 16;

/// How a matrix lies in device memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Four bits, a scale and a minimum.
    Q4Minimum,
    /// Eight bits and a scale.
    Q8,
    /// Eight bits, a scale and a minimum.
    Q8Minimum,
    /// 16-bit floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// 32-bit floats.
    F32,
}

/// How a file stores a matrix: ggml's types of these names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "they are documented in ggml's ggml-common.h, by their names")]
pub enum StoredAs {
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    F16,
    Bf16,
    F32,
}

/// A matrix's sizes and format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatrixShape {
    /// How it lies in device memory.
    pub format: Format,
    /// Weight rows, and so numbers in one row of a product.
    pub rows: usize,
    /// Numbers in one row of activations.
    pub columns: usize,
}

/// A weight matrix in device memory.
#[derive(Debug)]
pub struct Matrix {
    shape: MatrixShape,
    pub(crate) weights: Buffer,
    /// Scales, with minima where there are some; empty for floats.
    pub(crate) scales: Buffer,
}

impl Format {
    /// Whether products with it take quantised activations.
    pub const fn is_quantised(self) -> bool {
        matches!(self, Self::Q4Minimum | Self::Q8 | Self::Q8Minimum)
    }

    /// Columns of one row that lie together.
    pub(crate) const fn columns_together(self) -> usize {
        match self {
            Self::Q4Minimum | Self::Q8 | Self::Q8Minimum => BLOCK,
            Self::F16 | Self::Bf16 => 8,
            Self::F32 => 4,
        }
    }

    /// Bytes of one row's weights for these columns.
    const fn weight_bytes(self) -> usize {
        match self {
            Self::Q8 | Self::Q8Minimum => 2 * PIECE_BYTES,
            Self::Q4Minimum | Self::F16 | Self::Bf16 | Self::F32 => PIECE_BYTES,
        }
    }

    /// Bytes of their scale.
    const fn scale_bytes(self) -> usize {
        match self {
            Self::Q4Minimum | Self::Q8Minimum => 4,
            Self::Q8 => 2,
            Self::F16 | Self::Bf16 | Self::F32 => 0,
        }
    }
}

impl StoredAs {
    /// How it lies in device memory.
    pub const fn format(self) -> Format {
        match self {
            Self::Q4_0 | Self::Q4_1 => Format::Q4Minimum,
            Self::Q5_0 | Self::Q8_0 => Format::Q8,
            Self::Q5_1 => Format::Q8Minimum,
            Self::F16 => Format::F16,
            Self::Bf16 => Format::Bf16,
            Self::F32 => Format::F32,
        }
    }

    /// Bytes of a row of so many columns in the file; none where they are no whole blocks.
    const fn row_bytes(self, columns: usize) -> Option<usize> {
        let (numbers, bytes) = match self {
            Self::Q4_0 => (BLOCK, 18),
            Self::Q4_1 => (BLOCK, 20),
            Self::Q5_0 => (BLOCK, 22),
            Self::Q5_1 => (BLOCK, 24),
            Self::Q8_0 => (BLOCK, 34),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::F32 => (1, 4),
        };
        if columns.is_multiple_of(numbers) { Some(columns / numbers * bytes) } else { None }
    }
}

impl MatrixShape {
    /// Bytes that it takes in device memory.
    pub const fn bytes(self) -> u64 {
        let (weights, scales) = self.lengths();
        (weights + scales) as u64
    }

    /// Pieces of columns that lie together, in one row.
    pub(crate) const fn pieces(self) -> usize {
        self.columns.div_ceil(self.format.columns_together())
    }

    /// Groups of rows.
    pub(crate) const fn groups(self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    const fn lengths(self) -> (usize, usize) {
        let pieces = self.groups() * GROUP * self.pieces();
        (pieces * self.format.weight_bytes(), pieces * self.format.scale_bytes())
    }
}

impl Matrix {
    /// Brings a matrix to the device that is stored row by row as in a file.
    ///
    /// # Panics
    /// When `stored` is not as long as a matrix of this shape is.
    pub fn load(
        gpu: &Arc<Gpu>,
        stored_as: StoredAs,
        (rows, columns): (usize, usize),
        stored: &[u8],
    ) -> Result<Self, GpuError> {
        let shape = MatrixShape { format: stored_as.format(), rows, columns };
        let (weights, scales) = pack(stored_as, shape, stored);
        let weights = Buffer::with(gpu, "weights", &weights)?;
        let scales = Buffer::with(gpu, "scales of weights", &scales)?;
        Ok(Self { shape, weights, scales })
    }

    /// Its sizes and format.
    pub fn shape(&self) -> MatrixShape {
        self.shape
    }
}

/// The weights and the scales as they lie in device memory. Rows and columns are filled up with zeros.
fn pack(stored_as: StoredAs, shape: MatrixShape, stored: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let row_bytes = stored_as.row_bytes(shape.columns).expect("a row has whole blocks");
    assert_eq!(stored.len(), row_bytes * shape.rows, "a matrix is stored whole");
    let (weights_bytes, scales_bytes) = shape.lengths();
    let (mut weights, mut scales) = (vec![0; weights_bytes], vec![0; scales_bytes]);
    let pieces = GROUP * shape.pieces();
    let weights_of_groups = weights.par_chunks_mut(pieces * shape.format.weight_bytes());
    let rows_of_groups = stored.par_chunks(GROUP * row_bytes);
    if shape.format.is_quantised() {
        let scales_of_groups = scales.par_chunks_mut(pieces * shape.format.scale_bytes());
        weights_of_groups.zip(scales_of_groups).zip(rows_of_groups).for_each(|((weights, scales), rows)| {
            for (row, stored) in rows.chunks_exact(row_bytes).enumerate() {
                pack_quantised_row(stored_as, row, stored, weights, scales);
            }
        });
    } else {
        weights_of_groups.zip(rows_of_groups).for_each(|(weights, rows)| {
            for (row, stored) in rows.chunks_exact(row_bytes).enumerate() {
                for (piece, numbers) in stored.chunks(PIECE_BYTES).enumerate() {
                    weights[(piece * GROUP + row) * PIECE_BYTES..][..numbers.len()].copy_from_slice(numbers);
                }
            }
        });
    }
    (weights, scales)
}

fn pack_quantised_row(stored_as: StoredAs, row: usize, stored: &[u8], weights: &mut [u8], scales: &mut [u8]) {
    let format = stored_as.format();
    let (planes, scale_bytes) = (format.weight_bytes() / PIECE_BYTES, format.scale_bytes());
    let blocks = stored.chunks_exact(stored_as.row_bytes(BLOCK).unwrap_or(1));
    for (number, stored) in blocks.enumerate() {
        let Block { quants, scale } = Block::read(stored_as, stored);
        for plane in 0..planes {
            let at = ((number * planes + plane) * GROUP + row) * PIECE_BYTES;
            weights[at..][..PIECE_BYTES].copy_from_slice(&quants[plane * PIECE_BYTES..][..PIECE_BYTES]);
        }
        scales[(number * GROUP + row) * scale_bytes..][..scale_bytes].copy_from_slice(&scale[..scale_bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_lie_side_by_side_and_what_is_missing_is_zero() {
        let shape = MatrixShape { format: Format::Q8, rows: 33, columns: 64 };
        let block = |row: u8, number: u8| {
            let mut stored = vec![row, number];
            stored.extend((0..32).map(|place| row.wrapping_mul(3) ^ number ^ place));
            stored
        };
        let stored: Vec<u8> = (0..33).flat_map(|row| [block(row, 0), block(row, 1)].concat()).collect();
        let (weights, scales) = pack(StoredAs::Q8_0, shape, &stored);
        assert_eq!(((weights.len() + scales.len()) as u64, weights.len()), (shape.bytes(), 64 * 64));
        let (row, number, place) = (5u8, 1u8, 20u8);
        let at = ((usize::from(number) * 2 + 1) * GROUP + usize::from(row)) * 16 + 4;
        assert_eq!(weights[at], (row * 3) ^ number ^ place);
        assert_eq!(scales[(usize::from(number) * GROUP + usize::from(row)) * 2..][..2], [row, number]);
        // Row 32 is the first of the second group, and the rest of that is empty.
        assert_eq!(weights[64 * 32], 32u8.wrapping_mul(3));
        assert!(weights[64 * 32 + 16..64 * 32 + 512].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn floats_are_filled_up_to_whole_pieces() {
        let shape = MatrixShape { format: Format::F32, rows: 2, columns: 5 };
        let stored: Vec<u8> = (1..=10u8).flat_map(|number| f32::from(number).to_le_bytes()).collect();
        let (weights, scales) = pack(StoredAs::F32, shape, &stored);
        assert_eq!((weights.len(), scales.len(), shape.pieces()), (2 * GROUP * 16, 0, 2));
        let number = |at: usize| f32::from_le_bytes(weights[at..at + 4].try_into().unwrap());
        assert_eq!(
            [number(0), number(12), number(16), number(GROUP * 16), number(GROUP * 16 + 4)],
            [1., 4., 6., 5., 0.]
        );
    }
}
