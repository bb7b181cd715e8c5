//! One weight matrix: packed for our kernels where its format allows, through candle otherwise.

use std::cell::OnceCell;
use std::sync::Arc;

use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};

use crate::gguf::TensorEntry;
use crate::kernel::{PackedMatrix, Packing, QuantizedRows};

/// Rows of activations, quantised when the first packed matrix asks for it.
pub struct Activations<'a> {
    values: &'a [f32],
    columns: usize,
    quantized: OnceCell<QuantizedRows>,
}

impl<'a> Activations<'a> {
    /// Rows of `columns` numbers each.
    pub fn new(values: &'a [f32], columns: usize) -> Self {
        Self { values, columns, quantized: OnceCell::new() }
    }

    fn quantized(&self) -> &QuantizedRows {
        self.quantized.get_or_init(|| QuantizedRows::new(self.values, self.columns))
    }
}

/// A weight matrix of `rows` × `columns`.
#[derive(Debug)]
pub enum Linear {
    /// In our kernels' layout.
    Packed(PackedMatrix),
    /// As candle keeps it.
    Candle(CandleMatrix),
}

/// A matrix that candle multiplies.
#[derive(Debug)]
pub struct CandleMatrix {
    stored: Arc<QTensor>,
    product: QMatMul,
    columns: usize,
}

impl Linear {
    /// From a tensor's bytes as they stand in the file.
    pub fn load(entry: &TensorEntry, stored: &[u8]) -> candle_core::Result<Self> {
        let (rows, columns) = shape(entry);
        if let Some(packing) = packing(entry)
            && let Some(matrix) = PackedMatrix::pack(packing, rows, columns, stored)
        {
            return Ok(Self::Packed(matrix));
        }
        let stored = Arc::new(qtensor_from_ggml(entry.dtype, stored, vec![rows, columns], &Device::Cpu)?);
        let product = QMatMul::from_arc(Arc::clone(&stored))?;
        Ok(Self::Candle(CandleMatrix { stored, product, columns }))
    }

    /// Bytes that [`Self::load`] will keep for this tensor.
    pub fn device_bytes(entry: &TensorEntry) -> u64 {
        match entry.dtype {
            // Candle multiplies these as 32-bit floats, beside what is stored.
            GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16 => entry.bytes.saturating_add(entry.elements() * 4),
            _ => entry.bytes,
        }
    }

    /// Whether a row's product is the same in every batch.
    pub fn is_batch_invariant(&self) -> bool {
        matches!(self, Self::Packed(_))
    }

    /// The product of each row of activations with this matrix, transposed.
    pub fn forward(&self, input: &Activations<'_>) -> candle_core::Result<Vec<f32>> {
        match self {
            Self::Packed(matrix) => {
                let mut output = Vec::new();
                matrix.multiply(input.quantized(), &mut output);
                Ok(output)
            }
            Self::Candle(matrix) => {
                let rows = input.values.len() / input.columns;
                let input = Tensor::from_slice(input.values, (rows, input.columns), &Device::Cpu)?;
                matrix.product.forward(&input)?.flatten_all()?.to_vec1()
            }
        }
    }

    /// One row, as an embedding table is read. `row` must exist.
    pub fn row(&self, row: u32) -> candle_core::Result<Vec<f32>> {
        match self {
            Self::Packed(matrix) => Ok(matrix.row(row as usize)),
            Self::Candle(matrix) => {
                let embedded = matrix.stored.embedding(&Tensor::new(&[row], &Device::Cpu)?)?;
                debug_assert_eq!(embedded.elem_count(), matrix.columns);
                embedded.flatten_all()?.to_vec1()
            }
        }
    }
}

/// Rows and columns; a checked header's sizes fit a machine's words.
fn shape(entry: &TensorEntry) -> (usize, usize) {
    let size = |at: usize| entry.dimensions.get(at).map_or(1, |&size| usize::try_from(size).unwrap_or(usize::MAX));
    (size(1), size(0))
}

fn packing(entry: &TensorEntry) -> Option<Packing> {
    match entry.dtype {
        GgmlDType::Q4_1 => Some(Packing::Q4_1),
        GgmlDType::Q8_0 => Some(Packing::Q8_0),
        _ => None,
    }
}
