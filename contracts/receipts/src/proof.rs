//! The proof file: everything a stranger needs to check, offline, that a receipt is in the log.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::merkle::{self, MerkleError, NodeSource};
use crate::note::VerifierKey;
use crate::{Hash, Leaf, LeafError};

/// What the field `format` of a proof says.
pub const PROOF_FORMAT: &str = "steward-receipt-proof/v1";
/// Longest proof file that is read.
pub const PROOF_BYTES_MAX: usize = 256 << 10;

/// That a receipt is in the log, and where the log's root was anchored. Written as JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proof {
    /// Always [`PROOF_FORMAT`].
    pub format: String,
    /// The receipt, for people to read.
    pub leaf: Leaf,
    /// The receipt's canonical bytes in hexadecimal; the leaf's hash is over these.
    pub leaf_bytes: String,
    /// The receipt's place in the log, from 0.
    pub index: u64,
    /// The size of the tree that the path leads to: that of the checkpoint.
    pub tree_size: u64,
    /// The sibling on each level, lowest first (RFC 9162, section 2.1.3).
    pub path: Vec<Hash>,
    /// The signed note with the log's size and root.
    pub checkpoint: String,
    /// Where this size and root were anchored; empty when nowhere yet.
    #[serde(default)]
    pub anchors: Vec<Anchor>,
}

/// A transaction that put the proof's tree size and root on a chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// The chain's CAIP-2 identifier, such as `eip155:31337`.
    pub chain: String,
    /// The contract's address as that chain writes it.
    pub contract: String,
    /// The transaction's hash as that chain writes it.
    pub transaction: String,
    /// The number of the block that holds the transaction.
    pub block: u64,
}

/// What a proof has shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The receipt.
    pub leaf: Leaf,
    /// Its hash in the tree.
    pub leaf_hash: Hash,
    /// The checkpoint that covers it.
    pub checkpoint: Checkpoint,
}

/// What exactly does not verify.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum ProofError {
    /// The file is not a proof.
    #[error("this is not a proof file: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The canonical bytes are not a leaf.
    #[error("the receipt's bytes cannot be read")]
    Leaf(#[from] LeafError),
    /// The readable leaf says something else than its canonical bytes.
    #[error("the readable receipt is not what its canonical bytes say")]
    LeafMismatch,
    /// The checkpoint is not signed by the trusted key, or not a checkpoint.
    #[error("the checkpoint does not verify")]
    Checkpoint(#[from] CheckpointError),
    /// The checkpoint is about another tree.
    #[error("the proof is for a tree of {proof} leaves and the checkpoint for one of {checkpoint}")]
    SizeMismatch {
        /// The size that the proof names.
        proof: u64,
        /// The size that the checkpoint names.
        checkpoint: u64,
    },
    /// The receipt is not in the tree.
    #[error("the receipt is not in the log at that place")]
    Inclusion(#[from] MerkleError),
}

impl Proof {
    /// The proof for the leaf at `index` under a checkpoint of `tree_size` leaves, with nodes from the log.
    ///
    /// # Errors
    /// [`MerkleError`] when there is no such leaf or a node is missing.
    pub fn build(
        leaf: Leaf,
        index: u64,
        tree_size: u64,
        nodes: &dyn NodeSource,
        checkpoint: String,
    ) -> Result<Self, MerkleError> {
        let path = merkle::inclusion_path(index, tree_size, nodes)?;
        let leaf_bytes = hex::encode(leaf.encode());
        let format = PROOF_FORMAT.to_owned();
        Ok(Self { format, leaf, leaf_bytes, index, tree_size, path, checkpoint, anchors: Vec::new() })
    }

    /// Reads a proof file.
    ///
    /// # Errors
    /// [`ProofError::Malformed`].
    pub fn from_json(json: &str) -> Result<Self, ProofError> {
        let malformed = |reason: String| ProofError::Malformed { reason };
        if json.len() > PROOF_BYTES_MAX {
            return Err(malformed(format!("it is longer than {PROOF_BYTES_MAX} bytes")));
        }
        serde_json::from_str(json).map_err(|error| malformed(error.to_string()))
    }

    /// The proof file.
    pub fn to_json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("a proof has only text keys and finite numbers");
        json + "\n"
    }

    /// Checks the whole proof offline against the log's key: the canonical bytes, the signature, the path. The anchors
    /// are claims that only their chains can confirm.
    ///
    /// # Errors
    /// [`ProofError`] that says what does not verify.
    pub fn verify(&self, trusted: &VerifierKey) -> Result<Verified, ProofError> {
        if self.format != PROOF_FORMAT {
            let reason = format!("its format is {:?} and not {PROOF_FORMAT:?}", self.format);
            return Err(ProofError::Malformed { reason });
        }
        let bytes = hex::decode(&self.leaf_bytes)
            .map_err(|_| ProofError::Malformed { reason: "leaf_bytes is not hexadecimal".to_owned() })?;
        if Leaf::decode(&bytes)? != self.leaf {
            return Err(ProofError::LeafMismatch);
        }
        let checkpoint = Checkpoint::open(&self.checkpoint, trusted)?;
        if checkpoint.size != self.tree_size {
            return Err(ProofError::SizeMismatch { proof: self.tree_size, checkpoint: checkpoint.size });
        }
        let leaf_hash = Hash::of_leaf(&bytes);
        merkle::verify_inclusion(leaf_hash, self.index, self.tree_size, &self.path, checkpoint.root)?;
        Ok(Verified { leaf: self.leaf.clone(), leaf_hash, checkpoint })
    }
}
