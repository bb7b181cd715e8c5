//! Placing keys and values, attention over them, and prefixes.

use std::sync::Arc;

use candle_core::{DType, Device, Tensor};
use steward_inference_candle::kernel::{Attention, attend};
use steward_inference_cuda::{
    Activations, AttentionShape, Buffer, Cache, CacheShape, Gpu, Placing, Queue, RowEntry, RowTable, Workspace,
};

use super::card::{assert_near, floats, gpu, numbers, to_gpu};

/// A batch's rows: of which cache, and where.
type Places = Vec<(usize, usize)>;

struct World {
    queue: Queue,
    shape: AttentionShape,
    caches: Vec<Cache>,
    frequencies: Buffer,
    pairs: usize,
    workspace_bytes: usize,
}

const LAYERS: usize = 2;
const LAYER: usize = 1;

impl World {
    fn new(gpu: &Arc<Gpu>, shape: AttentionShape, capacities: &[usize], workspace_bytes: usize) -> Self {
        let AttentionShape { kv_heads, head_size, .. } = shape;
        let cache_shape = CacheShape { layers: LAYERS, kv_heads, head_size };
        let pairs = head_size / 2;
        let frequencies: Vec<f32> = (0..pairs).map(|pair| 100f32.powf(-2.0 * pair as f32 / head_size as f32)).collect();
        Self {
            queue: Queue::new(gpu).unwrap(),
            shape,
            caches: capacities.iter().map(|&capacity| Cache::new(gpu, cache_shape, capacity).unwrap()).collect(),
            frequencies: to_gpu(gpu, &frequencies),
            pairs,
            workspace_bytes,
        }
    }

    /// What each token brings: its queries, keys and values, by its sequence and place alone.
    fn row(&self, (cache, position): (usize, usize)) -> Vec<f32> {
        numbers((cache * 100_000 + position) as u64, self.shape.row())
    }

    /// Runs a batch, and gives each row's attention.
    fn run(&self, places: &Places) -> Vec<Vec<f32>> {
        let (gpu, shape) = (self.queue.gpu(), self.shape);
        let table = RowTable::new(gpu, places.len()).unwrap();
        let entry = |&(cache, position): &(usize, usize)| RowEntry { cache: &self.caches[cache], position, token: 0 };
        let rows = table.fill(&self.queue, &places.iter().map(entry).collect::<Vec<_>>()).unwrap();
        let input = to_gpu(gpu, &places.iter().flat_map(|&place| self.row(place)).collect::<Vec<_>>());
        let workspace = Workspace::new(gpu, shape, places.len(), 1024, self.workspace_bytes).unwrap();
        let plan = workspace.plan(&self.queue, shape, &rows).unwrap();
        let columns = shape.heads * shape.head_size;
        let to = Activations::new(gpu, places.len(), columns).unwrap();
        let placing = Placing { frequencies: &self.frequencies, pairs: self.pairs };
        self.queue.place(&input, &rows, LAYER, shape, placing).unwrap();
        self.queue.attend(&input, &rows, (LAYER, shape), (&workspace, &plan), &to).unwrap();
        let width = columns.next_multiple_of(32);
        floats(&self.queue, to.values())[..places.len() * width]
            .chunks_exact(width)
            .map(|row| row[..columns].to_vec())
            .collect()
    }

    /// The same on the processor, with keys and values rounded to 16 bits.
    fn expected(&self, (cache, position): (usize, usize)) -> Vec<f32> {
        let AttentionShape { heads, kv_heads, head_size } = self.shape;
        let positions = position + 1;
        let mut kept = [vec![0.0; kv_heads * positions * head_size], vec![0.0; kv_heads * positions * head_size]];
        let mut query = Vec::new();
        for at in 0..positions {
            let mut row = self.row((cache, at));
            row[..(heads + kv_heads) * head_size].chunks_exact_mut(head_size).for_each(|head| self.turn(head, at));
            query = row[..heads * head_size].to_vec();
            for (kept, numbers) in kept.iter_mut().zip(row[heads * head_size..].chunks_exact(kv_heads * head_size)) {
                for (head, numbers) in numbers.chunks_exact(head_size).enumerate() {
                    kept[(head * positions + at) * head_size..][..head_size].copy_from_slice(numbers);
                }
            }
        }
        let [keys, values] = kept.map(rounded);
        let mut output = vec![0.0; heads * head_size];
        let shape = Attention { heads, kv_heads, head_size };
        attend(shape, &query, (&keys, &values), (positions, positions), &mut output);
        output
    }

    fn turn(&self, head: &mut [f32], position: usize) {
        for pair in 0..self.pairs {
            let frequency = 100f32.powf(-2.0 * pair as f32 / self.shape.head_size as f32);
            let (sin, cos) = (position as f32 * frequency).sin_cos();
            let (x, y) = (head[2 * pair], head[2 * pair + 1]);
            (head[2 * pair], head[2 * pair + 1]) = (x * cos - y * sin, x * sin + y * cos);
        }
    }
}

fn rounded(numbers: Vec<f32>) -> Vec<f32> {
    let count = numbers.len();
    let tensor = Tensor::from_vec(numbers, count, &Device::Cpu).unwrap();
    tensor.to_dtype(DType::F16).unwrap().to_dtype(DType::F32).unwrap().to_vec1().unwrap()
}

/// Two sequences are read in uneven chunks that share batches; then each row is run again alone.
fn check(gpu: &Arc<Gpu>, (heads, kv_heads, head_size): (usize, usize, usize), workspace_bytes: usize) {
    let shape = AttentionShape { heads, kv_heads, head_size };
    let what = format!("{heads}/{kv_heads} heads of {head_size}");
    let world = World::new(gpu, shape, &[320, 150], workspace_bytes);
    let mut found = Vec::new();
    let mut step = |places: Places| found.extend(places.iter().copied().zip(world.run(&places)));
    step((0..100).map(|at| (0, at)).collect());
    step((100..171).map(|at| (0, at)).chain((0..40).map(|at| (1, at))).collect());
    step(vec![(0, 171), (1, 40)]);
    step(vec![(1, 41), (0, 172)]);
    step((42..149).map(|at| (1, at)).chain((173..310).map(|at| (0, at))).collect());
    let some = found
        .iter()
        .filter(|((_, at), _)| matches!(at, 0 | 1 | 31..=33 | 40..=42 | 63..=65 | 127..=129 | 148 | 171..=173 | 255 | 256 | 309));
    let (mut all, mut expected) = (Vec::new(), Vec::new());
    for (place, row) in some {
        expected.extend(world.expected(*place));
        all.extend(row.iter().copied());
        let again = world.run(&vec![*place]).remove(0);
        let same = again.iter().zip(row).all(|(a, b)| a.to_bits() == b.to_bits());
        assert!(same, "{what}: {place:?} alone gives other bits than in its batch");
    }
    // A number that lies between two 16-bit floats may be rounded to either.
    assert_near(&all, &expected, 3e-5, &what);
}

#[test]
fn attention_is_the_processors_and_the_same_in_every_batch() {
    let Some(gpu) = gpu("attention") else { return };
    for heads in [(9, 3, 64), (4, 4, 128), (2, 1, 256), (32, 1, 80), (40, 2, 16), (3, 3, 5), (8, 2, 20), (5, 5, 33)] {
        check(&gpu, heads, 64 << 20);
    }
}

#[test]
fn attention_in_several_passes_is_the_same() {
    let Some(gpu) = gpu("attention in passes") else { return };
    check(&gpu, (9, 3, 64), 1);
}

#[test]
fn a_copied_prefix_is_attended_to_like_the_first() {
    let Some(gpu) = gpu("prefix") else { return };
    let shape = AttentionShape { heads: 6, kv_heads: 2, head_size: 40 };
    let world = World::new(&gpu, shape, &[200, 300], 1 << 20);
    world.run(&(0..150).map(|at| (0, at)).collect());
    world.queue.copy_prefix(&world.caches[0], &world.caches[1], 150).unwrap();
    let fresh = World::new(&gpu, shape, &[200, 300], 1 << 20);
    // The second sequence of the other world has read what the first has here, and brings the same next token.
    fresh.run(&(0..150).map(|at| (0, at)).collect());
    let query = |world: &World, cache: usize| {
        let table = RowTable::new(&gpu, 1).unwrap();
        let entry = RowEntry { cache: &world.caches[cache], position: 150, token: 0 };
        let rows = table.fill(&world.queue, &[entry]).unwrap();
        let input = to_gpu(&gpu, &numbers(77, shape.row()));
        let workspace = Workspace::new(&gpu, shape, 1, 300, 1).unwrap();
        let plan = workspace.plan(&world.queue, shape, &rows).unwrap();
        let to = Activations::new(&gpu, 1, 240).unwrap();
        let placing = Placing { frequencies: &world.frequencies, pairs: world.pairs };
        world.queue.place(&input, &rows, LAYER, shape, placing).unwrap();
        world.queue.attend(&input, &rows, (LAYER, shape), (&workspace, &plan), &to).unwrap();
        floats(&world.queue, to.values())[..240].to_vec()
    };
    assert_eq!(query(&world, 1), query(&fresh, 0));
}
