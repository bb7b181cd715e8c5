//! Products and lookups with each kind of weights, at sizes that are no whole tiles.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use steward_inference_candle::kernel::{PackedMatrix, Packing, QuantizedRows};
use steward_inference_cuda::{Buffer, Cache, CacheShape, Gpu, Matrix, Output, Queue, RowEntry, RowTable, StoredAs};

use super::card::{activations, assert_near, floats, gpu, numbers, to_gpu};

const KINDS: [(StoredAs, GgmlDType); 8] = [
    (StoredAs::Q4_0, GgmlDType::Q4_0),
    (StoredAs::Q4_1, GgmlDType::Q4_1),
    (StoredAs::Q5_0, GgmlDType::Q5_0),
    (StoredAs::Q5_1, GgmlDType::Q5_1),
    (StoredAs::Q8_0, GgmlDType::Q8_0),
    (StoredAs::F16, GgmlDType::F16),
    (StoredAs::Bf16, GgmlDType::BF16),
    (StoredAs::F32, GgmlDType::F32),
];

/// How many rows of activations: around the steps from one kernel to the next.
const COUNTS: [usize; 11] = [1, 2, 7, 8, 9, 17, 32, 33, 64, 65, 200];

struct Weights {
    matrix: Matrix,
    numbers: Vec<f32>,
    stored: Vec<u8>,
}

fn weights(gpu: &Arc<Gpu>, (stored_as, dtype): (StoredAs, GgmlDType), rows: usize, columns: usize) -> Weights {
    let random = Tensor::from_vec(numbers(8, rows * columns), (rows, columns), &Device::Cpu).unwrap();
    let stored = QTensor::quantize(&random, dtype).unwrap();
    let numbers = stored.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
    let stored = stored.data().unwrap().into_owned();
    Weights { matrix: Matrix::load(gpu, stored_as, (rows, columns), &stored).unwrap(), numbers, stored }
}

/// Activations as the product takes them: quantised ones are what their quants say.
fn taken(queue: &Queue, found: &steward_inference_cuda::Activations, columns: usize, is_quantised: bool) -> Vec<f64> {
    if !is_quantised {
        let width = columns.next_multiple_of(32);
        let values = floats(queue, found.values());
        return values.chunks_exact(width).flat_map(|row| &row[..columns]).map(|&x| f64::from(x)).collect();
    }
    let scales = floats(queue, found.scales());
    let quants = queue.read(found.quants()).unwrap();
    let numbers = |(block, quants): (usize, &[u8])| -> Vec<f64> {
        let quant = |at: usize| f64::from(quants[at].cast_signed());
        (0..32).map(|at| (quant(at) + quant(at + 32) / 256.0) * f64::from(scales[block * 2])).collect()
    };
    quants.chunks_exact(64).enumerate().flat_map(numbers).collect()
}

fn check(gpu: &Arc<Gpu>, kind: (StoredAs, GgmlDType), rows: usize, columns: usize) {
    let queue = Queue::new(gpu).unwrap();
    let what = format!("{:?} {rows} × {columns}", kind.0);
    let Weights { matrix, numbers, .. } = weights(gpu, kind, rows, columns);
    let most = 200;
    let input = activations(&queue, 9, most, columns);
    let taken = taken(&queue, &input, columns, kind.0.format().is_quantised());
    let product = |count: usize| {
        let to = Buffer::new(gpu, "a product", most * rows * 4).unwrap();
        queue.multiply(&matrix, (&input, count), Output::whole(&to, rows)).unwrap();
        floats(&queue, &to)[..count * rows].to_vec()
    };
    let all = product(most);
    let exact = |row: usize, weight: usize| -> f64 {
        let (x, w) = (&taken[row * columns..][..columns], &numbers[weight * columns..][..columns]);
        x.iter().zip(w).map(|(x, w)| x * f64::from(*w)).sum()
    };
    let checked: Vec<usize> = [0, 1, 31, 63, 64, 130, 199].to_vec();
    let expected: Vec<f32> = checked
        .iter()
        .flat_map(|&row| (0..rows).map(move |weight| (row, weight)))
        .map(|(r, w)| exact(r, w) as f32)
        .collect();
    let found: Vec<f32> = checked.iter().flat_map(|&row| all[row * rows..][..rows].to_vec()).collect();
    assert_near(&found, &expected, 2e-6, &what);
    for count in COUNTS {
        let some = product(count);
        let same = some.iter().zip(&all).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{what}: {count} rows give other bits than {most}");
    }
}

#[test]
fn quantised_products_are_exact_but_for_rounding_and_the_same_in_every_batch() {
    let Some(gpu) = gpu("quantised products") else { return };
    for kind in &KINDS[..5] {
        for (rows, columns) in [(1, 32), (33, 64), (100, 96), (64, 576), (72, 1536), (31, 4096), (48, 544)] {
            check(&gpu, *kind, rows, columns);
        }
    }
}

#[test]
fn products_with_floats_are_exact_but_for_rounding_and_the_same_in_every_batch() {
    let Some(gpu) = gpu("products with floats") else { return };
    for kind in &KINDS[5..] {
        for (rows, columns) in [(1, 1), (33, 5), (100, 100), (64, 576), (31, 1027)] {
            check(&gpu, *kind, rows, columns);
        }
    }
}

#[test]
fn products_are_the_processors() {
    let Some(gpu) = gpu("products beside the processor's") else { return };
    let queue = Queue::new(&gpu).unwrap();
    for (kind, packing) in [(KINDS[1], Packing::Q4_1), (KINDS[4], Packing::Q8_0)] {
        let (rows, columns, count) = (576, 1536, 70);
        let Weights { matrix, stored, .. } = weights(&gpu, kind, rows, columns);
        let input = activations(&queue, 10, count, columns);
        let to = to_gpu(&gpu, &vec![1.0; count * (rows + 3)]);
        let output = Output { buffer: &to, offset: 2, stride: rows + 3, adds: steward_inference_cuda::Adds::Yes };
        queue.multiply(&matrix, (&input, count), output).unwrap();
        let found = floats(&queue, &to);
        let values = floats(&queue, input.values())[..count * columns].to_vec();
        let mut expected = Vec::new();
        PackedMatrix::pack(packing, rows, columns, &stored)
            .unwrap()
            .multiply(&QuantizedRows::new(&values, columns), &mut expected);
        for (found, expected) in found.chunks_exact(rows + 3).zip(expected.chunks_exact(rows)) {
            let added: Vec<f32> = expected.iter().map(|x| x + 1.0).collect();
            // The processor rounds activations to eight bits.
            assert_near(&found[2..rows + 2], &added, 1e-2, "beside the processor's");
            assert_eq!([found[0], found[1], found[rows + 2]], [1.0; 3], "what is beside the product stays");
        }
    }
}

#[test]
fn a_lookup_gives_the_very_numbers() {
    let Some(gpu) = gpu("lookup") else { return };
    let queue = Queue::new(&gpu).unwrap();
    let cache = Cache::new(&gpu, CacheShape { layers: 1, kv_heads: 1, head_size: 8 }, 4).unwrap();
    for kind in KINDS {
        let (rows, columns) = (70, 96);
        let Weights { matrix, numbers, .. } = weights(&gpu, kind, rows, columns);
        let tokens = [0u32, 31, 32, 69, 5];
        let table = RowTable::new(&gpu, 8).unwrap();
        let entries = tokens.map(|token| RowEntry { cache: &cache, position: 0, token });
        let told = table.fill(&queue, &entries).unwrap();
        let to = Buffer::new(&gpu, "a test", tokens.len() * columns * 4).unwrap();
        queue.embed(&matrix, &told, &to).unwrap();
        for (token, found) in tokens.iter().zip(floats(&queue, &to).chunks_exact(columns)) {
            assert_eq!(found, &numbers[*token as usize * columns..][..columns], "{:?}", kind.0);
        }
    }
}
