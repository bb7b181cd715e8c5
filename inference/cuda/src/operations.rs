//! The steps of a llama's forward pass on a card. Each checks that what it is given fits before its kernel starts.

mod attention;
mod products;

use std::marker::PhantomData;
use std::sync::Arc;

use crate::kernel::{Kernel, TOKENS_STEP};
use crate::matrix::BLOCK;
use crate::queue::{Argument, Grid};
use crate::{Buffer, Gpu, GpuError, Queue};

pub use attention::{AttentionPlan, AttentionShape, Cache, CacheShape, HEAD_SIZE_MAX, Placing, Workspace};
pub use products::{Adds, Output};

/// Threads of a block, in most kernels.
const THREADS: u32 = 256;
/// Threads of a block of the norm, which has a whole row.
const NORM_THREADS: u32 = 1024;
/// Warps of such a block.
const WARPS: usize = 8;
/// Bytes of a 32-bit float.
const FLOAT: usize = size_of::<f32>();

/// Rows of activations as products read them: as numbers, and quantised to twice eight bits in blocks of 32.
#[derive(Debug)]
pub struct Activations {
    values: Buffer,
    quants: Buffer,
    scales: Buffer,
    columns: usize,
    rows_max: usize,
}

/// One token of one sequence.
#[derive(Debug, Clone, Copy)]
pub struct RowEntry<'a> {
    /// Its sequence's keys and values.
    pub cache: &'a Cache,
    /// Its place in its sequence.
    pub position: usize,
    /// The token.
    pub token: u32,
}

/// Where a batch's rows are told to the card.
#[derive(Debug)]
pub struct RowTable {
    buffer: Buffer,
    rows_max: usize,
}

/// The rows of one batch, on the card as long as their caches are borrowed.
#[derive(Debug)]
pub struct Rows<'a> {
    pub(crate) table: &'a RowTable,
    pub(crate) places: Vec<Place>,
    pub(crate) tokens_end: usize,
    pub(crate) cache_shape: Option<CacheShape>,
    caches: PhantomData<&'a Cache>,
}

/// Where a row is: in which cache, by its address, and at which position.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    cache: u64,
    pub(crate) position: usize,
}

impl Place {
    /// Whether the other is the next of the same sequence.
    pub(crate) fn comes_before(&self, other: &Self) -> bool {
        self.cache == other.cache && self.position + 1 == other.position
    }
}

/// Bytes of `struct Row` in the kernels.
pub(crate) const ROW_BYTES: usize = 32;

impl Activations {
    /// Bytes that it takes in device memory.
    pub const fn bytes(rows_max: usize, columns: usize) -> u64 {
        let (rows, width) = (rows_max.next_multiple_of(TOKENS_STEP), columns.next_multiple_of(BLOCK));
        (rows * width * (FLOAT + 2) + rows * width / BLOCK * 2 * FLOAT) as u64
    }

    /// Room for so many rows of so many numbers.
    pub fn new(gpu: &Arc<Gpu>, rows_max: usize, columns: usize) -> Result<Self, GpuError> {
        let rows_max = rows_max.next_multiple_of(TOKENS_STEP);
        let numbers = rows_max * columns.next_multiple_of(BLOCK);
        let buffer = |bytes| Buffer::new(gpu, "activations", bytes);
        let (values, quants) = (buffer(numbers * FLOAT)?, buffer(2 * numbers)?);
        Ok(Self { values, quants, scales: buffer(numbers / BLOCK * 2 * FLOAT)?, columns, rows_max })
    }

    /// The numbers, row after row, each filled up with zeros to whole blocks of 32.
    pub fn values(&self) -> &Buffer {
        &self.values
    }

    /// For each block of 32 numbers, their quants of eight bits, and as many of what these leave over, in 256ths.
    pub fn quants(&self) -> &Buffer {
        &self.quants
    }

    /// Of each block of 32 quants, the scale, and that times the sum of the quants.
    pub fn scales(&self) -> &Buffer {
        &self.scales
    }

    /// Numbers of a row, with what fills it up.
    pub(crate) const fn width(&self) -> usize {
        self.columns.next_multiple_of(BLOCK)
    }

    /// The values, quants and scales from row `first` on, as kernels that write them take them.
    fn written(&self, first: usize, rows: usize) -> [Argument; 3] {
        assert!(first + rows <= self.rows_max, "{first} + {rows} of {} rows", self.rows_max);
        let skipped = first * self.width();
        let values = self.values.at(skipped * FLOAT, rows * self.width(), FLOAT);
        // Rows that are no whole blocks go with weights that are no quants.
        if !self.columns.is_multiple_of(BLOCK) {
            return [Argument::Address(values), Argument::Address(0), Argument::Address(0)];
        }
        let quants = self.quants.at(2 * skipped, rows * self.width(), 2);
        let scales = self.scales.at(skipped / BLOCK * 2 * FLOAT, rows * self.width() / BLOCK, 2 * FLOAT);
        [values, quants, scales].map(Argument::Address)
    }
}

impl RowTable {
    /// Room for so many rows.
    pub fn new(gpu: &Arc<Gpu>, rows_max: usize) -> Result<Self, GpuError> {
        Ok(Self { buffer: Buffer::new(gpu, "a batch's rows", rows_max * ROW_BYTES)?, rows_max })
    }

    /// Tells the card the rows of a batch.
    ///
    /// # Panics
    /// When there are too many rows, a row lies beyond its cache, or caches differ in shape.
    pub fn fill<'a>(&'a self, queue: &Queue, entries: &[RowEntry<'a>]) -> Result<Rows<'a>, GpuError> {
        assert!(entries.len() <= self.rows_max, "{} rows of {}", entries.len(), self.rows_max);
        let mut bytes = Vec::with_capacity(entries.len() * ROW_BYTES);
        let mut tokens_end = 0;
        let cache_shape = entries.first().map(|entry| entry.cache.shape());
        for &RowEntry { cache, position, token } in entries {
            assert!(position < cache.capacity(), "position {position} of {}", cache.capacity());
            assert!(cache_shape == Some(cache.shape()), "the caches of a batch are of one model");
            let (keys, values) = cache.addresses();
            bytes.extend(keys.to_le_bytes());
            bytes.extend(values.to_le_bytes());
            for number in [size(cache.capacity()), size(position), token, 0] {
                bytes.extend(number.to_le_bytes());
            }
            tokens_end = tokens_end.max(token as usize + 1);
        }
        queue.upload(&self.buffer, &bytes)?;
        let place = |entry: &RowEntry<'_>| Place { cache: entry.cache.addresses().0, position: entry.position };
        let places = entries.iter().map(place).collect();
        Ok(Rows { table: self, places, tokens_end, cache_shape, caches: PhantomData })
    }
}

impl Rows<'_> {
    /// How many rows.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The rows from `first` on, as a kernel takes them.
    fn argument(&self, first: usize, rows: usize) -> Argument {
        assert!(first + rows <= self.count(), "{first} + {rows} of {} rows", self.count());
        Argument::Address(self.table.buffer.at(first * ROW_BYTES, rows, ROW_BYTES))
    }
}

impl Queue {
    /// RMS norm of `count` rows of `input`, or of the rows that `index` names, times `weights`.
    ///
    /// # Panics
    /// When a buffer is too small. What `index` names is the caller's to check, and must be a row of `input`.
    pub fn norm(
        &self,
        input: &Buffer,
        index: Option<(&Buffer, usize)>,
        weights: &Buffer,
        epsilon: f32,
        (to, count): (&Activations, usize),
    ) -> Result<(), GpuError> {
        let columns = to.columns;
        let rows = index.map_or(count, |(_, rows)| rows);
        let [values, quants, scales] = to.written(0, count);
        let arguments = [
            Argument::Address(input.at(0, rows * columns, FLOAT)),
            Argument::Address(index.map_or(0, |(index, _)| index.at(0, count, size_of::<u32>()))),
            Argument::Address(weights.at(0, columns, FLOAT)),
            values,
            quants,
            scales,
            Argument::Size(size(columns)),
            Argument::Size(size(to.width())),
            Argument::Float(epsilon),
        ];
        let grid = Grid { blocks: [count, 1, 1], threads: NORM_THREADS, shared_bytes: 0 };
        // SAFETY: these are the arguments of `norm`, and the buffers were checked to be as long as it reads and writes.
        unsafe { self.launch(Kernel::Norm, grid, &arguments) }
    }

    /// `silu(gate) * up` of `count` rows that hold all gates and then all ups.
    ///
    /// # Panics
    /// When a buffer is too small.
    pub fn gate(&self, input: &Buffer, (to, count): (&Activations, usize)) -> Result<(), GpuError> {
        let [values, quants, scales] = to.written(0, count);
        let input = Argument::Address(input.at(0, count * 2 * to.columns, FLOAT));
        let sizes = [to.columns, to.width()].map(|number| Argument::Size(size(number)));
        let arguments = [input, values, quants, scales, sizes[0], sizes[1]];
        let grid = Grid { blocks: [blocks_of(to), count, 1], threads: THREADS, shared_bytes: 0 };
        // SAFETY: these are the arguments of `gate`, and the buffers were checked to be as long as it reads and writes.
        unsafe { self.launch(Kernel::Gate, grid, &arguments) }
    }
}

/// Blocks of threads that put one row, a warp a block of it.
fn blocks_of(to: &Activations) -> usize {
    (to.width() / BLOCK).div_ceil(WARPS)
}

/// A size as kernels take it.
///
/// # Panics
/// When it does not fit 32 bits; sizes of a checked model do.
pub(crate) fn size(number: usize) -> u32 {
    u32::try_from(number).expect("a size of a checked model fits 32 bits")
}
