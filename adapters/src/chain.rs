//! The `Chain` port: what an outbox needs of a public chain, in words that fit any of them.
//!
//! An implementation never decides to send: it signs when asked, broadcasts the bytes it is given, and says what it
//! sees. It keeps no counter of its own; the outbox owns the sequence numbers.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_types::ErrorCode;
use thiserror::Error;

use crate::fee::{Fee, FeeCapped, MarketFee};
use crate::signer::SignerError;

/// One account on one chain. Every call ends within `CHAIN_CALL_TIME_MAX`; dropping a call is safe, but a dropped
/// `broadcast` may have reached the chain.
#[async_trait]
pub trait Chain: Send + Sync + fmt::Debug + 'static {
    /// The chain's CAIP-2 identifier. The implementation checks that its endpoint is on this chain.
    fn id(&self) -> &ChainId;

    /// The address that signs, as the chain writes it.
    fn account(&self) -> &str;

    /// The hash of the chain's first block, which tells a chain that was reset from the one it was.
    async fn genesis(&self) -> Result<String, ChainError>;

    /// The newest block.
    async fn head(&self) -> Result<Head, ChainError>;

    /// The sequence number (nonce) that the account's next transaction needs, as seen with this consistency.
    async fn sequence(&self, at: Consistency) -> Result<u64, ChainError>;

    /// What transactions cost now.
    async fn market_fee(&self) -> Result<MarketFee, ChainError>;

    /// Signs a transaction; sends nothing. The same arguments may give other bytes another time (a gas estimate), so
    /// the bytes must be recorded before they are sent.
    async fn sign(&self, action: &Action, sequence: u64, fee: Fee) -> Result<SignedTransaction, ChainError>;

    /// Hands signed bytes to the chain. Doing so again with the same bytes does no harm.
    async fn broadcast(&self, bytes: &[u8]) -> Result<Broadcast, ChainError>;

    /// What became of a transaction.
    async fn status(&self, hash: &str, sequence: u64) -> Result<TransactionStatus, ChainError>;

    /// The newest anchor of a log of this account's in the contract, as of the newest block.
    async fn read_anchor(&self, contract: &str, log_id: &[u8; 32]) -> Result<Option<AnchoredHead>, ChainError>;

    /// Whether the contract finds the leaf in the anchored tree of a log of this account's.
    async fn verify_inclusion(&self, contract: &str, claim: &InclusionClaim) -> Result<bool, ChainError>;
}

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

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Puts the receipt log's contract on the chain.
    DeployReceiptLog,
    /// Puts a log's size and root into the contract.
    Anchor {
        /// The contract's address.
        contract: String,
        /// What is anchored.
        point: AnchorPoint,
    },
    /// Does nothing but use up a sequence number that would otherwise be missing.
    Fill,
}

/// A log's size and root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AnchorPoint {
    /// SHA-256 of the log's origin.
    pub log_id: [u8; 32],
    /// How many leaves the log has.
    pub tree_size: u64,
    /// The root over them.
    pub root: [u8; 32],
}

/// What a contract keeps of a log's newest anchor. Its event has the whole root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AnchoredHead {
    /// How many leaves the log has.
    pub tree_size: u64,
    /// The first bytes of the root over them.
    pub root_prefix: [u8; 27],
}

impl AnchoredHead {
    /// The head that anchoring this point makes.
    pub fn of(point: &AnchorPoint) -> Self {
        let mut root_prefix = [0; 27];
        root_prefix.copy_from_slice(&point.root[..27]);
        Self { tree_size: point.tree_size, root_prefix }
    }
}

/// That a leaf is in a log's anchored tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionClaim {
    /// SHA-256 of the log's origin.
    pub log_id: [u8; 32],
    /// The leaf's hash.
    pub leaf_hash: [u8; 32],
    /// The leaf's place.
    pub index: u64,
    /// The path of RFC 9162, lowest sibling first.
    pub path: Vec<[u8; 32]>,
}

/// The newest block that an endpoint knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Its number.
    pub block: u64,
    /// Its hash, as the chain writes it.
    pub hash: String,
    /// The newest block that counts as final.
    pub final_block: u64,
}

/// How settled an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// As of the newest block; a reorganisation may undo it.
    Latest,
    /// As of the newest block that counts as final.
    Final,
}

/// A transaction that can be sent any number of times and lands at most once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// What is sent.
    pub bytes: Bytes,
    /// Its hash, as the chain writes it.
    pub hash: String,
    /// The account's sequence number that it uses up.
    pub sequence: u64,
    /// The fee that it offers.
    pub fee: Fee,
    /// The address of the contract that it creates.
    pub creates: Option<String>,
}

/// How the chain took a broadcast.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Broadcast {
    /// It waits to be included, now or already before.
    Accepted,
    /// Its sequence number is used up: by itself, by a replacement or by a stranger.
    SequenceUsed,
    /// Another transaction with this sequence number offers more.
    Underpriced,
    /// The endpoint did not take it; it may another time.
    Refused {
        /// What the endpoint said.
        reason: String,
    },
}

/// What became of a transaction, as far as the endpoint knows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransactionStatus {
    /// The endpoint does not know it, and its sequence number is free.
    Unknown,
    /// It waits to be included.
    Pending,
    /// It is in a block.
    Included(Inclusion),
    /// Another transaction used its sequence number.
    Replaced {
        /// Whether that is final, so that this one can never land.
        is_final: bool,
    },
}

/// Where a transaction landed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Inclusion {
    /// The block's number.
    pub block: u64,
    /// The block's hash, as the chain writes it.
    pub block_hash: String,
    /// Whether it did what it was to do; false when the contract refused it.
    pub succeeded: bool,
    /// Whether the block counts as final.
    pub is_final: bool,
}

/// Why a chain did not answer, or not as asked.
#[derive(Debug, Error)]
pub enum ChainError {
    /// The endpoint cannot be reached, or failed, or was too slow.
    #[error("the chain {chain} cannot be reached")]
    Unavailable {
        /// The chain.
        chain: ChainId,
        /// What happened.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The endpoint is on another chain.
    #[error("the endpoint is on the chain {found} and not on {expected}")]
    WrongChain {
        /// The chain that was meant.
        expected: ChainId,
        /// The chain that the endpoint is on.
        found: ChainId,
    },
    /// The chain says that this cannot succeed.
    #[error("the chain refuses it: {reason}")]
    Rejected {
        /// What it said.
        reason: String,
    },
    /// An address, hash or reply is not what it should be.
    #[error("{what} is malformed: {reason}")]
    Malformed {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The market asks more than the policy allows.
    #[error("the fee is capped")]
    FeeCapped(#[from] FeeCapped),
    /// The signer did not sign.
    #[error("the transaction could not be signed")]
    Signer(#[from] SignerError),
}

impl ChainError {
    /// Whether the endpoint is at fault, so that its breaker should count it.
    pub const fn is_endpoint_failure(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::WrongChain { .. } | Self::Malformed { .. })
    }

    /// The code that it becomes at the edge.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Unavailable { .. } | Self::WrongChain { .. } => ErrorCode::ChainUnavailable,
            Self::Rejected { .. } | Self::FeeCapped(_) => ErrorCode::ChainRejected,
            Self::Malformed { .. } => ErrorCode::InvalidRequest,
            Self::Signer(_) => ErrorCode::ConfigInvalid,
        }
    }
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
