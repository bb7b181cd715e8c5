//! What the store keeps of a cluster and its nodes, and under which keys.
//!
//! | key | holds |
//! |---|---|
//! | `("cluster", "shape")` | what the cluster began with: its number of shards |
//! | `("cluster", "node", id)` | a node |
//! | `("cluster", "beat", id)` | how often the node has beaten |
//! | `("cluster", "version")` | how often nodes, shards or pins have changed |

use serde::{Deserialize, Serialize};
use steward_storage::{AtomicOp, Isolation, Record, StoreError, Subspace, Txn, key};
use steward_types::{NodeId, Timestamp};

/// What a node is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It is there and gets no shards yet.
    Joining,
    /// It takes its share.
    Up,
    /// It gives its shards away and gets no new ones.
    Draining,
    /// It went in order.
    Left,
    /// Others found it silent, or an operator said so. If it lives, it joins again by itself.
    Down,
}

impl NodeState {
    /// Whether the node may own shards.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Joining | Self::Up | Self::Draining)
    }
}

/// One node, as all see it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Who it is.
    pub id: NodeId,
    /// A random number, new whenever it joins: what it owned before is nobody's.
    pub incarnation: u64,
    /// Where other nodes reach it.
    pub link_address: String,
    /// Where clients reach it.
    pub api_address: String,
    /// What fails together with it, such as a data centre; empty when that is not said.
    pub zone: String,
    /// Its share of the shards, compared with other nodes' weights.
    pub weight: u32,
    /// The release that it runs, such as "0.1.0".
    pub version: String,
    /// What it is.
    pub state: NodeState,
    /// When it joined, by its own wall clock.
    pub joined_at: Timestamp,
    /// When the state last changed, by the wall clock of whoever changed it.
    pub changed_at: Timestamp,
}

impl Record for NodeRecord {
    const NAME: &'static str = "node";
    const VERSION: u16 = 1;
}

/// What a cluster began with and keeps for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shape {
    /// How many shards it has.
    pub shards: u32,
}

impl Record for Shape {
    const NAME: &'static str = "cluster shape";
    const VERSION: u16 = 1;
}

pub(crate) fn shape_key() -> Vec<u8> {
    key::pack(&("cluster", "shape"))
}

pub(crate) fn nodes() -> Subspace {
    Subspace::from(("cluster", "node"))
}

pub(crate) fn node_key(id: NodeId) -> Vec<u8> {
    nodes().pack(&id.to_string())
}

pub(crate) fn beat_key(id: NodeId) -> Vec<u8> {
    key::pack(&("cluster", "beat", id.to_string()))
}

/// A counter that each change of nodes, shards or pins raises, so that one watch sees them all.
pub(crate) fn version_key() -> Vec<u8> {
    key::pack(&("cluster", "version"))
}

pub(crate) fn bump_version(txn: &Txn) -> Result<(), StoreError> {
    txn.atomic(&version_key(), AtomicOp::Add, 1)
}

/// A counter's value; a missing one is zero.
pub(crate) async fn read_counter(txn: &Txn, key: &[u8], read: Isolation) -> Result<u64, StoreError> {
    let Some(bytes) = txn.get(key, read).await? else { return Ok(0) };
    let word = <[u8; 8]>::try_from(bytes.as_ref());
    word.map(u64::from_le_bytes).map_err(|_| StoreError::Corrupt(format!("counter {}", key.escape_ascii())))
}
