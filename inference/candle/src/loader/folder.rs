//! Opens a folder with a BERT in safetensors as an embedder.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use steward_inference::{DeviceBudget, LoadStage, Model, ModelCard, ModelError, ModelFamily};
use tokenizers::Tokenizer;

use super::{Loading, invalid, open_file, unreadable};
use crate::bert::{BertConfig, Weights, check_weights, load_weights};
use crate::embedder::Embedder;

/// Largest of the JSON files beside the weights.
const JSON_BYTES_MAX: u64 = 64 << 20;

/// `1_Pooling/config.json` of Sentence-Transformers.
#[derive(Debug, Deserialize)]
struct Pooling {
    pooling_mode_mean_tokens: bool,
}

/// `sentence_bert_config.json` of Sentence-Transformers.
#[derive(Debug, Deserialize)]
struct SentenceBert {
    max_seq_length: usize,
}

/// A folder whose files fit each other.
struct Checked {
    /// The weights.
    path: PathBuf,
    file: File,
    file_bytes: u64,
    config: BertConfig,
    tokenizer: Tokenizer,
    context: usize,
    weights: Weights,
}

impl Loading<'_> {
    pub(super) fn folder(&self, device: &Arc<DeviceBudget>) -> Result<Arc<dyn Model>, ModelError> {
        let mut checked = self.check_folder()?;
        let weights_bytes = checked.weights.device_bytes(&checked.config);
        let reserved = device.reserve(format!("{} weights", self.source.id), weights_bytes)?;
        let card = self.folder_card_of(&mut checked)?;
        let Checked { path, file, file_bytes, config, tokenizer, weights, .. } = checked;
        let mut done = 0;
        let mut progress = |bytes| {
            done += bytes;
            self.tell(LoadStage::Weights, done, file_bytes);
        };
        let bert = load_weights(file, &weights, &config, &mut progress).map_err(|what| invalid(&path, what))?;
        let embedder = Embedder::new(card, bert, tokenizer, Arc::clone(self.clock), reserved);
        self.tell(LoadStage::Ready, file_bytes, file_bytes);
        Ok(Arc::new(embedder))
    }

    /// What the folder is, by its files and the hash of its weights.
    pub(super) fn folder_card(&self) -> Result<ModelCard, ModelError> {
        self.folder_card_of(&mut self.check_folder()?)
    }

    fn check_folder(&self) -> Result<Checked, ModelError> {
        let folder = self.source.path.as_path();
        let path = folder.join("model.safetensors");
        let (mut file, file_bytes) = open_file(&path)?;
        self.tell(LoadStage::Checking, 0, file_bytes);
        let config_path = folder.join("config.json");
        let config = BertConfig::parse(&json(&config_path)?).map_err(|what| invalid(&config_path, what))?;
        let tokenizer = tokenizer(folder, &config)?;
        let context = config.max_position_embeddings.min(sequence_length(folder)?);
        check_pooling(folder)?;
        let weights = check_weights(&mut file, file_bytes, &config).map_err(|what| invalid(&path, what))?;
        Ok(Checked { path, file, file_bytes, config, tokenizer, context, weights })
    }

    fn folder_card_of(&self, checked: &mut Checked) -> Result<ModelCard, ModelError> {
        let Checked { path, file, file_bytes, config, context, weights, .. } = checked;
        Ok(ModelCard {
            id: self.source.id.clone(),
            hash: self.hash(path, file, *file_bytes)?,
            family: ModelFamily::Bert,
            context_tokens: self.context_tokens(*context),
            can_generate: false,
            can_embed: true,
            embedding_dimensions: u32::try_from(config.hidden_size).unwrap_or(u32::MAX),
            weights_bytes: weights.device_bytes(config),
            kv_bytes_per_token: 0,
        })
    }
}

fn json(path: &Path) -> Result<Vec<u8>, ModelError> {
    let (file, bytes) = open_file(path)?;
    if bytes > JSON_BYTES_MAX {
        return Err(invalid(path, format!("{bytes} bytes are more than the {JSON_BYTES_MAX} that are allowed")));
    }
    let mut json = Vec::new();
    file.take(JSON_BYTES_MAX).read_to_end(&mut json).map_err(|error| unreadable(path, &error))?;
    Ok(json)
}

/// A JSON file that may be missing.
fn optional<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, ModelError> {
    if !path.exists() {
        return Ok(None);
    }
    serde_json::from_slice(&json(path)?).map(Some).map_err(|error| invalid(path, error.to_string()))
}

/// The tokenizer, without the padding and cutting that its file may ask for.
fn tokenizer(folder: &Path, config: &BertConfig) -> Result<Tokenizer, ModelError> {
    let path = folder.join("tokenizer.json");
    let wrong = |error: tokenizers::Error| invalid(&path, error.to_string());
    let mut tokenizer = Tokenizer::from_bytes(json(&path)?).map_err(wrong)?;
    tokenizer.with_padding(None);
    tokenizer.with_truncation(None).map_err(wrong)?;
    let largest = tokenizer.get_vocab(true).into_values().max().unwrap_or(0);
    if !config.has_token(largest) {
        return Err(invalid(&path, format!("token {largest} is beyond the vocabulary that config.json tells")));
    }
    Ok(tokenizer)
}

fn sequence_length(folder: &Path) -> Result<usize, ModelError> {
    let found = optional::<SentenceBert>(&folder.join("sentence_bert_config.json"))?;
    Ok(found.map_or(usize::MAX, |found| found.max_seq_length))
}

fn check_pooling(folder: &Path) -> Result<(), ModelError> {
    let path = folder.join("1_Pooling").join("config.json");
    match optional::<Pooling>(&path)? {
        Some(Pooling { pooling_mode_mean_tokens: false }) => {
            Err(invalid(&path, "only pooling by the mean of all tokens is supported"))
        }
        _ => Ok(()),
    }
}
