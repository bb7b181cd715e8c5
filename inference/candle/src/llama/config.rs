//! A llama's sizes, read from a header's metadata, and the check that every tensor is there in the right shape.

use candle_core::quantized::GgmlDType;

use crate::gguf::{Header, HeaderError};
use crate::kernel::Attention;
use crate::linear::Linear;

/// Most layers.
const LAYERS_MAX: u64 = 1_024;
/// Widest row of activations.
const WIDTH_MAX: u64 = 1 << 18;
/// Most heads.
const HEADS_MAX: u64 = 1_024;
/// Longest context.
const CONTEXT_TOKENS_MAX: u64 = 1 << 24;

/// A llama's sizes.
#[derive(Debug, Clone, PartialEq)]
pub struct LlamaConfig {
    /// Layers.
    pub layers: usize,
    /// Numbers in a token's hidden state.
    pub hidden: usize,
    /// Numbers in a feed-forward layer.
    pub feed_forward: usize,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Most tokens of a sequence.
    pub context: usize,
    /// Heads.
    pub attention: Attention,
    /// Added under the root of a norm.
    pub norm_epsilon: f32,
    /// The base of the rotary frequencies.
    pub rope_base: f32,
    /// Positions are divided by this.
    pub rope_scale: f32,
    /// How many numbers of a head are rotated.
    pub rope_size: usize,
}

impl LlamaConfig {
    /// Reads the sizes and checks every tensor's shape against them; nothing is loaded yet.
    #[expect(clippy::cast_possible_truncation, reason = "these are 32-bit floats in all files")]
    pub fn check(header: &Header, vocabulary: usize) -> Result<Self, HeaderError> {
        let metadata = &header.metadata;
        let hidden = metadata.size("llama.embedding_length", WIDTH_MAX)?;
        let heads = metadata.size("llama.attention.head_count", HEADS_MAX)?;
        let kv_heads = metadata.size_or("llama.attention.head_count_kv", HEADS_MAX, Some(heads))?;
        let head_size = metadata.size_or("llama.attention.key_length", WIDTH_MAX, Some(hidden / heads))?;
        let value_size = metadata.size_or("llama.attention.value_length", WIDTH_MAX, Some(head_size))?;
        let rope_size = metadata.size_or("llama.rope.dimension_count", WIDTH_MAX, Some(head_size))?;
        let config = Self {
            layers: metadata.size("llama.block_count", LAYERS_MAX)?,
            hidden,
            feed_forward: metadata.size("llama.feed_forward_length", WIDTH_MAX)?,
            vocabulary,
            context: metadata.size("llama.context_length", CONTEXT_TOKENS_MAX)?,
            attention: Attention { heads, kv_heads, head_size },
            norm_epsilon: metadata.float("llama.attention.layer_norm_rms_epsilon", (1e-12, 0.1), None)? as f32,
            rope_base: metadata.float("llama.rope.freq_base", (1.0, 1e12), Some(10_000.0))? as f32,
            rope_scale: rope_scale(header)?,
            rope_size,
        };
        if heads % kv_heads != 0 {
            return Err(HeaderError::new(format!("{heads} heads can't share {kv_heads} key-value heads evenly")));
        }
        if head_size == 0 || value_size != head_size || rope_size > head_size || rope_size % 2 != 0 {
            let sizes = format!("keys of {head_size}, values of {value_size}, rotation of {rope_size}");
            return Err(HeaderError::new(format!("these sizes of a head are not supported: {sizes}")));
        }
        if metadata.u64("llama.expert_count")?.unwrap_or(0) > 0 {
            return Err(HeaderError::new("llama.expert_count: mixtures of experts are not supported"));
        }
        config.check_tensors(header)?;
        Ok(config)
    }

    fn check_tensors(&self, header: &Header) -> Result<(), HeaderError> {
        let (hidden, wide, words) = (self.hidden as u64, self.feed_forward as u64, self.vocabulary as u64);
        let query = (self.attention.heads * self.attention.head_size) as u64;
        let key = (self.attention.kv_heads * self.attention.head_size) as u64;
        header.tensor_of("token_embd.weight", &[hidden, words])?;
        vector_of(header, "output_norm.weight", hidden)?;
        if header.tensors.contains_key("output.weight") {
            header.tensor_of("output.weight", &[hidden, words])?;
        }
        if header.tensors.contains_key("rope_freqs.weight") {
            vector_of(header, "rope_freqs.weight", self.rope_size as u64 / 2)?;
        }
        for layer in 0..self.layers {
            let name = |part: &str| format!("blk.{layer}.{part}.weight");
            vector_of(header, &name("attn_norm"), hidden)?;
            vector_of(header, &name("ffn_norm"), hidden)?;
            for (part, columns, rows) in [
                ("attn_q", hidden, query),
                ("attn_k", hidden, key),
                ("attn_v", hidden, key),
                ("attn_output", query, hidden),
                ("ffn_gate", hidden, wide),
                ("ffn_up", hidden, wide),
                ("ffn_down", wide, hidden),
            ] {
                header.tensor_of(&name(part), &[columns, rows])?;
            }
        }
        Ok(())
    }

    /// Bytes that the weights take once they are loaded.
    pub fn weights_bytes(&self, header: &Header) -> u64 {
        header.tensors.values().map(Linear::device_bytes).fold(0, u64::saturating_add)
    }

    /// Bytes that one token of one sequence takes in the cache: a key and a value of 32-bit floats in each layer.
    pub fn kv_bytes_per_token(&self) -> u64 {
        (self.layers * self.attention.kv_heads * self.attention.head_size * 2 * size_of::<f32>()) as u64
    }
}

fn vector_of(header: &Header, name: &str, length: u64) -> Result<(), HeaderError> {
    let entry = header.tensor_of(name, &[length])?;
    match entry.dtype {
        GgmlDType::F32 => Ok(()),
        other => Err(HeaderError::new(format!("tensor {name:?} is stored as {other:?}, only F32 is supported"))),
    }
}

#[expect(clippy::cast_possible_truncation, reason = "these are 32-bit floats in all files")]
fn rope_scale(header: &Header) -> Result<f32, HeaderError> {
    match header.metadata.text("llama.rope.scaling.type")? {
        None | Some("none") => Ok(1.0),
        Some("linear") => Ok(header.metadata.float("llama.rope.scaling.factor", (1e-3, 1e6), None)? as f32),
        Some(other) => Err(HeaderError::new(format!("llama.rope.scaling.type: {other:?} is not supported"))),
    }
}
