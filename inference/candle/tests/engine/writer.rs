//! Writes small model files: a two-layer llama as GGUF, a two-layer BERT as safetensors. Weights come from a seed.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QTensor};
use candle_core::{Device, Tensor};
use steward_inference::{DeviceBudget, Model, ModelError, ModelSource};
use steward_inference_candle::CandleLoader;
use steward_types::{Entropy, SeededEntropy, SystemClock};

pub const CONTEXT: u32 = 256;
pub const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n\
                            {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";
/// Control tokens, with ids from 0.
const CONTROL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];
const MERGES: [&str; 6] = ["t h", "th e", "Ġ the", "i n", "a n", "an d"];

/// A llama's sizes.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    pub layers: usize,
    pub hidden: usize,
    pub wide: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub context: u32,
}

/// Two layers of little.
pub const SMALL: Sizes = Sizes { layers: 2, hidden: 64, wide: 96, heads: 4, kv_heads: 2, context: CONTEXT };

/// A value of metadata.
#[derive(Clone)]
pub enum Entry {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(String),
    Texts(Vec<String>),
    I32s(Vec<i32>),
}

/// A GGUF file in parts, so that a test can spoil one.
#[derive(Clone)]
pub struct Gguf {
    pub version: u32,
    pub metadata: Vec<(String, Entry)>,
    pub tensors: Vec<(String, Vec<u64>, u32, Vec<u8>)>,
}

impl Gguf {
    /// A small llama whose matrices are stored as `dtype`.
    pub fn llama(dtype: GgmlDType) -> Self {
        Self::llama_of(dtype, &SMALL)
    }

    /// A llama of these sizes.
    pub fn llama_of(dtype: GgmlDType, sizes: &Sizes) -> Self {
        let &Sizes { layers, hidden, wide, heads, kv_heads, context } = sizes;
        let tokens = vocabulary();
        let types = (0..tokens.len()).map(|token| if token < CONTROL.len() { 3 } else { 1 }).collect();
        let text = |text: &str| Entry::Text(text.to_owned());
        let size = |size: usize| Entry::U32(u32::try_from(size).unwrap());
        let metadata = [
            ("general.architecture", text("llama")),
            ("llama.block_count", size(layers)),
            ("llama.context_length", Entry::U32(context)),
            ("llama.embedding_length", size(hidden)),
            ("llama.feed_forward_length", size(wide)),
            ("llama.attention.head_count", size(heads)),
            ("llama.attention.head_count_kv", size(kv_heads)),
            ("llama.attention.layer_norm_rms_epsilon", Entry::F32(1e-5)),
            ("tokenizer.ggml.model", text("gpt2")),
            ("tokenizer.ggml.pre", text("smollm")),
            ("tokenizer.ggml.tokens", Entry::Texts(tokens.clone())),
            ("tokenizer.ggml.token_type", Entry::I32s(types)),
            ("tokenizer.ggml.merges", Entry::Texts(MERGES.map(str::to_owned).to_vec())),
            ("tokenizer.ggml.bos_token_id", Entry::U32(1)),
            ("tokenizer.ggml.eos_token_id", Entry::U32(2)),
            ("tokenizer.ggml.add_bos_token", Entry::Bool(false)),
            ("tokenizer.chat_template", text(TEMPLATE)),
        ];
        let metadata = metadata.map(|(key, value)| (key.to_owned(), value)).to_vec();
        let mut file = Self { version: 3, metadata, tensors: Vec::new() };
        let entropy = SeededEntropy::new(11);
        file.matrix(&entropy, "token_embd", tokens.len(), hidden, dtype);
        file.norm("output_norm", hidden);
        for layer in 0..layers {
            let name = |part: &str| format!("blk.{layer}.{part}");
            let kv = hidden / heads * kv_heads;
            file.norm(&name("attn_norm"), hidden);
            file.norm(&name("ffn_norm"), hidden);
            for (part, rows, columns) in [
                ("attn_q", hidden, hidden),
                ("attn_k", kv, hidden),
                ("attn_v", kv, hidden),
                ("attn_output", hidden, hidden),
                ("ffn_gate", wide, hidden),
                ("ffn_up", wide, hidden),
                ("ffn_down", hidden, wide),
            ] {
                file.matrix(&entropy, &name(part), rows, columns, dtype);
            }
        }
        file
    }

    /// Replaces a value of metadata, or takes it out.
    pub fn set(&mut self, key: &str, value: Option<Entry>) {
        self.metadata.retain(|(name, _)| name != key);
        self.metadata.extend(value.map(|value| (key.to_owned(), value)));
    }

    fn matrix(&mut self, entropy: &dyn Entropy, name: &str, rows: usize, columns: usize, dtype: GgmlDType) {
        let tensor = Tensor::from_vec(numbers(entropy, rows * columns, 0.3), (rows, columns), &Device::Cpu).unwrap();
        let stored = QTensor::quantize(&tensor, dtype).unwrap();
        let shape = vec![columns as u64, rows as u64];
        self.tensors.push((format!("{name}.weight"), shape, number(dtype), stored.data().unwrap().into_owned()));
    }

    fn norm(&mut self, name: &str, size: usize) {
        let ones = 1f32.to_le_bytes().repeat(size);
        self.tensors.push((format!("{name}.weight"), vec![size as u64], 0, ones));
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let (mut file, data) = self.header_and_data();
        file.resize(file.len().next_multiple_of(32), 0);
        file.extend(data);
        file
    }

    /// The header alone.
    pub fn header(&self) -> Vec<u8> {
        self.header_and_data().0
    }

    fn header_and_data(&self) -> (Vec<u8>, Vec<u8>) {
        let mut file = b"GGUF".to_vec();
        file.extend(self.version.to_le_bytes());
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            put_text(&mut file, key);
            put_value(&mut file, value);
        }
        let mut data = Vec::new();
        for (name, shape, dtype, stored) in &self.tensors {
            put_text(&mut file, name);
            file.extend(u32::try_from(shape.len()).unwrap().to_le_bytes());
            file.extend(shape.iter().flat_map(|size| size.to_le_bytes()));
            file.extend(dtype.to_le_bytes());
            file.extend((data.len() as u64).to_le_bytes());
            data.extend(stored);
            data.resize(data.len().next_multiple_of(32), 0);
        }
        (file, data)
    }
}

fn put_text(file: &mut Vec<u8>, text: &str) {
    file.extend((text.len() as u64).to_le_bytes());
    file.extend(text.as_bytes());
}

fn put_value(file: &mut Vec<u8>, value: &Entry) {
    let kind = |file: &mut Vec<u8>, kind: u32| file.extend(kind.to_le_bytes());
    match value {
        Entry::U32(number) => {
            kind(file, 4);
            file.extend(number.to_le_bytes());
        }
        Entry::F32(number) => {
            kind(file, 6);
            file.extend(number.to_le_bytes());
        }
        Entry::Bool(value) => {
            kind(file, 7);
            file.push(u8::from(*value));
        }
        Entry::Text(text) => {
            kind(file, 8);
            put_text(file, text);
        }
        Entry::Texts(texts) => {
            kind(file, 9);
            kind(file, 8);
            file.extend((texts.len() as u64).to_le_bytes());
            texts.iter().for_each(|text| put_text(file, text));
        }
        Entry::I32s(numbers) => {
            kind(file, 9);
            kind(file, 5);
            file.extend((numbers.len() as u64).to_le_bytes());
            file.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        }
    }
}

fn number(dtype: GgmlDType) -> u32 {
    match dtype {
        GgmlDType::F32 => 0,
        GgmlDType::F16 => 1,
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q4_1 => 3,
        GgmlDType::Q5_0 => 6,
        GgmlDType::Q5_1 => 7,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q2K => 10,
        GgmlDType::Q3K => 11,
        GgmlDType::Q4K => 12,
        GgmlDType::Q5K => 13,
        GgmlDType::Q6K => 14,
        GgmlDType::BF16 => 30,
        other => panic!("{other:?} is not written"),
    }
}

/// Control tokens, the 256 bytes, and what the merges make.
fn vocabulary() -> Vec<String> {
    let mut others = (256..).filter_map(char::from_u32);
    let bytes = (0..=255u8).map(|byte| match byte {
        33..=126 | 161..=172 | 174..=255 => char::from(byte).to_string(),
        _ => others.next().unwrap().to_string(),
    });
    let merged = MERGES.map(|merge| merge.replace(' ', ""));
    let mut tokens: Vec<String> = CONTROL.map(str::to_owned).into_iter().chain(bytes).chain(merged).collect();
    // As in real files, and as our kernels want it, their number is a multiple of eight.
    for number in tokens.len()..tokens.len().next_multiple_of(8) {
        tokens.push(format!("<unused {number}>"));
    }
    tokens
}

fn numbers(entropy: &dyn Entropy, count: usize, size: f32) -> Vec<f32> {
    (0..count).map(|_| ((entropy.next_u64() >> 40) as f32 / (1u64 << 23) as f32 - 1.0) * size).collect()
}

/// Writes a small BERT with a word-level tokenizer into a folder.
pub fn bert(folder: &Path) {
    const WORDS: [&str; 18] = [
        "[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "cat", "sat", "on", "mat", "stock", "prices", "fell",
        "sharply", "monday", ".", "dog", "ran",
    ];
    let entropy = SeededEntropy::new(5);
    let mut tensors = HashMap::new();
    let mut add = |name: String, shape: &[usize]| {
        let count = shape.iter().product();
        let values = if name.ends_with("LayerNorm.weight") { vec![1.0; count] } else { numbers(&entropy, count, 0.1) };
        tensors.insert(name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap());
    };
    for (part, rows) in [("word", WORDS.len()), ("position", 32), ("token_type", 2)] {
        add(format!("embeddings.{part}_embeddings.weight"), &[rows, 32]);
    }
    let mut pair = |name: &str, shape: &[usize]| {
        add(format!("{name}.weight"), shape);
        add(format!("{name}.bias"), &shape[..1]);
    };
    pair("embeddings.LayerNorm", &[32]);
    for layer in 0..2 {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        for part in ["self.query", "self.key", "self.value", "output.dense"] {
            pair(&name(&format!("attention.{part}")), &[32, 32]);
        }
        pair(&name("attention.output.LayerNorm"), &[32]);
        pair(&name("intermediate.dense"), &[64, 32]);
        pair(&name("output.dense"), &[32, 64]);
        pair(&name("output.LayerNorm"), &[32]);
    }
    candle_core::safetensors::save(&tensors, folder.join("model.safetensors")).unwrap();
    let config = serde_json::json!({
        "model_type": "bert", "hidden_act": "gelu", "hidden_size": 32, "intermediate_size": 64,
        "num_attention_heads": 4, "num_hidden_layers": 2, "max_position_embeddings": 32,
        "vocab_size": WORDS.len(), "layer_norm_eps": 1e-12,
    });
    let vocabulary: serde_json::Map<_, _> =
        (0..).zip(WORDS).map(|(id, word)| (word.to_owned(), i32::into(id))).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": {"max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
                    "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": [], "normalizer": {"type": "Lowercase"}, "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]}, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

/// Opens a model on a device of 1 GiB.
pub fn open(path: impl Into<PathBuf>) -> Result<Arc<dyn Model>, ModelError> {
    open_on(path, &DeviceBudget::new("cpu", 1 << 30))
}

/// Opens a model on a device.
pub fn open_on(path: impl Into<PathBuf>, device: &Arc<DeviceBudget>) -> Result<Arc<dyn Model>, ModelError> {
    let source = ModelSource::new("test".parse().unwrap(), path);
    CandleLoader::new(Arc::new(SystemClock::new())).open(&source, device, &(Arc::new(|_| ()) as _))
}

/// Writes a file into a folder of its own.
pub fn write(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    (folder, path)
}
