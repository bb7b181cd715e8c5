//! Looking up tokens in a table, and products of activations with weight matrices.

use super::{Activations, FLOAT, Rows, THREADS, size};
use crate::kernel::{Kernel, NARROW_SHARED_BYTES, TOKENS_STEP};
use crate::matrix::{BLOCK, GROUP};
use crate::queue::{Argument, Grid};
use crate::{Buffer, Format, GpuError, Matrix, Queue};

/// Most rows of a product that is done by reading the weights for few rows at a time.
const NARROW_ROWS_MAX: usize = 32;
/// Rows of a block of it.
const NARROW_ROWS: usize = 16;
/// Weight rows of a block of the wide product.
const WIDE_WEIGHT_ROWS: usize = 64;
/// Rows of a block of a product with floats.
const FLOATS_ROWS: usize = 8;

/// Where a product goes: into rows of `stride` numbers, from number `offset` of each on.
#[derive(Debug, Clone, Copy)]
pub struct Output<'a> {
    /// The rows.
    pub buffer: &'a Buffer,
    /// Where in each row.
    pub offset: usize,
    /// Numbers of a row.
    pub stride: usize,
    /// Whether it is added to what is there.
    pub adds: Adds,
}

/// Whether a product replaces what is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Adds {
    /// It replaces it.
    No,
    /// It is added to it.
    Yes,
}

impl<'a> Output<'a> {
    /// Rows of this length alone, replaced.
    pub fn whole(buffer: &'a Buffer, stride: usize) -> Self {
        Self { buffer, offset: 0, stride, adds: Adds::No }
    }

    /// Rows of this length, added to.
    pub fn added(buffer: &'a Buffer, stride: usize) -> Self {
        Self { buffer, offset: 0, stride, adds: Adds::Yes }
    }
}

impl Queue {
    /// Each row's token, looked up in a table.
    ///
    /// # Panics
    /// When a token is not in the table, or the buffer is too small.
    pub fn embed(&self, table: &Matrix, rows: &Rows<'_>, output: &Buffer) -> Result<(), GpuError> {
        let shape = table.shape();
        assert!(rows.tokens_end <= shape.rows, "token {} of {}", rows.tokens_end - 1, shape.rows);
        let output = Argument::Address(output.at(0, rows.count() * shape.columns, FLOAT));
        let weights = Argument::Address(table.weights.address());
        let scales = Argument::Address(table.scales.address());
        let (told, columns) = (rows.argument(0, rows.count()), Argument::Size(size(shape.columns)));
        let kernel = match shape.format {
            Format::Q4Minimum => Kernel::EmbedQ4Minimum,
            Format::Q8 => Kernel::EmbedQ8,
            Format::Q8Minimum => Kernel::EmbedQ8Minimum,
            Format::F16 => Kernel::EmbedF16,
            Format::Bf16 => Kernel::EmbedBf16,
            Format::F32 => Kernel::EmbedF32,
        };
        let grid = Grid { blocks: [rows.count(), 1, 1], threads: THREADS, shared_bytes: 0 };
        let quantised = [weights, scales, told, output, columns];
        let floats = [weights, told, output, columns];
        let arguments = if shape.format.is_quantised() { &quantised[..] } else { &floats[..] };
        // SAFETY: these are the arguments of the embedding kernels; tokens are in the table, rows fit the output.
        unsafe { self.launch(kernel, grid, arguments) }
    }

    /// The product of the first `count` rows of activations with a matrix, transposed.
    ///
    /// # Panics
    /// When sizes do not agree, or a buffer is too small.
    pub fn multiply(
        &self,
        matrix: &Matrix,
        (input, count): (&Activations, usize),
        output: Output<'_>,
    ) -> Result<(), GpuError> {
        let shape = matrix.shape();
        assert!(input.columns == shape.columns, "a product's inner sizes are the same");
        assert!(count <= input.rows_max, "{count} of {} rows", input.rows_max);
        assert!(output.offset + shape.rows <= output.stride, "a product fits its rows");
        if count == 0 {
            return Ok(());
        }
        let numbers = (count - 1) * output.stride + shape.rows;
        let to = Argument::Address(output.buffer.at(output.offset * FLOAT, numbers, FLOAT));
        let sizes = [shape.rows, count, output.stride].map(|number| Argument::Size(size(number)));
        let adds = Argument::Size(u32::from(output.adds == Adds::Yes));
        let pieces = Argument::Size(size(shape.pieces()));
        let weights = Argument::Address(matrix.weights.address());
        if !shape.format.is_quantised() {
            let values = Argument::Address(input.values.address());
            let width = Argument::Size(size(input.width()));
            let arguments = [weights, values, to, pieces, width, sizes[0], sizes[1], sizes[2], adds];
            let blocks = [shape.groups(), count.div_ceil(FLOATS_ROWS), 1];
            let grid = Grid { blocks, threads: 512, shared_bytes: 0 };
            // SAFETY: these are the arguments of the products with floats. The matrix was packed for its shape; of the
            // input, rows up to the next whole step are there.
            return unsafe { self.launch(floats_kernel(shape.format), grid, &arguments) };
        }
        assert!(input.columns.is_multiple_of(BLOCK), "quantised rows are whole blocks");
        let scales = Argument::Address(matrix.scales.address());
        let x = Argument::Address(input.quants.address());
        let x_scales = Argument::Address(input.scales.address());
        let arguments = [weights, scales, x, x_scales, to, pieces, sizes[0], sizes[1], sizes[2], adds];
        let (kernel, grid) = quantised_grid(shape.format, shape.groups(), count);
        // SAFETY: these are the arguments of the quantised products; as above.
        unsafe { self.launch(kernel, grid, &arguments) }
    }
}

fn floats_kernel(format: Format) -> Kernel {
    match format {
        Format::F16 => Kernel::MultiplyF16,
        Format::Bf16 => Kernel::MultiplyBf16,
        _ => Kernel::MultiplyF32,
    }
}

/// All these kernels give the same bits; which is the fastest depends on how many rows there are.
fn quantised_grid(format: Format, groups: usize, count: usize) -> (Kernel, Grid) {
    let [narrow_1, narrow_2, wide] = match format {
        Format::Q4Minimum => [Kernel::NarrowQ4Minimum1, Kernel::NarrowQ4Minimum2, Kernel::WideQ4Minimum],
        Format::Q8Minimum => [Kernel::NarrowQ8Minimum1, Kernel::NarrowQ8Minimum2, Kernel::WideQ8Minimum],
        _ => [Kernel::NarrowQ81, Kernel::NarrowQ82, Kernel::WideQ8],
    };
    if count > NARROW_ROWS_MAX {
        let blocks = [(groups * GROUP).div_ceil(WIDE_WEIGHT_ROWS), count.div_ceil(TOKENS_STEP), 1];
        return (wide, Grid { blocks, threads: 128, shared_bytes: 0 });
    }
    let kernel = if count <= 8 { narrow_1 } else { narrow_2 };
    (kernel, Grid { blocks: [groups, count.div_ceil(NARROW_ROWS), 1], threads: 512, shared_bytes: NARROW_SHARED_BYTES })
}
