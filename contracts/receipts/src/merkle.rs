//! The Merkle tree of RFC 9162, section 2.1: appended to through its frontier, proven from stored nodes, verified from
//! nothing but hashes.
//!
//! Only nodes of complete subtrees are ever stored; they never change once written. Nodes of the ragged right edge
//! are computed when they are needed.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Hash;

mod consistency;
mod inclusion;

pub use consistency::{consistency_nodes, consistency_path, verify_consistency};
pub use inclusion::{inclusion_nodes, inclusion_path, root_from_inclusion, verify_inclusion};

/// A node of a complete subtree: it covers the leaves `index << level .. (index + 1) << level`. A leaf has level 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId {
    /// Its height above the leaves.
    pub level: u8,
    /// Its place among the nodes of its level.
    pub index: u64,
}

/// Where stored nodes come from.
pub trait NodeSource {
    /// The hash of a node, if it is there.
    fn node(&self, id: NodeId) -> Option<Hash>;
}

/// The complete subtrees that make up a tree, largest first: all that appending and the root need.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "StoredFrontier", into = "StoredFrontier")]
pub struct Frontier {
    size: u64,
    peaks: Vec<Hash>,
}

/// What can be wrong with a tree or a proof about it.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum MerkleError {
    /// There is no such leaf.
    #[error("there is no leaf {index} in a tree of {size}")]
    IndexOutOfRange {
        /// The index that was asked for.
        index: u64,
        /// The size of the tree.
        size: u64,
    },
    /// A tree is not consistent with a larger past.
    #[error("a tree of {new_size} cannot follow a tree of {old_size}")]
    Shrunk {
        /// The earlier size.
        old_size: u64,
        /// The later size.
        new_size: u64,
    },
    /// A stored node is not there.
    #[error("the log has no node {index} at level {level}")]
    NodeMissing {
        /// Its height.
        level: u8,
        /// Its place on the level.
        index: u64,
    },
    /// A path is longer or shorter than it must be.
    #[error("the path has {found} hashes where a tree of this size needs {expected}")]
    PathLength {
        /// How many the path has.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
    /// The hashes lead to another root.
    #[error("the path leads to the root {computed} and not to {expected}")]
    RootMismatch {
        /// The root that the path leads to.
        computed: Hash,
        /// The root that was to be reached.
        expected: Hash,
    },
    /// A frontier does not have one peak for each bit of its size.
    #[error("a frontier of {size} leaves cannot have {peaks} peaks")]
    FrontierMalformed {
        /// How many leaves it claims.
        size: u64,
        /// How many peaks it has.
        peaks: usize,
    },
}

impl Frontier {
    /// The frontier of the tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// From its stored parts.
    ///
    /// # Errors
    /// [`MerkleError::FrontierMalformed`] when there is not one peak for each bit of the size.
    pub fn from_parts(size: u64, peaks: Vec<Hash>) -> Result<Self, MerkleError> {
        if peaks.len() == size.count_ones() as usize {
            Ok(Self { size, peaks })
        } else {
            Err(MerkleError::FrontierMalformed { size, peaks: peaks.len() })
        }
    }

    /// How many leaves the tree has.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the complete subtrees, largest first.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Appends the hash of a leaf and returns its index. `write` is given each node that is complete now, the leaf
    /// first; all of them must be kept, or proofs will lack them.
    pub fn append(&mut self, leaf_hash: Hash, mut write: impl FnMut(NodeId, Hash)) -> u64 {
        let index = self.size;
        let mut node = NodeId { level: 0, index };
        let mut hash = leaf_hash;
        write(node, hash);
        while node.index & 1 == 1 {
            let left = self.peaks.pop().expect("there is a peak for each bit of the size");
            hash = Hash::of_children(&left, &hash);
            node = NodeId { level: node.level + 1, index: node.index >> 1 };
            write(node, hash);
        }
        self.peaks.push(hash);
        self.size += 1;
        index
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        join(&self.peaks)
    }
}

impl NodeSource for HashMap<NodeId, Hash> {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.get(&id).copied()
    }
}

impl NodeSource for BTreeMap<NodeId, Hash> {
    fn node(&self, id: NodeId) -> Option<Hash> {
        self.get(&id).copied()
    }
}

/// The nodes from which the root of a tree of `size` can be computed, left to right.
pub fn root_nodes(size: u64) -> Vec<NodeId> {
    cover(Span { start: 0, end: size })
}

/// The root that the log had when it held `size` leaves, from stored nodes.
///
/// # Errors
/// [`MerkleError::NodeMissing`].
pub fn root_at(size: u64, nodes: &dyn NodeSource) -> Result<Hash, MerkleError> {
    hash_span(Span { start: 0, end: size }, nodes)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredFrontier {
    size: u64,
    peaks: Vec<Hash>,
}

impl TryFrom<StoredFrontier> for Frontier {
    type Error = MerkleError;

    fn try_from(stored: StoredFrontier) -> Result<Self, MerkleError> {
        Self::from_parts(stored.size, stored.peaks)
    }
}

impl From<Frontier> for StoredFrontier {
    fn from(frontier: Frontier) -> Self {
        Self { size: frontier.size, peaks: frontier.peaks }
    }
}

/// The leaves `start..end` of a subtree, as RFC 9162 writes D[start:end].
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
}

impl Span {
    const fn len(self) -> u64 {
        self.end - self.start
    }

    /// The two halves: the left has the largest power of two of leaves that is smaller than the whole.
    const fn split(self) -> (Self, Self) {
        let middle = self.start + (1 << (self.len() - 1).ilog2());
        (Self { start: self.start, end: middle }, Self { start: middle, end: self.end })
    }
}

/// The complete subtrees that make up a span that starts where a subtree starts.
fn cover(span: Span) -> Vec<NodeId> {
    let mut nodes = Vec::new();
    let mut start = span.start;
    while start < span.end {
        let level = (span.end - start).ilog2();
        nodes.push(NodeId { level: level as u8, index: start >> level });
        start += 1 << level;
    }
    nodes
}

/// The hash of a span from stored nodes.
fn hash_span(span: Span, nodes: &dyn NodeSource) -> Result<Hash, MerkleError> {
    let find = |id: NodeId| nodes.node(id).ok_or(MerkleError::NodeMissing { level: id.level, index: id.index });
    let hashes = cover(span).into_iter().map(find).collect::<Result<Vec<_>, _>>()?;
    Ok(join(&hashes))
}

/// The hash over complete subtrees, largest first: each is the left sibling of all that is right of it.
fn join(peaks: &[Hash]) -> Hash {
    let joined = peaks.iter().rev().copied().reduce(|right, left| Hash::of_children(&left, &right));
    joined.unwrap_or_else(Hash::of_empty_tree)
}

#[cfg(test)]
mod tests;
