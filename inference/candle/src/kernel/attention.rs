//! One row's attention over its sequence's cache, and the small vector functions around it.

/// The shape of a model's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attention {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Numbers in a head.
    pub head_size: usize,
}

/// Sums are kept in this many lanes, so that the compiler can use vectors of any width up to it.
const LANES: usize = 16;

/// Attends to `positions` positions. `keys` and `values` hold `capacity` positions for each key-value head; `query` and
/// `output` hold all query heads.
pub fn attend(
    shape: Attention,
    query: &[f32],
    (keys, values): (&[f32], &[f32]),
    (positions, capacity): (usize, usize),
    output: &mut [f32],
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has the instructions.
        unsafe { attend_avx2(shape, query, (keys, values), (positions, capacity), output) };
        return;
    }
    attend_in_place(shape, query, (keys, values), (positions, capacity), output);
}

/// # Safety
/// The processor must have AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn attend_avx2(
    shape: Attention,
    query: &[f32],
    cache: (&[f32], &[f32]),
    extent: (usize, usize),
    output: &mut [f32],
) {
    attend_in_place(shape, query, cache, extent, output);
}

#[inline(always)]
fn attend_in_place(
    shape: Attention,
    query: &[f32],
    (keys, values): (&[f32], &[f32]),
    (positions, capacity): (usize, usize),
    output: &mut [f32],
) {
    let size = shape.head_size;
    #[expect(clippy::cast_precision_loss, reason = "a head has few hundred numbers")]
    let scale = 1.0 / (size as f32).sqrt();
    let mut scores = vec![0f32; positions];
    for (head, (query, output)) in query.chunks_exact(size).zip(output.chunks_exact_mut(size)).enumerate() {
        let begin = head / (shape.heads / shape.kv_heads) * capacity * size;
        let extent = begin..begin + positions * size;
        for (score, key) in scores.iter_mut().zip(keys[extent.clone()].chunks_exact(size)) {
            *score = dot(query, key) * scale;
        }
        let total = exponentials(&mut scores);
        output.fill(0.0);
        for (score, value) in scores.iter().zip(values[extent].chunks_exact(size)) {
            let weight = score / total;
            for (output, value) in output.iter_mut().zip(value) {
                *output += weight * value;
            }
        }
    }
}

/// The dot product of two vectors of the same length.
#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(x, y)| x * y).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Replaces scores by their exponentials, less the largest so that none overflows; returns their sum.
#[inline(always)]
fn exponentials(scores: &mut [f32]) -> f32 {
    let largest = scores.iter().fold(f32::NEG_INFINITY, |most, &score| most.max(score));
    let mut total = 0.0;
    for score in scores {
        *score = (*score - largest).exp();
        total += *score;
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attention_weighs_values_by_their_keys() {
        let shape = Attention { heads: 2, kv_heads: 1, head_size: 2 };
        // Three positions of room, two of them used: the third must not matter.
        let keys = [1.0, 0.0, 0.0, 1.0, 9.0, 9.0];
        let values = [10.0, 0.0, 0.0, 10.0, 99.0, 99.0];
        let mut output = [0.0; 4];
        attend(shape, &[0.0, 0.0, 100.0, 0.0], (&keys, &values), (2, 3), &mut output);
        for (found, expected) in output.iter().zip([5.0, 5.0, 10.0, 0.0]) {
            assert!((found - expected).abs() < 1e-4, "{output:?}");
        }
    }

    #[test]
    fn a_dot_product_counts_every_number() {
        for length in [1, 15, 16, 17, 64, 100] {
            let ones = vec![1.0; length];
            assert_eq!(dot(&ones, &ones), length as f32);
        }
    }
}
