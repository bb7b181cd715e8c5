//! The machine's first GPU, shared by all tests, and numbers to and from it.

use std::sync::{Arc, OnceLock};

use steward_inference_cuda::{Activations, Buffer, Gpu, GpuError, Queue};
use steward_types::{Entropy, SeededEntropy};

/// The first GPU; none, and a word of why, where there is none.
pub fn gpu(test: &str) -> Option<Arc<Gpu>> {
    static FOUND: OnceLock<Result<Arc<Gpu>, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| match Gpu::count() {
        Err(missing @ GpuError::NoDriver { .. }) => Err(missing.to_string()),
        Ok(0) => Err("the NVIDIA driver knows of no GPU".to_owned()),
        Ok(_) => Ok(Gpu::open(0).unwrap()),
        Err(error) => panic!("{error}"),
    });
    found.as_ref().map_err(|why| println!("{test} skipped: {why}")).ok().cloned()
}

/// Numbers from -1 to 1.
pub fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let entropy = SeededEntropy::new(seed);
    (0..count).map(|_| (entropy.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0).collect()
}

pub fn to_gpu(gpu: &Arc<Gpu>, numbers: &[f32]) -> Buffer {
    Buffer::with_floats(gpu, "a test", numbers).unwrap()
}

pub fn floats(queue: &Queue, buffer: &Buffer) -> Vec<f32> {
    let bytes = queue.read(buffer).unwrap();
    bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect()
}

/// Rows of activations on the card: the norm of `rows` rows of random numbers.
pub fn activations(queue: &Queue, seed: u64, rows: usize, columns: usize) -> Activations {
    let gpu = queue.gpu();
    let activations = Activations::new(gpu, rows, columns).unwrap();
    let (input, ones) = (to_gpu(gpu, &numbers(seed, rows * columns)), to_gpu(gpu, &vec![1.0; columns]));
    queue.begin().unwrap();
    queue.norm(&input, None, &ones, 1e-5, (&activations, rows)).unwrap();
    queue.synchronize().unwrap();
    activations
}

/// That two vectors differ by no more than a share of the second's length.
pub fn assert_near(found: &[f32], expected: &[f32], share: f32, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let length =
        |numbers: &mut dyn Iterator<Item = f32>| numbers.map(|x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
    let error = length(&mut found.iter().zip(expected).map(|(a, b)| a - b));
    let all = length(&mut expected.iter().copied());
    println!("{what}: error {:.2e}", error / all);
    assert!(error <= f64::from(share) * all, "{what}: {error} of {all}");
}
