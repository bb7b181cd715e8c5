//! Matrix products over quantised weights, with the weights packed eight rows side by side.
//!
//! A row of activations is quantised to eight bits by itself, and each (weight row, activation row) pair is summed in one
//! fixed order. So a result never depends on what else is in the batch: that is what lets one replica run several
//! sequences together and still give each the tokens it would get alone.
//!
//! Formats as in ggml: Q4_1 is `d·q + m` and Q8_0 is `d·q` for 32 numbers that share `d` and `m`, as 16-bit floats.

mod activations;
mod attention;
mod avx2;
mod half;
mod portable;

use rayon::prelude::*;

pub use activations::QuantizedRows;
pub use attention::{Attention, attend};

/// Numbers that share a scale.
pub const BLOCK: usize = 32;
/// Weight rows that lie side by side.
pub const LANES: usize = 8;
/// Multiplications above which a product is shared between threads. A product below it is done before a second thread
/// has woken up.
const PARALLEL_WORK_MIN: usize = 32 << 20;
/// Row groups that one thread takes at a time.
const GROUPS_PER_TASK: usize = 16;

/// How packed weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Four bits with a scale and a minimum.
    Q4_1,
    /// Eight bits with a scale.
    Q8_0,
}

impl Packing {
    /// Bytes of one block of one row, packed or not.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::Q4_1 => 20,
            Self::Q8_0 => 34,
        }
    }
}

/// A weight matrix of `rows` × `columns`, packed for the kernels.
pub struct PackedMatrix {
    packing: Packing,
    rows: usize,
    columns: usize,
    /// For each group of eight rows, for each block: eight scales, for Q4_1 eight minima, then the quants, four columns
    /// of a row together, the eight rows in turn.
    data: Vec<u8>,
}

impl std::fmt::Debug for PackedMatrix {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PackedMatrix({:?}, {} × {})", self.packing, self.rows, self.columns)
    }
}

impl PackedMatrix {
    /// Whether a matrix of this shape can be packed.
    pub const fn fits(rows: usize, columns: usize) -> bool {
        rows.is_multiple_of(LANES) && columns.is_multiple_of(BLOCK) && rows > 0 && columns > 0
    }

    /// Packs a matrix that is stored row by row as in a file. None when shape and length do not fit.
    pub fn pack(packing: Packing, rows: usize, columns: usize, stored: &[u8]) -> Option<Self> {
        let row_bytes = columns / BLOCK * packing.block_bytes();
        if !Self::fits(rows, columns) || stored.len() != rows * row_bytes {
            return None;
        }
        let mut data = vec![0; stored.len()];
        let group_bytes = row_bytes * LANES;
        for (group, rows) in data.chunks_exact_mut(group_bytes).zip(stored.chunks_exact(group_bytes)) {
            for (lane, row) in rows.chunks_exact(row_bytes).enumerate() {
                for (block, source) in row.chunks_exact(packing.block_bytes()).enumerate() {
                    let packed_bytes = packing.block_bytes() * LANES;
                    pack_block(packing, &mut group[block * packed_bytes..][..packed_bytes], lane, source);
                }
            }
        }
        Some(Self { packing, rows, columns, data })
    }

    /// Weight rows, and so numbers in one row of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in one row of activations.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// The numbers of one weight row.
    pub fn row(&self, row: usize) -> Vec<f32> {
        let group_bytes = self.columns / BLOCK * self.packing.block_bytes() * LANES;
        let group = &self.data[row / LANES * group_bytes..][..group_bytes];
        portable::unpack_row(self.packing, group, row % LANES)
    }

    /// The product of each row of `input` with this matrix, transposed: `output` is overwritten with as many rows, of
    /// [`Self::rows`] numbers each.
    pub fn multiply(&self, input: &QuantizedRows, output: &mut Vec<f32>) {
        self.multiply_with(Kernel::best(), input, output);
    }

    /// The same with the kernel that any machine has; for tests.
    pub fn multiply_portably(&self, input: &QuantizedRows, output: &mut Vec<f32>) {
        self.multiply_with(Kernel::Portable, input, output);
    }

    fn multiply_with(&self, kernel: Kernel, input: &QuantizedRows, output: &mut Vec<f32>) {
        assert_eq!(input.columns(), self.columns, "a product's inner sizes are the same");
        let count = input.rows();
        let group_bytes = self.columns / BLOCK * self.packing.block_bytes() * LANES;
        // By groups of weight rows first, so that threads write apart from each other.
        let mut grouped = std::mem::take(output);
        grouped.clear();
        grouped.resize(self.rows * count, 0.0);
        let multiply = |(results, weights): (&mut [f32], &[u8])| {
            for (result, group) in results.chunks_exact_mut(LANES * count).zip(weights.chunks_exact(group_bytes)) {
                kernel.multiply_group(self.packing, group, input, result);
            }
        };
        if self.rows * self.columns * count < PARALLEL_WORK_MIN {
            multiply((&mut grouped, &self.data));
        } else {
            let results = grouped.par_chunks_mut(GROUPS_PER_TASK * LANES * count);
            results.zip(self.data.par_chunks(GROUPS_PER_TASK * group_bytes)).for_each(multiply);
        }
        *output = if count == 1 { grouped } else { by_row(&grouped, self.rows, count) };
    }
}

/// From groups of eight results for each row of activations, to rows of results.
fn by_row(grouped: &[f32], rows: usize, count: usize) -> Vec<f32> {
    let mut output = vec![0.0; grouped.len()];
    for (group, results) in grouped.chunks_exact(LANES * count).enumerate() {
        for (row, result) in results.chunks_exact(LANES).enumerate() {
            output[row * rows + group * LANES..][..LANES].copy_from_slice(result);
        }
    }
    output
}

fn pack_block(packing: Packing, packed: &mut [u8], lane: usize, source: &[u8]) {
    let scale_bytes = LANES * 2;
    packed[lane * 2..][..2].copy_from_slice(&source[..2]);
    match packing {
        Packing::Q4_1 => {
            packed[scale_bytes + lane * 2..][..2].copy_from_slice(&source[2..4]);
            interleave(&mut packed[2 * scale_bytes..], lane, &source[4..]);
        }
        Packing::Q8_0 => interleave(&mut packed[scale_bytes..], lane, &source[2..]),
    }
}

fn interleave(packed: &mut [u8], lane: usize, quants: &[u8]) {
    for (vector, four) in packed.chunks_exact_mut(LANES * 4).zip(quants.chunks_exact(4)) {
        vector[lane * 4..][..4].copy_from_slice(four);
    }
}

/// Which instructions are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
}

impl Kernel {
    fn best() -> Self {
        #[cfg(target_arch = "x86_64")]
        if avx2::is_available() {
            return Self::Avx2;
        }
        Self::Portable
    }

    /// Eight weight rows times every row of activations; `result` holds eight numbers for each of these.
    fn multiply_group(self, packing: Packing, group: &[u8], input: &QuantizedRows, result: &mut [f32]) {
        match self {
            Self::Portable => portable::multiply_group(packing, group, input, result),
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this variant is made only where the processor has the instructions.
            Self::Avx2 => unsafe { avx2::multiply_group(packing, group, input, result) },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(seed: u64, count: usize) -> Vec<f32> {
        use steward_types::Entropy;
        let entropy = steward_types::SeededEntropy::new(seed);
        (0..count).map(|_| (entropy.next_u64() >> 40) as f32 / (1u64 << 24) as f32 - 0.5).collect()
    }

    /// Random weights in a file's format: scales around 1/16, quants of all values.
    fn stored(packing: Packing, seed: u64, blocks: usize) -> Vec<u8> {
        use steward_types::Entropy;
        let mut bytes = vec![0; blocks * packing.block_bytes()];
        steward_types::SeededEntropy::new(seed).fill(&mut bytes);
        for block in bytes.chunks_exact_mut(packing.block_bytes()) {
            block[1] = 0x2c;
            if packing == Packing::Q4_1 {
                block[3] = 0xac;
            }
        }
        bytes
    }

    fn check(packing: Packing, seed: u64, groups: usize, blocks: usize, count: usize) {
        let (rows, columns) = (groups * LANES, blocks * BLOCK);
        let matrix = PackedMatrix::pack(packing, rows, columns, &stored(packing, seed, rows * blocks)).unwrap();
        let activations = numbers(seed + 1, count * columns);
        let quantized = QuantizedRows::new(&activations, columns);
        let (mut best, mut portable) = (Vec::new(), Vec::new());
        matrix.multiply(&quantized, &mut best);
        matrix.multiply_portably(&quantized, &mut portable);
        for row in 0..count {
            let input = &activations[row * columns..][..columns];
            let mut alone = Vec::new();
            matrix.multiply(&QuantizedRows::new(input, columns), &mut alone);
            assert_eq!(alone, best[row * rows..][..rows], "a row's product does not depend on its batch");
            for weight in 0..rows {
                let exact: f32 = matrix.row(weight).iter().zip(input).map(|(w, x)| w * x).sum();
                let size: f32 = matrix.row(weight).iter().map(|w| w.abs()).sum();
                for found in [best[row * rows + weight], portable[row * rows + weight]] {
                    assert!((found - exact).abs() <= size * 0.004 + 1e-4, "{found} is not near {exact}");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn products_are_near_the_exact_ones(seed: u32, groups in 1usize..4, blocks in 1usize..5, count in 1usize..8) {
            check(Packing::Q4_1, u64::from(seed), groups, blocks, count);
            check(Packing::Q8_0, u64::from(seed), groups, blocks, count);
        }
    }

    #[test]
    fn a_shared_product_is_the_same_as_one_alone() {
        check(Packing::Q4_1, 1, 300, 8, 61);
    }

    #[test]
    fn what_does_not_fit_is_not_packed() {
        assert!(PackedMatrix::pack(Packing::Q4_1, 7, 32, &[0; 7 * 20]).is_none());
        assert!(PackedMatrix::pack(Packing::Q4_1, 8, 31, &[0; 8 * 20]).is_none());
        assert!(PackedMatrix::pack(Packing::Q4_1, 8, 32, &[0; 8 * 20 - 1]).is_none());
    }
}
