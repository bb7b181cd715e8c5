//! The dot product, as wide as the processor has it.
//!
//! Sixteen sums run beside each other, so that the compiler makes vector instructions of them: SSE or NEON as every
//! processor of the target has them, AVX2 with fused multiply-add where the processor says so at run time. The last
//! bits of a score may thus differ between machines; a recalled step answers from its journal and not from here.

const LANES: usize = 16;

/// The dot products of `query` with each vector of `vectors`, which lie one after the other, onto the end of `scores`.
pub fn dot_products(query: &[f32], vectors: &[f32], scores: &mut Vec<f32>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
        // SAFETY: the processor has what the function is compiled for.
        return unsafe { dot_products_avx2(query, vectors, scores) };
    }
    scores.extend(vectors.chunks_exact(query.len()).map(|vector| dot(query, vector, |sum, a, b| sum + a * b)));
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn dot_products_avx2(query: &[f32], vectors: &[f32], scores: &mut Vec<f32>) {
    for vector in vectors.chunks_exact(query.len()) {
        scores.push(dot(query, vector, |sum, a, b| a.mul_add(b, sum)));
    }
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32], step: impl Fn(f32, f32, f32) -> f32 + Copy) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut sums = [0.0_f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] = step(sums[lane], a[lane], b[lane]);
        }
    }
    let rest = a_rest.iter().zip(b_rest).fold(0.0, |sum, (a, b)| step(sum, *a, *b));
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_dot_product_is_the_sum_of_products(numbers in prop::collection::vec((-1.0_f32..1.0, -1.0_f32..1.0), 1..200)) {
            let (a, b): (Vec<f32>, Vec<f32>) = numbers.iter().copied().unzip();
            let exact: f64 = numbers.iter().map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
            let mut scores = Vec::new();
            dot_products(&a, &[b.clone(), a.clone()].concat(), &mut scores);
            let portable = dot(&a, &b, |sum, a, b| sum + a * b);
            prop_assert_eq!(scores.len(), 2);
            prop_assert!((f64::from(scores[0]) - exact).abs() < 1e-4);
            prop_assert!((f64::from(portable) - exact).abs() < 1e-4);
        }
    }
}
