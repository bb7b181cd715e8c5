//! The steps between products: norm, quantisation, gate.

use steward_inference_candle::kernel::QuantizedRows;
use steward_inference_cuda::{Activations, Queue};

use super::card::{activations, assert_near, floats, gpu, numbers, to_gpu};

#[test]
fn a_norm_is_the_processors_and_what_fills_a_row_up_is_zero() {
    let Some(gpu) = gpu("norm") else { return };
    let queue = Queue::new(&gpu).unwrap();
    for (rows, columns) in [(1, 1), (3, 33), (2, 576), (70, 100), (5, 4096)] {
        let (input, weights) = (numbers(1, rows * columns), numbers(2, columns));
        let to = Activations::new(&gpu, rows, columns).unwrap();
        queue.begin().unwrap();
        queue.norm(&to_gpu(&gpu, &input), None, &to_gpu(&gpu, &weights), 1e-5, (&to, rows)).unwrap();
        let width = columns.next_multiple_of(32);
        let found = floats(&queue, to.values());
        for row in 0..rows {
            let own = &input[row * columns..][..columns];
            let mean = own.iter().map(|x| x * x).sum::<f32>() / columns as f32;
            let expected: Vec<f32> = own.iter().zip(&weights).map(|(x, w)| x / (mean + 1e-5).sqrt() * w).collect();
            let found = &found[row * width..][..width];
            assert_near(&found[..columns], &expected, 5e-6, "norm");
            assert!(found[columns..].iter().all(|&x| x == 0.0));
        }
    }
}

#[test]
fn named_rows_are_gathered() {
    let Some(gpu) = gpu("gather") else { return };
    let queue = Queue::new(&gpu).unwrap();
    let all = activations(&queue, 3, 40, 64);
    let input = to_gpu(&gpu, &numbers(3, 40 * 64));
    let index =
        steward_inference_cuda::Buffer::with(&gpu, "a test", &[7u32, 39, 0].map(u32::to_le_bytes).concat()).unwrap();
    let some = Activations::new(&gpu, 3, 64).unwrap();
    queue.norm(&input, Some((&index, 40)), &to_gpu(&gpu, &[1.0; 64]), 1e-5, (&some, 3)).unwrap();
    let (all, some) = (floats(&queue, all.values()), floats(&queue, some.values()));
    for (at, row) in [7, 39, 0].into_iter().enumerate() {
        assert_eq!(some[at * 64..][..64], all[row * 64..][..64]);
    }
}

/// The first quants bit for bit; the second ones leave almost nothing over.
#[test]
fn activations_are_quantised_as_on_the_processor_and_the_rest_is_kept_too() {
    let Some(gpu) = gpu("quantisation") else { return };
    let queue = Queue::new(&gpu).unwrap();
    let (rows, columns) = (37, 576);
    let found = activations(&queue, 4, rows, columns);
    let values = floats(&queue, found.values());
    let expected = QuantizedRows::new(&values[..rows * columns], columns);
    let (quants, scales) = (queue.read(found.quants()).unwrap(), floats(&queue, found.scales()));
    for (number, quants) in quants.chunks_exact(64).take(rows * columns / 32).enumerate() {
        let (row, block) = (number / (columns / 32), number % (columns / 32));
        let (words, blocks) = expected.row(row);
        let bytes: Vec<u8> = words[block * 8..][..8].iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes, quants[..32], "row {row}");
        let scale = scales[number * 2];
        assert_eq!(blocks[block].scale, scale, "row {row}");
        let number_at =
            |at: usize| (quants[at].cast_signed() as f32 + quants[at + 32].cast_signed() as f32 / 256.0) * scale;
        let sum: f32 = (0..32).map(number_at).sum();
        assert!((sum - scales[number * 2 + 1]).abs() <= 1e-4 * scale * 127.0, "row {row}");
        for at in 0..32 {
            assert!((number_at(at) - values[number * 32 + at]).abs() <= scale / 250.0, "row {row}");
        }
    }
}

#[test]
fn a_gate_is_the_processors() {
    let Some(gpu) = gpu("gate") else { return };
    let queue = Queue::new(&gpu).unwrap();
    for (rows, columns) in [(1, 5), (3, 96), (65, 1536)] {
        let input: Vec<f32> = numbers(5, rows * 2 * columns).iter().map(|x| x * 9.0).collect();
        let to = Activations::new(&gpu, rows, columns).unwrap();
        queue.begin().unwrap();
        queue.gate(&to_gpu(&gpu, &input), (&to, rows)).unwrap();
        let found = floats(&queue, to.values());
        for row in 0..rows {
            let (gate, up) = input[row * 2 * columns..][..2 * columns].split_at(columns);
            let expected: Vec<f32> = gate.iter().zip(up).map(|(gate, up)| gate / (1.0 + (-gate).exp()) * up).collect();
            assert_near(&found[row * columns.next_multiple_of(32)..][..columns], &expected, 1e-6, "gate");
        }
    }
}
