//! What the store keeps of a shard, and under which keys.

use serde::{Deserialize, Serialize};
use steward_storage::{Record, Subspace};
use steward_types::NodeId;

/// Who owns a shard. Each change of hands raises the epoch, and the epoch is what fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ShardRecord {
    /// The owner.
    pub owner: NodeId,
    /// Which life of the owner's: see [`NodeRecord::incarnation`](crate::member::NodeRecord::incarnation).
    pub incarnation: u64,
    /// How often the shard has changed hands. It never falls.
    pub epoch: u64,
}

impl Record for ShardRecord {
    const NAME: &'static str = "shard";
    const VERSION: u16 = 1;
}

/// An operator's wish that a shard be on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// Where the shard should be for as long as that node is up.
    pub node: NodeId,
}

impl Record for Pin {
    const NAME: &'static str = "pinned shard";
    const VERSION: u16 = 1;
}

pub(crate) fn shards() -> Subspace {
    Subspace::from(("cluster", "shard"))
}

pub(crate) fn shard_key(shard: u32) -> Vec<u8> {
    shards().pack(&shard)
}

pub(crate) fn pins() -> Subspace {
    Subspace::from(("cluster", "pin"))
}

pub(crate) fn pin_key(shard: u32) -> Vec<u8> {
    pins().pack(&shard)
}
