//! Keys and values in device memory, and attention over them.

use std::sync::Arc;

use super::{Activations, FLOAT, Rows, THREADS, blocks_of, size};
use crate::driver::Address;
use crate::kernel::{Kernel, attend_shared_bytes};
use crate::queue::{Argument, Grid};
use crate::{Buffer, Gpu, GpuError, Queue};

/// Largest head that the kernels know.
pub const HEAD_SIZE_MAX: usize = 256;
/// Positions of one part of a row's attention.
pub const SPLIT_POSITIONS: usize = 64;

/// Queries that a block of threads has at once.
const QUERIES: usize = 16;
/// Numbers of a head are kept in whole steps of this many.
const HEAD_STEP: usize = 8;
/// Bytes of a 16-bit float.
const HALF: usize = 2;
/// Most blocks of threads that copy one head's prefix.
const COPY_BLOCKS_MAX: usize = 64;

/// The shape of a model's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttentionShape {
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Numbers in a head, at most [`HEAD_SIZE_MAX`].
    pub head_size: usize,
}

/// The shape of a model's caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Layers.
    pub layers: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Numbers in a head.
    pub head_size: usize,
}

/// One sequence's keys and values, as 16-bit floats by layer, key-value head and position.
#[derive(Debug)]
pub struct Cache {
    keys: Buffer,
    values: Buffer,
    shape: CacheShape,
    capacity: usize,
}

/// Which numbers of a head are turned, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Placing<'a> {
    /// Radians a position, one for each pair.
    pub frequencies: &'a Buffer,
    /// How many pairs are turned.
    pub pairs: usize,
}

/// Where parts of attention are kept until they are put together.
#[derive(Debug)]
pub struct Workspace {
    parts: Buffer,
    sums: Buffer,
    tiles: Buffer,
    tiles_max: usize,
    numbers_max: usize,
}

/// Some rows of a batch whose attention is done at once.
#[derive(Debug, PartialEq, Eq)]
struct Pass {
    first: usize,
    rows: usize,
    first_tile: usize,
    tiles: usize,
    /// Parts of the row that has the most.
    splits: usize,
}

/// How a batch's attention is done: the same in every layer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct AttentionPlan {
    passes: Vec<Pass>,
    /// Each tile's first row, counted from its pass's, and how many it has.
    tiles: Vec<[usize; 2]>,
}

/// Bytes of `struct Tile` in the kernels.
const TILE_BYTES: usize = 8;

impl AttentionShape {
    /// Numbers of a row of queries, keys and values.
    pub const fn row(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_size
    }

    const fn padded(self) -> usize {
        self.head_size.next_multiple_of(HEAD_STEP)
    }

    /// Most rows that share the reading of their sequence's keys and values.
    const fn tile_rows(self) -> usize {
        let rows = QUERIES / (self.heads / self.kv_heads);
        if rows == 0 { 1 } else { rows }
    }

    /// Numbers of the parts of so many rows.
    const fn part_numbers(self, rows: usize, splits: usize) -> usize {
        rows * splits * self.heads * self.padded()
    }

    const fn splits(positions: usize) -> usize {
        positions.div_ceil(SPLIT_POSITIONS)
    }
}

impl CacheShape {
    const fn padded(self) -> usize {
        self.head_size.next_multiple_of(HEAD_STEP)
    }

    /// Bytes that one token takes: a key and a value in each layer.
    pub const fn bytes_per_token(self) -> u64 {
        (self.layers * self.kv_heads * self.padded() * 2 * HALF) as u64
    }
}

impl Cache {
    /// Room for `capacity` tokens.
    pub fn new(gpu: &Arc<Gpu>, shape: CacheShape, capacity: usize) -> Result<Self, GpuError> {
        let bytes = shape.layers * shape.kv_heads * shape.padded() * HALF * capacity;
        let buffer = || Buffer::new(gpu, "keys and values", bytes);
        Ok(Self { keys: buffer()?, values: buffer()?, shape, capacity })
    }

    /// Positions that it has room for.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Of which model.
    pub fn shape(&self) -> CacheShape {
        self.shape
    }

    pub(super) fn addresses(&self) -> (Address, Address) {
        (self.keys.address(), self.values.address())
    }
}

impl Workspace {
    /// Bytes that it takes in device memory; see [`Self::new`].
    pub fn bytes(shape: AttentionShape, rows_max: usize, positions_max: usize, bytes_wished: usize) -> u64 {
        let numbers = Self::numbers(shape, positions_max, bytes_wished);
        (numbers * FLOAT + numbers / shape.padded() * 2 * FLOAT + rows_max * TILE_BYTES) as u64
    }

    fn numbers(shape: AttentionShape, positions_max: usize, bytes_wished: usize) -> usize {
        shape.part_numbers(1, AttentionShape::splits(positions_max)).max(bytes_wished / FLOAT)
    }

    /// Room for `bytes_wished` of parts, or for those of one row of `positions_max`; a batch of more is done in several
    /// passes.
    pub fn new(
        gpu: &Arc<Gpu>,
        shape: AttentionShape,
        rows_max: usize,
        positions_max: usize,
        bytes_wished: usize,
    ) -> Result<Self, GpuError> {
        let numbers_max = Self::numbers(shape, positions_max, bytes_wished);
        let buffer = |bytes| Buffer::new(gpu, "parts of attention", bytes);
        Ok(Self {
            parts: buffer(numbers_max * FLOAT)?,
            sums: buffer(numbers_max / shape.padded() * 2 * FLOAT)?,
            tiles: buffer(rows_max * TILE_BYTES)?,
            tiles_max: rows_max,
            numbers_max,
        })
    }

    /// Plans the attention of a batch, and tells the card. Rows that follow each other in one sequence are put in tiles,
    /// and tiles in passes, as many as there is room for.
    ///
    /// # Panics
    /// When there are more rows than there is room for, or a row alone is too long.
    pub fn plan(&self, queue: &Queue, shape: AttentionShape, rows: &Rows<'_>) -> Result<AttentionPlan, GpuError> {
        assert!(rows.count() <= self.tiles_max, "{} of {} rows", rows.count(), self.tiles_max);
        let mut plan = AttentionPlan::default();
        for (row, place) in rows.places.iter().enumerate() {
            let splits = AttentionShape::splits(place.position + 1);
            let fits =
                |pass: &&mut Pass| shape.part_numbers(pass.rows + 1, pass.splits.max(splits)) <= self.numbers_max;
            let Some(pass) = plan.passes.last_mut().filter(fits) else {
                assert!(shape.part_numbers(1, splits) <= self.numbers_max, "a row's parts have room");
                plan.passes.push(Pass { first: row, rows: 1, first_tile: plan.tiles.len(), tiles: 1, splits });
                plan.tiles.push([0, 1]);
                continue;
            };
            let follows = rows.places[row - 1].comes_before(place);
            match plan.tiles.last_mut() {
                Some([_, tile]) if follows && *tile < shape.tile_rows() => *tile += 1,
                _ => {
                    plan.tiles.push([row - pass.first, 1]);
                    pass.tiles += 1;
                }
            }
            pass.rows += 1;
            pass.splits = pass.splits.max(splits);
        }
        let numbers = plan.tiles.iter().flatten().flat_map(|&number| size(number).to_le_bytes());
        queue.upload(&self.tiles, &numbers.collect::<Vec<u8>>())?;
        Ok(plan)
    }
}

impl Queue {
    /// Turns queries in place, and puts turned keys, and values, into the rows' caches.
    ///
    /// # Panics
    /// When a buffer is too small, or the caches are another model's.
    pub fn place(
        &self,
        input: &Buffer,
        rows: &Rows<'_>,
        layer: usize,
        shape: AttentionShape,
        placing: Placing<'_>,
    ) -> Result<(), GpuError> {
        check_cache(rows, layer, shape);
        assert!(2 * placing.pairs <= shape.head_size, "no more is turned than there is");
        let sizes = [placing.pairs, layer, shape.heads, shape.kv_heads, shape.head_size, shape.padded()];
        let [pairs, layer, heads, kv_heads, head_size, padded] = sizes.map(|number| Argument::Size(size(number)));
        let arguments = [
            Argument::Address(input.at(0, rows.count() * shape.row(), FLOAT)),
            rows.argument(0, rows.count()),
            Argument::Address(placing.frequencies.at(0, placing.pairs, FLOAT)),
            pairs,
            layer,
            heads,
            kv_heads,
            head_size,
            padded,
        ];
        let pairs = (shape.heads + 2 * shape.kv_heads) * shape.padded() / 2;
        let blocks = [rows.count(), pairs.div_ceil(THREADS as usize), 1];
        let grid = Grid { blocks, threads: THREADS, shared_bytes: 0 };
        // SAFETY: these are the arguments of `place`; the rows lie within their caches, which are of this shape.
        unsafe { self.launch(Kernel::Place, grid, &arguments) }
    }

    /// Attention of each row to its sequence up to itself.
    ///
    /// # Panics
    /// When a buffer is too small, or the caches are another model's.
    pub fn attend(
        &self,
        input: &Buffer,
        rows: &Rows<'_>,
        (layer, shape): (usize, AttentionShape),
        (workspace, plan): (&Workspace, &AttentionPlan),
        to: &Activations,
    ) -> Result<(), GpuError> {
        check_cache(rows, layer, shape);
        assert!(shape.head_size <= HEAD_SIZE_MAX && to.columns == shape.heads * shape.head_size, "heads fit");
        for pass in &plan.passes {
            self.attend_pass(input, rows, (layer, shape), workspace, pass)?;
            self.join_pass(rows, shape, workspace, pass, to)?;
        }
        Ok(())
    }

    fn attend_pass(
        &self,
        input: &Buffer,
        rows: &Rows<'_>,
        (layer, shape): (usize, AttentionShape),
        workspace: &Workspace,
        pass: &Pass,
    ) -> Result<(), GpuError> {
        let kernel = match shape.padded() {
            0..=64 => Kernel::Attend64,
            65..=128 => Kernel::Attend128,
            _ => Kernel::Attend256,
        };
        #[expect(clippy::cast_precision_loss, reason = "a head has few hundred numbers")]
        let scale = 1.0 / (shape.head_size as f32).sqrt();
        let sizes = [layer, shape.heads, shape.kv_heads, shape.head_size, shape.padded(), pass.splits];
        let [layer, heads, kv_heads, head_size, padded, splits] = sizes.map(|number| Argument::Size(size(number)));
        let [parts, sums] = workspace.room(shape, pass);
        let arguments = [
            Argument::Address(input.at(pass.first * shape.row() * FLOAT, pass.rows * shape.row(), FLOAT)),
            rows.argument(pass.first, pass.rows),
            Argument::Address(workspace.tiles.at(pass.first_tile * TILE_BYTES, pass.tiles, TILE_BYTES)),
            parts,
            sums,
            layer,
            heads,
            kv_heads,
            head_size,
            padded,
            splits,
            Argument::Float(scale),
        ];
        let batches = (shape.tile_rows() * (shape.heads / shape.kv_heads)).div_ceil(QUERIES);
        let blocks = [pass.splits, shape.kv_heads * batches, pass.tiles];
        let grid = Grid { blocks, threads: 128, shared_bytes: attend_shared_bytes(shape.padded()) };
        // SAFETY: these are the arguments of `attend`; rows and tiles were checked when the plan was made.
        unsafe { self.launch(kernel, grid, &arguments) }
    }

    fn join_pass(
        &self,
        rows: &Rows<'_>,
        shape: AttentionShape,
        workspace: &Workspace,
        pass: &Pass,
        to: &Activations,
    ) -> Result<(), GpuError> {
        let [values, quants, scales] = to.written(pass.first, pass.rows);
        let [parts, sums] = workspace.room(shape, pass);
        let sizes = [shape.heads, shape.head_size, shape.padded(), pass.splits, to.width()];
        let [heads, head_size, padded, splits, width] = sizes.map(|number| Argument::Size(size(number)));
        let told = rows.argument(pass.first, pass.rows);
        let arguments = [told, parts, sums, values, quants, scales, heads, head_size, padded, splits, width];
        let grid = Grid { blocks: [blocks_of(to), pass.rows, 1], threads: THREADS, shared_bytes: 0 };
        // SAFETY: these are the arguments of `join`; the parts were written by the launch before.
        unsafe { self.launch(Kernel::Join, grid, &arguments) }
    }

    /// Copies the keys and values of the first `positions` from another cache of the same model, and waits until that
    /// is done, since the other may be given up then.
    ///
    /// # Panics
    /// When the caches differ in shape or are too short.
    pub fn copy_prefix(&self, from: &Cache, to: &Cache, positions: usize) -> Result<(), GpuError> {
        assert!(from.shape == to.shape, "a prefix goes to a cache of the same model");
        assert!(positions <= from.capacity.min(to.capacity), "a prefix fits both caches");
        self.begin()?;
        let CacheShape { layers, kv_heads, .. } = to.shape;
        // In pieces of 16 bytes, of which a head's position is a whole number.
        let pieces = |positions: usize| positions * to.shape.padded() * HALF / 16;
        let blocks = pieces(positions).div_ceil(THREADS as usize).min(COPY_BLOCKS_MAX);
        let grid = Grid { blocks: [blocks.max(1), layers * kv_heads, 1], threads: THREADS, shared_bytes: 0 };
        for (from_buffer, to_buffer) in [(&from.keys, &to.keys), (&from.values, &to.values)] {
            let arguments = [
                Argument::Address(from_buffer.address()),
                Argument::Address(to_buffer.address()),
                Argument::Long(pieces(from.capacity) as u64),
                Argument::Long(pieces(to.capacity) as u64),
                Argument::Size(size(pieces(positions))),
            ];
            // SAFETY: these are the arguments of `copy_prefix`; both caches hold so many positions of each head.
            unsafe { self.launch(Kernel::CopyPrefix, grid, &arguments)? };
        }
        self.synchronize()
    }
}

impl Workspace {
    /// Where a pass keeps its parts and their sums.
    fn room(&self, shape: AttentionShape, pass: &Pass) -> [Argument; 2] {
        let parts = pass.rows * shape.heads * pass.splits;
        let numbers = self.parts.at(0, parts * shape.padded(), FLOAT);
        [numbers, self.sums.at(0, parts, 2 * FLOAT)].map(Argument::Address)
    }
}

fn check_cache(rows: &Rows<'_>, layer: usize, shape: AttentionShape) {
    let AttentionShape { kv_heads, head_size, .. } = shape;
    let fits = |cache: CacheShape| layer < cache.layers && cache.kv_heads == kv_heads && cache.head_size == head_size;
    assert!(rows.cache_shape.is_none_or(fits), "the caches are this model's");
}
