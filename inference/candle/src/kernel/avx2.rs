//! The products with AVX2: a vector holds four columns of eight weight rows, an activation's four columns are broadcast.
#![cfg(target_arch = "x86_64")]

use std::arch::x86_64::*;

use super::activations::BlockScale;
use super::{BLOCK, LANES, Packing, QuantizedRows};

/// Vectors of quants in a block: 32 columns, four in a vector.
const VECTORS: usize = BLOCK / 4;
/// Activation rows that share one reading of the weights.
const TILE: usize = 4;

/// Whether this processor has all that the kernels use.
pub fn is_available() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

/// Eight weight rows times every row of activations.
///
/// # Safety
/// The processor must have AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn multiply_group(packing: Packing, group: &[u8], input: &QuantizedRows, result: &mut [f32]) {
    let mut row = 0;
    while row + TILE <= input.rows() {
        multiply_tile::<TILE>(packing, group, input, row, &mut result[row * LANES..][..TILE * LANES]);
        row += TILE;
    }
    while row < input.rows() {
        multiply_tile::<1>(packing, group, input, row, &mut result[row * LANES..][..LANES]);
        row += 1;
    }
}

/// `ROWS` rows of activations from `first`. Each row's sum runs over the blocks in order, whatever `ROWS` is.
#[target_feature(enable = "avx2,fma,f16c")]
fn multiply_tile<const ROWS: usize>(
    packing: Packing,
    group: &[u8],
    input: &QuantizedRows,
    first: usize,
    result: &mut [f32],
) {
    let rows: [(&[i32], &[BlockScale]); ROWS] = std::array::from_fn(|row| input.row(first + row));
    let mut sums = [_mm256_setzero_ps(); ROWS];
    for (block, weights) in group.chunks_exact(packing.block_bytes() * LANES).enumerate() {
        let scales = load_halves(weights);
        match packing {
            Packing::Q4_1 => {
                let minima = load_halves(&weights[LANES * 2..]);
                let quants = load_nibbles(&weights[LANES * 4..]);
                for (sum, (activations, block_scales)) in sums.iter_mut().zip(&rows) {
                    let BlockScale { scale, sum: activation_sum } = block_scales[block];
                    let dot = _mm256_cvtepi32_ps(dot_unsigned(&quants, &activations[block * VECTORS..][..VECTORS]));
                    *sum = _mm256_fmadd_ps(dot, _mm256_mul_ps(scales, _mm256_set1_ps(scale)), *sum);
                    *sum = _mm256_fmadd_ps(minima, _mm256_set1_ps(activation_sum), *sum);
                }
            }
            Packing::Q8_0 => {
                let quants = load_bytes(&weights[LANES * 2..]);
                for (sum, (activations, block_scales)) in sums.iter_mut().zip(&rows) {
                    let dot = _mm256_cvtepi32_ps(dot_signed(&quants, &activations[block * VECTORS..][..VECTORS]));
                    let scale = _mm256_mul_ps(scales, _mm256_set1_ps(block_scales[block].scale));
                    *sum = _mm256_fmadd_ps(dot, scale, *sum);
                }
            }
        }
    }
    for (result, sum) in result.chunks_exact_mut(LANES).zip(sums) {
        // SAFETY: the chunk has room for eight floats, and the store needs no alignment.
        unsafe { _mm256_storeu_ps(result.as_mut_ptr(), sum) };
    }
}

/// Eight 16-bit floats.
#[target_feature(enable = "avx2,fma,f16c")]
fn load_halves(bytes: &[u8]) -> __m256 {
    let bytes = &bytes[..LANES * 2];
    // SAFETY: sixteen bytes are there, and the load needs no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
}

/// The quants of a block of Q4_1, one a byte, in the order of the columns.
#[target_feature(enable = "avx2,fma,f16c")]
fn load_nibbles(bytes: &[u8]) -> [__m256i; VECTORS] {
    let low = _mm256_set1_epi8(15);
    let mut quants = [_mm256_setzero_si256(); VECTORS];
    for (at, vector) in bytes.chunks_exact(32).take(VECTORS / 2).enumerate() {
        // SAFETY: the chunk has 32 bytes, and the load needs no alignment.
        let both = unsafe { _mm256_loadu_si256(vector.as_ptr().cast()) };
        quants[at] = _mm256_and_si256(both, low);
        quants[at + VECTORS / 2] = _mm256_and_si256(_mm256_srli_epi16::<4>(both), low);
    }
    quants
}

#[target_feature(enable = "avx2,fma,f16c")]
fn load_bytes(bytes: &[u8]) -> [__m256i; VECTORS] {
    let mut quants = [_mm256_setzero_si256(); VECTORS];
    for (quant, vector) in quants.iter_mut().zip(bytes.chunks_exact(32)) {
        // SAFETY: the chunk has 32 bytes, and the load needs no alignment.
        *quant = unsafe { _mm256_loadu_si256(vector.as_ptr().cast()) };
    }
    quants
}

/// Eight dot products of quants from 0 to 15. Sums of all 16 products of a lane's half stay below 2^15 (15·127·16).
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_unsigned(quants: &[__m256i; VECTORS], activations: &[i32]) -> __m256i {
    let mut pairs = _mm256_setzero_si256();
    for (&quant, &four) in quants.iter().zip(activations) {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(quant, _mm256_set1_epi32(four)));
    }
    _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))
}

/// Eight dot products of signed quants. A pair of products stays below 2^15 (2·128·127), so it is widened at once.
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_signed(quants: &[__m256i; VECTORS], activations: &[i32]) -> __m256i {
    let mut sums = _mm256_setzero_si256();
    for (&quant, &four) in quants.iter().zip(activations) {
        let signed = _mm256_sign_epi8(_mm256_set1_epi32(four), quant);
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(quant), signed);
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    }
    sums
}
