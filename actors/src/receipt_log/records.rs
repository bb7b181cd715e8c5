//! How a receipt log lies in the store.
//!
//! | key | holds |
//! |---|---|
//! | `("receipts", project, "leaf", hold)` | the leaf's canonical bytes, for good |
//! | `("receipts", project, "pending") versionstamp hold` | the leaf's hash, until it is in the log |
//! | `("receipts", project, "signal")` | changes with each pending leaf; the log's entity watches it |
//! | `("receipts", project, "head")` | size, root, frontier and signed checkpoint of the log |
//! | `("receipts", project, "tile", level, n)` | hashes of 256 nodes of the tree, see [`super::tiles`] |
//! | `("receipts", project, "holds", n)` | the holds of the leaves `256 n ..` |
//! | `("receipts", project, "index", hold)` | the leaf's place in the log, 64 bits, big endian |
//! | `("receipts", project, "anchor", size, chain)` | where the root of this size was anchored |

use steward_receipts::Leaf;
use steward_storage::{StoreError, Subspace, key};
use steward_types::{HoldId, ProjectId};

const VERSIONSTAMP_BYTES: usize = 10;

fn below<T: key::TuplePack>(project: &ProjectId, rest: T) -> Subspace {
    Subspace::from(("receipts", project.as_str())).subspace(&rest)
}

/// Where a project's leaves lie, each under its hold.
pub fn leaves(project: &ProjectId) -> Subspace {
    below(project, "leaf")
}

pub(super) fn leaf(project: &ProjectId, hold: HoldId) -> Vec<u8> {
    leaves(project).pack(&hold.as_bytes().as_slice())
}

/// The prefix of pending leaves. What follows is ten bytes of versionstamp and sixteen of the hold.
pub(super) fn pending(project: &ProjectId) -> Vec<u8> {
    below(project, "pending").bytes().to_vec()
}

pub(super) fn signal(project: &ProjectId) -> Vec<u8> {
    below(project, "signal").bytes().to_vec()
}

pub(super) fn head(project: &ProjectId) -> Vec<u8> {
    below(project, "head").bytes().to_vec()
}

pub(super) fn tile(project: &ProjectId, level: u8, tile: u64) -> Vec<u8> {
    below(project, "tile").pack(&(u64::from(level), tile))
}

pub(super) fn holds(project: &ProjectId, tile: u64) -> Vec<u8> {
    below(project, "holds").pack(&(tile,))
}

pub(super) fn index(project: &ProjectId, hold: HoldId) -> Vec<u8> {
    below(project, "index").pack(&hold.as_bytes().as_slice())
}

pub(super) fn anchors(project: &ProjectId) -> Subspace {
    below(project, "anchor")
}

/// The leaf in a row's value.
///
/// # Errors
/// [`StoreError::Corrupt`] when the bytes are not a leaf.
pub fn decode_leaf(key: &[u8], bytes: &[u8]) -> Result<Leaf, StoreError> {
    Leaf::decode(bytes).map_err(|error| corrupt(key, &error.to_string()))
}

pub(super) fn corrupt(key: &[u8], what: &str) -> StoreError {
    StoreError::Corrupt(format!("receipt row {}: {what}", key.escape_ascii()))
}

/// The hold at the end of the key of a pending leaf.
pub(super) fn pending_hold(project: &ProjectId, key: &[u8]) -> Result<HoldId, StoreError> {
    let hold = key.get(pending(project).len() + VERSIONSTAMP_BYTES..).and_then(|hold| hold.try_into().ok());
    hold.map(HoldId::from_bytes).ok_or_else(|| corrupt(key, "it is no pending leaf"))
}
