//! How chains are named: CAIP-2. Nothing else is a chain's name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A chain's CAIP-2 identifier: `eip155:31337`, `cosmos:cosmoshub-4`, `solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainId(String);

/// The text is not a CAIP-2 identifier.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{text:?} is not a chain: write its CAIP-2 identifier, such as eip155:1")]
pub struct ChainIdError {
    text: String,
}

impl ChainId {
    /// The identifier as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of chain, such as `eip155`.
    pub fn namespace(&self) -> &str {
        self.0.split_once(':').map_or("", |(namespace, _)| namespace)
    }

    /// The chain within its kind, such as `31337`.
    pub fn reference(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, reference)| reference)
    }
}

impl FromStr for ChainId {
    type Err = ChainIdError;

    /// Reads CAIP-2: `[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}`.
    fn from_str(text: &str) -> Result<Self, ChainIdError> {
        let good = text.split_once(':').is_some_and(|(namespace, reference)| {
            let in_namespace = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
            let in_reference = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (3..=8).contains(&namespace.len())
                && (1..=32).contains(&reference.len())
                && namespace.bytes().all(in_namespace)
                && reference.bytes().all(in_reference)
        });
        if good { Ok(Self(text.to_owned())) } else { Err(ChainIdError { text: text.chars().take(100).collect() }) }
    }
}

impl TryFrom<String> for ChainId {
    type Error = ChainIdError;

    fn try_from(text: String) -> Result<Self, ChainIdError> {
        text.parse()
    }
}

impl From<ChainId> for String {
    fn from(id: ChainId) -> Self {
        id.0
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_id_is_caip_2() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<ChainId>().is_ok(), good, "{text:?}");
        check("eip155:1", true);
        check("cosmos:cosmoshub-4", true);
        check("solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1", true);
        for bad in ["", "eip155", "eip155:", ":1", "EIP155:1", "ab:1", "eip155:1:2", "toolongname:1"] {
            check(bad, false);
        }
        let id: ChainId = "eip155:31337".parse().unwrap();
        assert_eq!((id.namespace(), id.reference()), ("eip155", "31337"));
    }
}
