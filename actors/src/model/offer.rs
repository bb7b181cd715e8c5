//! A model as it is offered: the row by which every node of a store knows of it.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use steward_inference::{ModelCard, ModelHash, ModelSource};
use steward_storage::{RangeRead, Record, StoreError, Txn, key};
use steward_types::ModelId;
use thiserror::Error;

/// How many nodes should have a model loaded. A node that is alone loads each model once, whatever is wished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Replicas {
    /// So many nodes.
    Count(NonZeroU32),
    /// Each node that has room.
    Each,
}

impl Default for Replicas {
    fn default() -> Self {
        Self::Count(NonZeroU32::MIN)
    }
}

impl fmt::Display for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Each => f.pad("all"),
        }
    }
}

/// A text that is no number of replicas.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0:?} is no number of replicas: give 1 or more, or all")]
pub struct ReplicasError(String);

impl FromStr for Replicas {
    type Err = ReplicasError;

    fn from_str(text: &str) -> Result<Self, ReplicasError> {
        match text {
            "all" => Ok(Self::Each),
            _ => text.parse().map(Self::Count).map_err(|_| ReplicasError(text.to_owned())),
        }
    }
}

/// A model as the store keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOffer {
    /// Where its file was on the node that it was added on.
    pub path: PathBuf,
    /// Where its file can be had from, such as `pypi:…`; may be empty.
    pub from: String,
    /// What its file must be.
    pub hash: Option<ModelHash>,
    /// Use at most this many tokens of context.
    pub context_tokens_max: Option<u32>,
    /// How many nodes should have it.
    #[serde(default)]
    pub replicas: Replicas,
    /// What is known of it; rows of older releases have none.
    #[serde(default)]
    pub card: Option<ModelCard>,
    /// A random number, new with each adding: what was tried with an older one says nothing.
    #[serde(default)]
    pub revision: u64,
}

impl Record for ModelOffer {
    const NAME: &'static str = "model";
    const VERSION: u16 = 1;
}

impl ModelOffer {
    /// The row's key.
    pub fn key(id: &ModelId) -> Vec<u8> {
        key::pack(&("model", id.as_str()))
    }

    /// Every row that there can be.
    pub fn rows() -> RangeRead {
        RangeRead::prefix(&key::pack(&("model",)))
    }

    /// One page of rows, and what is left of the range.
    ///
    /// # Errors
    /// The store's.
    pub async fn page(txn: &Txn, range: RangeRead) -> Result<(Vec<(ModelId, Self)>, Option<RangeRead>), StoreError> {
        let page = txn.scan::<Self>(range).await?;
        let named = page.rows.into_iter().map(|(row, offer)| {
            let (_, name): (String, String) = key::unpack(&row)?;
            let corrupt = |_| StoreError::Corrupt(format!("model key {}", row.escape_ascii()));
            Ok((name.parse().map_err(corrupt)?, offer))
        });
        Ok((named.collect::<Result<_, StoreError>>()?, page.rest))
    }

    /// What a loader is asked for.
    pub fn source(&self, id: &ModelId) -> ModelSource {
        ModelSource {
            id: id.clone(),
            path: self.path.clone(),
            origin: self.from.clone(),
            hash: self.hash,
            context_tokens_max: self.context_tokens_max,
        }
    }
}

impl From<NewModel> for ModelOffer {
    fn from(new: NewModel) -> Self {
        let NewModel { source, replicas } = new;
        let ModelSource { id: _, path, origin, hash, context_tokens_max } = source;
        Self { path, from: origin, hash, context_tokens_max, replicas, card: None, revision: 0 }
    }
}

/// A model that is to be offered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewModel {
    /// Its name and where it comes from.
    pub source: ModelSource,
    /// How many nodes should have it.
    pub replicas: Replicas,
}

impl From<ModelSource> for NewModel {
    fn from(source: ModelSource) -> Self {
        Self { source, replicas: Replicas::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_replicas_is_read_or_refused() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(text.parse::<Replicas>().ok().map(|read| read.to_string()).as_deref(), expected, "{text}");
        };
        check("1", Some("1"));
        check("12", Some("12"));
        check("all", Some("all"));
        check("0", None);
        check("-1", None);
        check("", None);
    }

    #[test]
    fn a_row_of_an_older_release_is_read() {
        #[derive(Serialize, Deserialize)]
        struct Older {
            path: PathBuf,
            from: String,
            hash: Option<ModelHash>,
            context_tokens_max: Option<u32>,
        }
        impl Record for Older {
            const NAME: &'static str = ModelOffer::NAME;
            const VERSION: u16 = ModelOffer::VERSION;
        }
        let older = Older { path: "m.gguf".into(), from: String::new(), hash: None, context_tokens_max: None };
        let row = steward_storage::record::encode(&older).unwrap();
        let read: ModelOffer = steward_storage::record::decode(b"k", &row).unwrap();
        assert_eq!((read.replicas, read.card, read.revision), (Replicas::default(), None, 0));
    }
}
