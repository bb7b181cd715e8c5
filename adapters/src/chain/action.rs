//! What transactions do, and what anchors say. Plain values, stored with the outbox.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Amount;

/// What a transaction does.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Puts the receipt log's contract on the chain.
    DeployReceiptLog,
    /// Puts a contract on the chain that its driver knows by name, or makes a token.
    Deploy {
        /// Its name: `escrow`, `credits`.
        contract: String,
        /// What it is made with, as [`Chain::encode_deployment`](super::Chain::encode_deployment) encodes it.
        arguments: Bytes,
    },
    /// Puts a log's size and root into the contract, or into a memo.
    Anchor {
        /// The contract's address; empty where anchors are memos.
        contract: String,
        /// What is anchored.
        point: AnchorPoint,
    },
    /// Pays.
    Transfer {
        /// Who receives it, as the chain writes an address.
        to: String,
        /// How much.
        amount: Amount,
        /// What is paid: an ERC-20 contract, a denom, a mint; the chain's own coin when nothing is named.
        asset: Option<String>,
    },
    /// Calls a contract. A chain without contracts refuses it.
    Call {
        /// The contract's address.
        contract: String,
        /// What it is told, as the chain encodes it: calldata, or a JSON message.
        input: Bytes,
        /// How much of the chain's own coin goes with it.
        value: Amount,
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
