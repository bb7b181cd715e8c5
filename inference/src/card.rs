//! What is known of a model once its file was read: the part that receipts, prices and placement need.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use steward_types::ModelId;

/// SHA-256 of a model's file; of a folder, of its weights file. Stands in each receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelHash([u8; 32]);

impl ModelHash {
    /// From its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ModelHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex::encode(self.0))
    }
}

impl FromStr for ModelHash {
    type Err = hex::FromHexError;
    fn from_str(text: &str) -> Result<Self, hex::FromHexError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for ModelHash {
    type Error = hex::FromHexError;
    fn try_from(text: String) -> Result<Self, hex::FromHexError> {
        text.parse()
    }
}

impl From<ModelHash> for String {
    fn from(hash: ModelHash) -> String {
        hash.to_string()
    }
}

/// The architecture that a driver runs a model with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelFamily {
    /// A decoder of the llama kind: rotary positions, RMS norm, gated feed-forward.
    Llama,
    /// A BERT encoder, mean-pooled into sentence vectors.
    Bert,
    /// The deterministic model for tests.
    Scripted,
}

/// What is known of a loaded model. Stays the same as long as its file does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelCard {
    /// Its name on this cluster.
    pub id: ModelId,
    /// SHA-256 of its weights file.
    pub hash: ModelHash,
    /// Its architecture.
    pub family: ModelFamily,
    /// Most tokens of prompt and completion together.
    pub context_tokens: u32,
    /// Whether `generate` works.
    pub can_generate: bool,
    /// Whether `embed` works.
    pub can_embed: bool,
    /// Numbers in one embedding; 0 when it can't embed.
    pub embedding_dimensions: u32,
    /// Bytes that its weights take on the device.
    pub weights_bytes: u64,
    /// Bytes of key-value cache that one token of one sequence takes on the device.
    pub kv_bytes_per_token: u64,
}
