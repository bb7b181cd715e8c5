//! What a quantised model says without rounding of activations: its weights as the 32-bit floats that they stand for, on
//! the processor. How far the kernels that round are from it, in measures that mean something.

use std::io::Cursor;
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use steward_inference_candle::Gpu;
use steward_inference_candle::gguf::Header;
use steward_inference_candle::llama::{Llama, LlamaConfig, Row};

/// "What is the capital of France?" as SmolLM2 is asked it, system message and all.
pub const CHAT: [u32; 37] = [
    1, 9690, 198, 2683, 359, 253, 5356, 5646, 11173, 3365, 3511, 308, 34519, 28, 7018, 411, 407, 19712, 8182, 2, 198,
    1, 4093, 198, 1780, 314, 260, 3575, 282, 4649, 47, 2, 198, 1, 520, 9531, 198,
];

fn header(file: &[u8]) -> (Header, LlamaConfig) {
    let header = Header::read(file, file.len() as u64).unwrap();
    let tokens = header.tensors["token_embd.weight"].dimensions[1];
    let config = LlamaConfig::check(&header, usize::try_from(tokens).unwrap()).unwrap();
    (header, config)
}

/// The model of a file, on a GPU or on the processor.
pub fn load(gpu: Option<&Arc<Gpu>>, file: &[u8]) -> Llama {
    let (header, config) = header(file);
    Llama::load(gpu, Cursor::new(file), &header, config, &mut |_| ()).unwrap()
}

/// The same model with 32-bit floats for weights.
pub fn exact(file: &[u8]) -> Llama {
    let (mut header, config) = header(file);
    let mut data = Vec::new();
    for entry in header.tensors.values_mut() {
        let from = usize::try_from(header.data_offset + entry.offset).unwrap();
        let stored = &file[from..][..usize::try_from(entry.bytes).unwrap()];
        let sizes = entry.dimensions.iter().rev().map(|&size| usize::try_from(size).unwrap()).collect();
        let floats = qtensor_from_ggml(entry.dtype, stored, sizes, &Device::Cpu).unwrap();
        let floats: Vec<f32> = floats.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1().unwrap();
        (entry.offset, entry.bytes, entry.dtype) = (data.len() as u64, floats.len() as u64 * 4, GgmlDType::F32);
        data.extend(floats.iter().flat_map(|number| number.to_le_bytes()));
    }
    header.data_offset = 0;
    Llama::load(None, Cursor::new(data), &header, config, &mut |_| ()).unwrap()
}

/// The logits after each token of the chat, read `chunk` tokens at a time.
pub fn chat_logits(llama: &mut Llama, chunk: usize) -> Vec<Vec<f32>> {
    let row = |(position, &token): (usize, &u32)| Row { cache: 0, position, token, wants_logits: true };
    let rows: Vec<Row> = CHAT.iter().enumerate().map(row).collect();
    let mut cache = llama.cache(CHAT.len()).unwrap();
    let chunks = rows.chunks(chunk).map(|rows| llama.forward(rows, &mut [&mut cache]).unwrap());
    chunks.collect::<Vec<_>>().concat()
}

/// How far logits are from the exact ones.
#[derive(Debug, Clone, Copy, Default)]
pub struct Distance {
    /// Positions whose likeliest token is the same.
    pub same: usize,
    /// The largest divergence of Kullback and Leibler of a position's probabilities from the exact ones, in nats. Logits
    /// mean nothing else: added to by one number, or wrong where no token is likely, they say the same.
    pub divergence: f64,
    /// The largest difference of a position's logits, as a share of their length.
    pub share: f64,
}

/// How far the logits of some positions are from the exact ones.
pub fn distance(found: &[Vec<f32>], exact: &[Vec<f32>]) -> Distance {
    assert_eq!(found.len(), exact.len());
    let mut all = Distance::default();
    for (found, exact) in found.iter().zip(exact) {
        all.same += usize::from(likeliest(found) == likeliest(exact));
        all.divergence = all.divergence.max(divergence(found, exact));
        let length = |numbers: &mut dyn Iterator<Item = f64>| numbers.map(|x| x * x).sum::<f64>().sqrt();
        let error = length(&mut found.iter().zip(exact).map(|(a, b)| f64::from(a - b)));
        all.share = all.share.max(error / length(&mut exact.iter().map(|&x| f64::from(x))));
    }
    all
}

fn divergence(found: &[f32], exact: &[f32]) -> f64 {
    let (found, exact) = (log_softmax(found), log_softmax(exact));
    exact.iter().zip(&found).map(|(exact, found)| exact.exp() * (exact - found)).sum()
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let most = logits.iter().fold(f64::MIN, |most, &x| most.max(f64::from(x)));
    let sum: f64 = logits.iter().map(|&x| (f64::from(x) - most).exp()).sum();
    logits.iter().map(|&x| f64::from(x) - most - sum.ln()).collect()
}

/// The token with the largest logit.
pub fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}
