//! A llama's weights in a GPU's memory. What the kernels know is kept as it is stored, quants and all; the other kinds
//! of quants become 16-bit floats. Matrices that take the same input are one where they are stored alike.

use std::io::{Read, Seek};
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use steward_inference_cuda::{Activations, Adds, Buffer, Gpu, GpuError, Matrix, Output, Queue, StoredAs};

use super::super::reader::TensorReader;
use super::super::rope::RotaryTable;
use super::super::{LlamaConfig, LoadError};
use crate::gguf::{Header, HeaderError, TensorEntry};

#[derive(Debug)]
pub struct Weights {
    pub embedding: Matrix,
    pub layers: Vec<Layer>,
    pub output_norm: Buffer,
    /// None when the embedding table serves.
    pub output: Option<Matrix>,
    pub frequencies: Buffer,
}

#[derive(Debug)]
pub struct Layer {
    pub attention_norm: Buffer,
    pub query_key_value: Joined,
    pub attention_output: Matrix,
    pub feed_forward_norm: Buffer,
    pub gate_up: Joined,
    pub down: Matrix,
}

/// Matrices of the same columns whose products stand side by side, neighbours that are stored alike as one.
#[derive(Debug)]
pub struct Joined {
    /// Each with where its product begins.
    parts: Vec<(Matrix, usize)>,
    rows: usize,
}

/// A matrix on its way to the device.
struct Stored {
    stored_as: StoredAs,
    rows: usize,
    columns: usize,
    bytes: Vec<u8>,
}

/// How the kernels take what a file stores.
pub fn stored_as(dtype: GgmlDType) -> StoredAs {
    match dtype {
        GgmlDType::Q4_0 => StoredAs::Q4_0,
        GgmlDType::Q4_1 => StoredAs::Q4_1,
        GgmlDType::Q5_0 => StoredAs::Q5_0,
        GgmlDType::Q5_1 => StoredAs::Q5_1,
        GgmlDType::Q8_0 => StoredAs::Q8_0,
        GgmlDType::F32 => StoredAs::F32,
        GgmlDType::BF16 => StoredAs::Bf16,
        // Their numbers are worked out when they are loaded.
        _ => StoredAs::F16,
    }
}

impl Weights {
    pub fn load(
        gpu: &Arc<Gpu>,
        file: impl Read + Seek,
        header: &Header,
        config: &LlamaConfig,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self, LoadError> {
        let mut reader = TensorReader { file, header, progress };
        let embedding = reader.matrix(gpu, "token_embd.weight")?;
        let layers = (0..config.layers).map(|number| reader.gpu_layer(gpu, number)).collect::<Result<_, _>>()?;
        let output_norm = reader.gpu_vector(gpu, "output_norm.weight")?;
        let output = reader.has("output.weight").then(|| reader.matrix(gpu, "output.weight")).transpose()?;
        let factors = reader.has("rope_freqs.weight").then(|| reader.vector("rope_freqs.weight")).transpose()?;
        let rotary = RotaryTable::new(config, factors.as_deref());
        let frequencies = Buffer::with_floats(gpu, "rotary frequencies", rotary.frequencies())?;
        Ok(Self { embedding, layers, output_norm, output, frequencies })
    }
}

impl<R: Read + Seek> TensorReader<'_, R> {
    fn gpu_layer(&mut self, gpu: &Arc<Gpu>, number: usize) -> Result<Layer, LoadError> {
        let name = |part: &str| format!("blk.{number}.{part}.weight");
        Ok(Layer {
            attention_norm: self.gpu_vector(gpu, &name("attn_norm"))?,
            query_key_value: self.joined(gpu, &[name("attn_q"), name("attn_k"), name("attn_v")])?,
            attention_output: self.matrix(gpu, &name("attn_output"))?,
            feed_forward_norm: self.gpu_vector(gpu, &name("ffn_norm"))?,
            gate_up: self.joined(gpu, &[name("ffn_gate"), name("ffn_up")])?,
            down: self.matrix(gpu, &name("ffn_down"))?,
        })
    }

    fn gpu_vector(&mut self, gpu: &Arc<Gpu>, name: &str) -> Result<Buffer, LoadError> {
        Ok(Buffer::with_floats(gpu, "weights of a norm", &self.vector(name)?)?)
    }

    fn matrix(&mut self, gpu: &Arc<Gpu>, name: &str) -> Result<Matrix, LoadError> {
        Ok(self.stored_matrix(name)?.load(gpu)?)
    }

    fn joined(&mut self, gpu: &Arc<Gpu>, names: &[String]) -> Result<Joined, LoadError> {
        let mut alike: Vec<Stored> = Vec::new();
        for name in names {
            let next = self.stored_matrix(name)?;
            match alike.last_mut() {
                Some(last) if last.stored_as == next.stored_as => {
                    last.rows += next.rows;
                    last.bytes.extend(next.bytes);
                }
                _ => alike.push(next),
            }
        }
        let (mut parts, mut rows) = (Vec::new(), 0);
        for stored in alike {
            parts.push((stored.load(gpu)?, rows));
            rows += stored.rows;
        }
        Ok(Joined { parts, rows })
    }

    fn stored_matrix(&mut self, name: &str) -> Result<Stored, HeaderError> {
        let (entry, bytes) = self.stored(name)?;
        let size = |at: usize| entry.dimensions.get(at).map_or(1, |&size| usize::try_from(size).unwrap_or(0));
        let (rows, columns) = (size(1), size(0));
        let wrong = |error| HeaderError::new(format!("tensor {name:?}: {error}"));
        let bytes = if is_known(entry.dtype) { bytes } else { half_floats(&entry, &bytes).map_err(wrong)? };
        Ok(Stored { stored_as: stored_as(entry.dtype), rows, columns, bytes })
    }
}

impl Stored {
    fn load(&self, gpu: &Arc<Gpu>) -> Result<Matrix, GpuError> {
        Matrix::load(gpu, self.stored_as, (self.rows, self.columns), &self.bytes)
    }
}

impl Joined {
    /// The products of rows of activations with all of them.
    pub fn multiply(&self, queue: &Queue, input: (&Activations, usize), to: &Buffer) -> Result<(), GpuError> {
        let product = |(matrix, offset): &(Matrix, usize)| {
            let output = Output { buffer: to, offset: *offset, stride: self.rows, adds: Adds::No };
            queue.multiply(matrix, input, output)
        };
        self.parts.iter().try_for_each(product)
    }
}

/// Whether the kernels take it as it is stored.
fn is_known(dtype: GgmlDType) -> bool {
    stored_as(dtype) != StoredAs::F16 || dtype == GgmlDType::F16
}

/// The numbers of a tensor as 16-bit floats.
fn half_floats(entry: &TensorEntry, bytes: &[u8]) -> candle_core::Result<Vec<u8>> {
    let dimensions = entry.dimensions.iter().rev().map(|&size| usize::try_from(size).unwrap_or(0)).collect();
    let stored = qtensor_from_ggml(entry.dtype, bytes, dimensions, &Device::Cpu)?;
    let mut halves = Vec::with_capacity(usize::try_from(entry.elements() * 2).unwrap_or(0));
    stored.dequantize_f16(&Device::Cpu)?.write_bytes(&mut halves)?;
    Ok(halves)
}
