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
pub const SPLIT_POSITIONS: usize = 128;

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

/// Rows of one batch that follow each other in one sequence: they share the reading of its keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TileEntry {
    /// The first row.
    pub first: usize,
    /// How many, at most [`tile_rows`].
    pub rows: usize,
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
#[derive(Debug)]
struct Pass {
    first: usize,
    rows: usize,
    tiles: usize,
    splits: usize,
}

/// How a batch's attention is done: the same in every layer.
#[derive(Debug)]
pub struct AttentionPlan {
    passes: Vec<(Pass, usize)>,
}

/// Bytes of `struct Tile` in the kernels.
const TILE_BYTES: usize = 8;

/// Most rows of one tile.
pub const fn tile_rows(shape: AttentionShape) -> usize {
    let rows = QUERIES / (shape.heads / shape.kv_heads);
    if rows == 0 { 1 } else { rows }
}

impl AttentionShape {
    /// Numbers of a row of queries, keys and values.
    pub const fn row(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_size
    }

    const fn padded(self) -> usize {
        self.head_size.next_multiple_of(HEAD_STEP)
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
        let row = AttentionShape::splits(positions_max) * shape.heads * shape.padded();
        row.max(bytes_wished / FLOAT)
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

    /// Plans the attention of a batch whose rows these tiles hold, all of them and in order, and tells the card.
    ///
    /// # Panics
    /// When the tiles are not the rows.
    pub fn plan(
        &self,
        queue: &Queue,
        shape: AttentionShape,
        rows: &Rows<'_>,
        tiles: &[TileEntry],
    ) -> Result<AttentionPlan, GpuError> {
        assert!(tiles.len() <= self.tiles_max, "{} of {} tiles", tiles.len(), self.tiles_max);
        let mut passes: Vec<(Pass, usize)> = Vec::new();
        let mut bytes = Vec::with_capacity(tiles.len() * TILE_BYTES);
        let mut next = 0;
        for (number, tile) in tiles.iter().enumerate() {
            assert!(tile.first == next && (1..=tile_rows(shape)).contains(&tile.rows), "tiles hold the rows in order");
            next += tile.rows;
            let own = &rows.positions[tile.first..next];
            assert!(own.windows(2).all(|two| two[0] + 1 == two[1]), "a tile's rows follow each other");
            let splits = AttentionShape::splits(own[own.len() - 1] + 1);
            let numbers = |rows: usize, splits: usize| rows * splits * shape.heads * shape.padded();
            match passes.last_mut() {
                Some((pass, _)) if numbers(pass.rows + tile.rows, pass.splits.max(splits)) <= self.numbers_max => {
                    pass.rows += tile.rows;
                    pass.tiles += 1;
                    pass.splits = pass.splits.max(splits);
                }
                _ => passes.push((Pass { first: tile.first, rows: tile.rows, tiles: 1, splits }, number)),
            }
            let first = tile.first - passes.last().map_or(0, |(pass, _)| pass.first);
            bytes.extend(size(first).to_le_bytes());
            bytes.extend(size(tile.rows).to_le_bytes());
        }
        assert!(next == rows.count(), "tiles hold all rows");
        queue.upload(&self.tiles, &bytes)?;
        Ok(AttentionPlan { passes })
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
        let grid = Grid { blocks: [rows.count(), 1, 1], threads: THREADS, shared_bytes: 0 };
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
        for (pass, first_tile) in &plan.passes {
            self.attend_pass(input, rows, (layer, shape), workspace, (pass, *first_tile))?;
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
        (pass, first_tile): (&Pass, usize),
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
            Argument::Address(workspace.tiles.at(first_tile * TILE_BYTES, pass.tiles, TILE_BYTES)),
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
        let batches = (tile_rows(shape) * (shape.heads / shape.kv_heads)).div_ceil(QUERIES);
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
