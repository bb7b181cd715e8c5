//! BERT (Devlin and others, 2018) over candle's tensors: one text at a time, unpadded, so that no text's vector depends
//! on what else is embedded with it. Mean pooling and normalisation as in Sentence-BERT (Reimers and Gurevych, 2019).

mod weights;

use candle_core::{D, Device, Result, Tensor};

pub use weights::{BertConfig, Weights, check_weights, load_weights};

/// A loaded encoder.
#[derive(Debug)]
pub struct Bert {
    heads: usize,
    words: Tensor,
    positions: Tensor,
    /// The embedding of the one segment that a text is.
    segment: Tensor,
    norm: Norm,
    layers: Vec<Layer>,
}

#[derive(Debug)]
struct Layer {
    query: Dense,
    key: Dense,
    value: Dense,
    attention_output: Dense,
    attention_norm: Norm,
    up: Dense,
    down: Dense,
    norm: Norm,
}

/// A matrix, transposed, and what is added to its product.
#[derive(Debug)]
struct Dense {
    transposed: Tensor,
    bias: Tensor,
}

impl Dense {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        input.matmul(&self.transposed)?.broadcast_add(&self.bias)
    }
}

#[derive(Debug)]
struct Norm {
    weight: Tensor,
    bias: Tensor,
    epsilon: f64,
}

impl Norm {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let centred = input.broadcast_sub(&input.mean_keepdim(D::Minus1)?)?;
        let deviation = (centred.sqr()?.mean_keepdim(D::Minus1)? + self.epsilon)?.sqrt()?;
        centred.broadcast_div(&deviation)?.broadcast_mul(&self.weight)?.broadcast_add(&self.bias)
    }
}

impl Bert {
    /// The vector, of length 1, of a text's tokens; at least one, and no more than there are positions.
    pub fn embed(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        let words = self.words.index_select(&Tensor::new(tokens, &Device::Cpu)?, 0)?;
        let positions = self.positions.narrow(0, 0, tokens.len())?;
        let mut hidden = self.norm.forward(&(words + positions)?.broadcast_add(&self.segment)?)?;
        for layer in &self.layers {
            hidden = layer.forward(self.heads, &hidden)?;
        }
        let mean = hidden.mean(0)?;
        let length = mean.sqr()?.sum_all()?.sqrt()?.to_scalar::<f32>()?.max(f32::MIN_POSITIVE);
        (mean / f64::from(length))?.to_vec1()
    }
}

impl Layer {
    fn forward(&self, heads: usize, hidden: &Tensor) -> Result<Tensor> {
        let (tokens, size) = hidden.dims2()?;
        let split = |dense: &Dense| -> Result<Tensor> {
            dense.forward(hidden)?.reshape((tokens, heads, size / heads))?.transpose(0, 1)?.contiguous()
        };
        let (query, key, value) = (split(&self.query)?, split(&self.key)?, split(&self.value)?);
        #[expect(clippy::cast_precision_loss, reason = "a head has few hundred numbers")]
        let scale = 1.0 / ((size / heads) as f64).sqrt();
        let scores = (query.matmul(&key.transpose(1, 2)?.contiguous()?)? * scale)?;
        let attended = softmax(&scores)?.matmul(&value)?.transpose(0, 1)?.reshape((tokens, size))?;
        let hidden = self.attention_norm.forward(&(self.attention_output.forward(&attended)? + hidden)?)?;
        let wide = self.up.forward(&hidden)?.gelu_erf()?;
        self.norm.forward(&(self.down.forward(&wide)? + hidden)?)
    }
}

fn softmax(scores: &Tensor) -> Result<Tensor> {
    let exponentials = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
    exponentials.broadcast_div(&exponentials.sum_keepdim(D::Minus1)?)
}
