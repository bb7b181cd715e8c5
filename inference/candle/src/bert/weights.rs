//! A BERT's files: `config.json` for its sizes, `model.safetensors` for its weights. Everything is checked before the
//! first weight is read.

use std::io::{Read, Seek, SeekFrom};

use candle_core::{DType, Device, Tensor};
use safetensors::tensor::{Dtype, Metadata};
use serde::Deserialize;

use super::{Bert, Dense, Layer, Norm};

/// Longest header of a safetensors file.
const HEADER_BYTES_MAX: u64 = 16 << 20;

/// The part of `config.json` that is used; it has other fields.
#[derive(Debug, Clone, Deserialize)]
pub struct BertConfig {
    model_type: String,
    hidden_act: String,
    /// Numbers in a token's hidden state.
    pub hidden_size: usize,
    intermediate_size: usize,
    num_attention_heads: usize,
    num_hidden_layers: usize,
    /// Most tokens of a text.
    pub max_position_embeddings: usize,
    vocab_size: usize,
    layer_norm_eps: f64,
    #[serde(default)]
    position_embedding_type: Option<String>,
}

impl BertConfig {
    /// Reads and checks a `config.json`.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let config: Self = serde_json::from_slice(json).map_err(|error| error.to_string())?;
        let BertConfig { model_type, hidden_act, .. } = &config;
        if model_type != "bert" {
            return Err(format!("model_type: {model_type:?} is not supported (\"bert\" is)"));
        }
        if hidden_act != "gelu" {
            return Err(format!("hidden_act: {hidden_act:?} is not supported (\"gelu\" is)"));
        }
        if config.position_embedding_type.as_deref().is_some_and(|kind| kind != "absolute") {
            return Err("position_embedding_type: only \"absolute\" is supported".to_owned());
        }
        let sizes = [
            ("hidden_size", config.hidden_size, 1 << 16),
            ("intermediate_size", config.intermediate_size, 1 << 18),
            ("num_attention_heads", config.num_attention_heads, 1 << 10),
            ("num_hidden_layers", config.num_hidden_layers, 1 << 10),
            ("max_position_embeddings", config.max_position_embeddings, 1 << 17),
            ("vocab_size", config.vocab_size, 1 << 22),
        ];
        for (name, size, most) in sizes {
            if !(1..=most).contains(&size) {
                return Err(format!("{name}: {size} is not between 1 and {most}"));
            }
        }
        if !config.hidden_size.is_multiple_of(config.num_attention_heads) {
            return Err(format!("{} heads can't share {} numbers", config.num_attention_heads, config.hidden_size));
        }
        Ok(config)
    }

    /// Whether a token has an embedding.
    pub fn has_token(&self, token: u32) -> bool {
        (token as usize) < self.vocab_size
    }

    /// Every tensor that is used, and its shape.
    fn tensors(&self) -> Vec<(String, Vec<usize>)> {
        let (hidden, wide) = (self.hidden_size, self.intermediate_size);
        let mut tensors = vec![
            ("embeddings.word_embeddings.weight".to_owned(), vec![self.vocab_size, hidden]),
            ("embeddings.position_embeddings.weight".to_owned(), vec![self.max_position_embeddings, hidden]),
        ];
        let mut add = |name: String, rows: usize, columns: Option<usize>| {
            let shape = columns.map_or(vec![rows], |columns| vec![rows, columns]);
            tensors.push((format!("{name}.weight"), shape));
            tensors.push((format!("{name}.bias"), vec![rows]));
        };
        add("embeddings.LayerNorm".to_owned(), hidden, None);
        for layer in 0..self.num_hidden_layers {
            let name = |part: &str| format!("encoder.layer.{layer}.{part}");
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                add(name(&format!("attention.{part}")), hidden, Some(hidden));
            }
            add(name("attention.output.LayerNorm"), hidden, None);
            add(name("intermediate.dense"), wide, Some(hidden));
            add(name("output.dense"), hidden, Some(wide));
            add(name("output.LayerNorm"), hidden, None);
        }
        tensors
    }
}

/// A checked header of a safetensors file.
#[derive(Debug)]
pub struct Weights {
    metadata: Metadata,
    data_offset: u64,
    /// What stands before the names, such as `bert.`.
    prefix: &'static str,
}

impl Weights {
    /// Bytes that the weights take once they are loaded, as 32-bit floats.
    pub fn device_bytes(&self, config: &BertConfig) -> u64 {
        config.tensors().iter().map(|(_, shape)| shape.iter().product::<usize>() as u64 * 4).sum()
    }
}

/// Reads the header of a file of `file_bytes` and checks that every tensor is there in the right shape.
pub fn check_weights(mut file: impl Read, file_bytes: u64, config: &BertConfig) -> Result<Weights, String> {
    let mut length = [0; 8];
    file.read_exact(&mut length).map_err(|error| format!("the header's length cannot be read: {error}"))?;
    let header_bytes = u64::from_le_bytes(length);
    let most = HEADER_BYTES_MAX.min(file_bytes.saturating_sub(8));
    if header_bytes > most {
        return Err(format!("the header claims {header_bytes} bytes, at most {most} are possible"));
    }
    let mut header = Vec::new();
    file.take(header_bytes).read_to_end(&mut header).map_err(|error| format!("the header cannot be read: {error}"))?;
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| format!("the header is wrong: {error}"))?;
    let data_offset = 8 + header_bytes;
    let data_bytes = metadata.data_len() as u64;
    if data_offset.checked_add(data_bytes).is_none_or(|end| end != file_bytes) {
        return Err(format!(
            "the header asks for {data_bytes} bytes of data after byte {data_offset}, the file has {file_bytes} bytes \
             in all; is it cut off?"
        ));
    }
    let has = |name: &str| metadata.info(name).is_some();
    let prefix = if has("bert.embeddings.word_embeddings.weight") { "bert." } else { "" };
    let mut expected = config.tensors();
    expected.push(("embeddings.token_type_embeddings.weight".to_owned(), Vec::new()));
    for (name, shape) in expected {
        let name = format!("{prefix}{name}");
        let info = metadata.info(&name).ok_or_else(|| format!("tensor {name:?} is missing"))?;
        let fits = if shape.is_empty() {
            info.shape.len() == 2 && info.shape[0] > 0 && info.shape[1] == config.hidden_size
        } else {
            info.shape == shape
        };
        if !fits {
            return Err(format!("tensor {name:?} has the shape {:?}, but config.json asks for {shape:?}", info.shape));
        }
        let Some(dtype) = dtype(info.dtype) else {
            return Err(format!("tensor {name:?} is stored as {:?}, only F32, F16 and BF16 are supported", info.dtype));
        };
        // The shape was compared, so the product does not overflow; the segments' number was not.
        let elements = info.shape.iter().try_fold(dtype.size_in_bytes(), |bytes, &size| bytes.checked_mul(size));
        let (begin, end) = info.data_offsets;
        if end > metadata.data_len() || elements.is_none() || end.checked_sub(begin) != elements {
            return Err(format!("tensor {name:?} does not lie at {begin} to {end} in the data, as its header says"));
        }
    }
    Ok(Weights { metadata, data_offset, prefix })
}

fn dtype(stored: Dtype) -> Option<DType> {
    match stored {
        Dtype::F32 => Some(DType::F32),
        Dtype::F16 => Some(DType::F16),
        Dtype::BF16 => Some(DType::BF16),
        _ => None,
    }
}

/// Loads what [`check_weights`] has found. `progress` hears how many more bytes were read.
pub fn load_weights(
    file: impl Read + Seek,
    weights: &Weights,
    config: &BertConfig,
    progress: &mut dyn FnMut(u64),
) -> Result<Bert, String> {
    let mut reader = TensorReader { file, weights, progress, epsilon: config.layer_norm_eps };
    let segments = reader.tensor("embeddings.token_type_embeddings.weight")?;
    Ok(Bert {
        heads: config.num_attention_heads,
        words: reader.tensor("embeddings.word_embeddings.weight")?,
        positions: reader.tensor("embeddings.position_embeddings.weight")?,
        segment: segments.narrow(0, 0, 1).map_err(|error| error.to_string())?,
        norm: reader.norm("embeddings.LayerNorm")?,
        layers: (0..config.num_hidden_layers).map(|layer| reader.layer(layer)).collect::<Result<_, _>>()?,
    })
}

struct TensorReader<'a, F> {
    file: F,
    weights: &'a Weights,
    progress: &'a mut dyn FnMut(u64),
    epsilon: f64,
}

impl<F: Read + Seek> TensorReader<'_, F> {
    fn tensor(&mut self, name: &str) -> Result<Tensor, String> {
        let name = format!("{}{name}", self.weights.prefix);
        let failed = |error: &dyn std::fmt::Display| format!("tensor {name:?} cannot be read: {error}");
        let info = self.weights.metadata.info(&name).ok_or_else(|| format!("tensor {name:?} is missing"))?;
        let (begin, end) = info.data_offsets;
        let mut bytes = vec![0; end - begin];
        self.file.seek(SeekFrom::Start(self.weights.data_offset + begin as u64)).map_err(|error| failed(&error))?;
        self.file.read_exact(&mut bytes).map_err(|error| failed(&error))?;
        (self.progress)(bytes.len() as u64);
        let dtype = dtype(info.dtype).ok_or_else(|| failed(&"its type is not supported"))?;
        Tensor::from_raw_buffer(&bytes, dtype, &info.shape, &Device::Cpu)
            .and_then(|tensor| tensor.to_dtype(DType::F32))
            .map_err(|error| failed(&error))
    }

    fn dense(&mut self, name: &str) -> Result<Dense, String> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        let transposed = weight.t().and_then(|weight| weight.contiguous()).map_err(|error| error.to_string())?;
        Ok(Dense { transposed, bias: self.tensor(&format!("{name}.bias"))? })
    }

    fn norm(&mut self, name: &str) -> Result<Norm, String> {
        let weight = self.tensor(&format!("{name}.weight"))?;
        Ok(Norm { weight, bias: self.tensor(&format!("{name}.bias"))?, epsilon: self.epsilon })
    }

    fn layer(&mut self, layer: usize) -> Result<Layer, String> {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        Ok(Layer {
            query: self.dense(&name("attention.self.query"))?,
            key: self.dense(&name("attention.self.key"))?,
            value: self.dense(&name("attention.self.value"))?,
            attention_output: self.dense(&name("attention.output.dense"))?,
            attention_norm: self.norm(&name("attention.output.LayerNorm"))?,
            up: self.dense(&name("intermediate.dense"))?,
            down: self.dense(&name("output.dense"))?,
            norm: self.norm(&name("output.LayerNorm"))?,
        })
    }
}
