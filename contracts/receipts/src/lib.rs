//! Usage receipts: canonical leaf, RFC 9162 Merkle log, signed checkpoints, proofs and an offline verifier.
//!
//! Everything here is pure: no storage, no clock, no network. Whoever keeps the log gives nodes and takes nodes.

pub mod checkpoint;
pub mod growth;
pub mod hash;
pub mod leaf;
pub mod merkle;
pub mod note;
pub mod proof;

pub use checkpoint::{Checkpoint, CheckpointError, log_id};
pub use growth::{Growth, GrowthError};
pub use hash::{Hash, HashError};
pub use leaf::{Function, Leaf, LeafError, LeafModel};
pub use merkle::{Frontier, MerkleError, NodeId, NodeSource};
pub use note::{NoteError, NoteSigner, VerifierKey};
pub use proof::{Anchor, Proof, ProofError, Verified};
