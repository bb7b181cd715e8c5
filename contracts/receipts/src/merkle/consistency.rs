//! Proofs that a tree is an append-only continuation of a smaller one: RFC 9162, section 2.1.4.

use super::{MerkleError, NodeId, NodeSource, Span, cover, hash_span};
use crate::Hash;

/// The stored nodes that [`consistency_path`] will ask for, so that they can be fetched together beforehand.
///
/// # Errors
/// [`MerkleError::Shrunk`].
pub fn consistency_nodes(old_size: u64, new_size: u64) -> Result<Vec<NodeId>, MerkleError> {
    Ok(spans(old_size, new_size)?.into_iter().flat_map(cover).collect())
}

/// The proof that the tree of `new_size` begins with the tree of `old_size`. Empty when the sizes are equal or the
/// old tree is empty.
///
/// # Errors
/// [`MerkleError::Shrunk`], [`MerkleError::NodeMissing`].
pub fn consistency_path(old_size: u64, new_size: u64, nodes: &dyn NodeSource) -> Result<Vec<Hash>, MerkleError> {
    spans(old_size, new_size)?.into_iter().map(|span| hash_span(span, nodes)).collect()
}

/// Checks that the tree with `new_root` begins with the tree with `old_root`.
///
/// # Errors
/// [`MerkleError`] that says what is wrong.
pub fn verify_consistency(
    (old_size, old_root): (u64, Hash),
    (new_size, new_root): (u64, Hash),
    path: &[Hash],
) -> Result<(), MerkleError> {
    let expected = spans(old_size, new_size)?.len();
    if path.len() != expected {
        return Err(MerkleError::PathLength { found: path.len(), expected });
    }
    if old_size == 0 {
        return same(Hash::of_empty_tree(), old_root);
    }
    if old_size == new_size {
        return same(old_root, new_root);
    }
    let (old, new) = climb(old_size, new_size, old_root, path);
    same(old, old_root)?;
    same(new, new_root)
}

fn same(computed: Hash, expected: Hash) -> Result<(), MerkleError> {
    if computed == expected { Ok(()) } else { Err(MerkleError::RootMismatch { computed, expected }) }
}

/// The roots of the old and the new tree that the path leads to: the algorithm of RFC 9162, section 2.1.4.2. The path
/// must have the right length.
fn climb(old_size: u64, new_size: u64, old_root: Hash, path: &[Hash]) -> (Hash, Hash) {
    let (mut old_node, mut new_node) = (old_size - 1, new_size - 1);
    let complete_levels = old_node.trailing_ones();
    old_node >>= complete_levels;
    new_node >>= complete_levels;
    // When the old tree is one complete subtree its root is where both climbs begin, and the path leaves it out.
    let (start, path) = if old_size.is_power_of_two() { (old_root, path) } else { (path[0], &path[1..]) };
    let (mut old, mut new) = (start, start);
    for hash in path {
        if old_node & 1 == 1 || old_node == new_node {
            old = Hash::of_children(hash, &old);
            new = Hash::of_children(hash, &new);
            while old_node & 1 == 0 && old_node != 0 {
                old_node >>= 1;
                new_node >>= 1;
            }
        } else {
            new = Hash::of_children(&new, hash);
        }
        old_node >>= 1;
        new_node >>= 1;
    }
    (old, new)
}

/// The spans whose hashes make the proof, lowest first: SUBPROOF of RFC 9162, section 2.1.4.1.
fn spans(old_size: u64, new_size: u64) -> Result<Vec<Span>, MerkleError> {
    if old_size > new_size {
        return Err(MerkleError::Shrunk { old_size, new_size });
    }
    if old_size == 0 {
        return Ok(Vec::new());
    }
    let mut spans = Vec::new();
    let mut span = Span { start: 0, end: new_size };
    while span.end != old_size {
        let (left, right) = span.split();
        let (inside, other) = if old_size <= left.end { (left, right) } else { (right, left) };
        spans.push(other);
        span = inside;
    }
    // The subtree that ends where the old tree ends; the verifier knows it only when it is the whole old tree.
    if span.start != 0 {
        spans.push(span);
    }
    spans.reverse();
    Ok(spans)
}
