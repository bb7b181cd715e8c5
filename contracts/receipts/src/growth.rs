//! That a log only grew: a later checkpoint holds every leaf of an earlier one, in its place.
//!
//! Whoever keeps a checkpoint can hold the log to it, offline, without the leaves.

use thiserror::Error;

use crate::merkle::{MerkleError, verify_consistency};
use crate::{Checkpoint, CheckpointError, Hash, VerifierKey};

/// Two checkpoints of one log of which the later goes on from the earlier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Growth {
    /// The earlier.
    pub old: Checkpoint,
    /// The later.
    pub new: Checkpoint,
}

/// Why it is not shown that the log only grew.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum GrowthError {
    /// The earlier checkpoint is not one of this log.
    #[error("the earlier checkpoint is not this log's")]
    Old(#[source] CheckpointError),
    /// The later checkpoint is not one of this log.
    #[error("the later checkpoint is not this log's")]
    New(#[source] CheckpointError),
    /// The log has fewer leaves than it had, and the log's key signed both.
    #[error("the log has shrunk: it had {old} leaves, and has {new}")]
    Shrunk {
        /// How many it had.
        old: u64,
        /// How many it has.
        new: u64,
    },
    /// The path does not lead from one root to the other.
    #[error("the log of {old} leaves is not the beginning of the log of {new}")]
    Forked {
        /// How many the earlier has.
        old: u64,
        /// How many the later has.
        new: u64,
        /// Where the path leads.
        #[source]
        path: MerkleError,
    },
}

impl Growth {
    /// Checks that both notes are of the log whose key this is, and that the earlier is the later's beginning; `path` is
    /// the consistency proof between them (RFC 9162, 2.1.4).
    ///
    /// # Errors
    /// [`GrowthError`] that says which promise the log's keeper did not keep.
    pub fn verify(key: &VerifierKey, old: &str, new: &str, path: &[Hash]) -> Result<Self, GrowthError> {
        let old = Checkpoint::open(old, key).map_err(GrowthError::Old)?;
        let new = Checkpoint::open(new, key).map_err(GrowthError::New)?;
        if new.size < old.size {
            return Err(GrowthError::Shrunk { old: old.size, new: new.size });
        }
        match verify_consistency((old.size, old.root), (new.size, new.root), path) {
            Ok(()) => Ok(Self { old, new }),
            Err(path) => Err(GrowthError::Forked { old: old.size, new: new.size, path }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::merkle::consistency_path;
    use crate::{Frontier, NodeId, NoteSigner};

    /// A log of this many leaves, of which the first says `first`; every node by its id.
    fn log(first: &str, size: usize) -> (Frontier, HashMap<NodeId, Hash>) {
        let (mut frontier, mut nodes) = (Frontier::new(), HashMap::new());
        for leaf in 0..size {
            let text = if leaf == 0 { first.to_owned() } else { leaf.to_string() };
            frontier.append(Hash::of_leaf(text.as_bytes()), |id, hash| _ = nodes.insert(id, hash));
        }
        (frontier, nodes)
    }

    #[test]
    fn growth_is_shown_and_every_broken_promise_is_named() {
        let signer = NoteSigner::new("example.org/log", &[7; 32]).unwrap();
        let (key, stranger) = (signer.verifier_key(), NoteSigner::new("example.org/log", &[8; 32]).unwrap());
        let sign = |frontier: &Frontier| Checkpoint::sign(frontier, &signer).unwrap();
        let ((old, _), (new, nodes), (other, _)) = (log("a", 3), log("a", 7), log("b", 3));
        let path = consistency_path(3, 7, &nodes).unwrap();

        let growth = Growth::verify(&key, &sign(&old), &sign(&new), &path).unwrap();
        assert_eq!((growth.old.size, growth.new.size), (3, 7));
        Growth::verify(&key, &sign(&old), &sign(&old), &[]).unwrap();

        let refused = |old: &str, new: &str| Growth::verify(&key, old, new, &path).unwrap_err();
        assert!(matches!(refused(&sign(&other), &sign(&new)), GrowthError::Forked { old: 3, new: 7, .. }));
        assert!(matches!(refused(&sign(&new), &sign(&old)), GrowthError::Shrunk { old: 7, new: 3 }));
        let foreign = Checkpoint::sign(&new, &stranger).unwrap();
        assert!(matches!(refused(&sign(&old), &foreign), GrowthError::New(_)));
        assert!(matches!(refused("", &sign(&new)), GrowthError::Old(_)));
    }
}
