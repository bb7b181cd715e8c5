//! Proofs that a leaf is in the tree: RFC 9162, section 2.1.3.

use super::{MerkleError, NodeId, NodeSource, Span, cover, hash_span};
use crate::Hash;

/// The stored nodes that [`inclusion_path`] will ask for, so that they can be fetched together beforehand.
///
/// # Errors
/// [`MerkleError::IndexOutOfRange`].
pub fn inclusion_nodes(index: u64, size: u64) -> Result<Vec<NodeId>, MerkleError> {
    Ok(siblings(index, size)?.into_iter().flat_map(cover).collect())
}

/// The path from leaf `index` to the root of the tree of `size`: the sibling on each level, lowest first.
///
/// # Errors
/// [`MerkleError::IndexOutOfRange`], [`MerkleError::NodeMissing`].
pub fn inclusion_path(index: u64, size: u64, nodes: &dyn NodeSource) -> Result<Vec<Hash>, MerkleError> {
    siblings(index, size)?.into_iter().map(|span| hash_span(span, nodes)).collect()
}

/// The root that a path leads to from a leaf's hash.
///
/// # Errors
/// [`MerkleError::IndexOutOfRange`], [`MerkleError::PathLength`].
pub fn root_from_inclusion(leaf_hash: Hash, index: u64, size: u64, path: &[Hash]) -> Result<Hash, MerkleError> {
    let spans = siblings(index, size)?;
    if spans.len() != path.len() {
        return Err(MerkleError::PathLength { found: path.len(), expected: spans.len() });
    }
    let climb = |hash, (span, sibling): (&Span, &Hash)| {
        if span.start > index { Hash::of_children(&hash, sibling) } else { Hash::of_children(sibling, &hash) }
    };
    Ok(spans.iter().zip(path).fold(leaf_hash, climb))
}

/// Checks that the leaf is number `index` in the tree of `size` whose root is `root`.
///
/// # Errors
/// [`MerkleError`] that says what is wrong.
pub fn verify_inclusion(leaf_hash: Hash, index: u64, size: u64, path: &[Hash], root: Hash) -> Result<(), MerkleError> {
    let computed = root_from_inclusion(leaf_hash, index, size, path)?;
    if computed == root { Ok(()) } else { Err(MerkleError::RootMismatch { computed, expected: root }) }
}

/// The spans of the siblings on the way from the leaf to the root, lowest first.
fn siblings(index: u64, size: u64) -> Result<Vec<Span>, MerkleError> {
    if index >= size {
        return Err(MerkleError::IndexOutOfRange { index, size });
    }
    let mut spans = Vec::new();
    let mut span = Span { start: 0, end: size };
    while span.len() > 1 {
        let (left, right) = span.split();
        let (inside, sibling) = if index < left.end { (left, right) } else { (right, left) };
        spans.push(sibling);
        span = inside;
    }
    spans.reverse();
    Ok(spans)
}
