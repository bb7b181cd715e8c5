//! Members and shards as values that the admin shell prints.

use serde::Serialize;
use steward_types::NodeId;

use super::NodeRecord;
use crate::shard::View;

/// A node and what it carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemberSnapshot {
    /// What the store keeps of it.
    #[serde(flatten)]
    pub node: NodeRecord,
    /// Shards that it owns.
    pub shards: usize,
    /// Shards that it should own.
    pub shards_planned: usize,
    /// Whether it is the node that was asked.
    pub is_this: bool,
}

/// A shard and whose it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardSnapshot {
    /// Its number.
    pub shard: u32,
    /// Who owns it; nobody when the owner is gone and no other has taken it yet.
    pub owner: Option<NodeId>,
    /// How often it has changed hands.
    pub epoch: u64,
    /// Where it should be.
    pub target: Option<NodeId>,
    /// Where an operator wants it.
    pub pinned: Option<NodeId>,
}

pub(crate) fn members(view: &View, me: NodeId) -> Vec<MemberSnapshot> {
    let member = |node: &NodeRecord| {
        let owned = |record: &&_| view.is_living(record) && record.owner == node.id;
        MemberSnapshot {
            node: node.clone(),
            shards: view.shards.iter().flatten().filter(owned).count(),
            shards_planned: view.plan.iter().filter(|target| **target == Some(node.id)).count(),
            is_this: node.id == me,
        }
    };
    view.members.values().map(member).collect()
}

pub(crate) fn shards(view: &View) -> Vec<ShardSnapshot> {
    let snapshot = |(shard, record): (u32, &Option<crate::shard::ShardRecord>)| ShardSnapshot {
        shard,
        owner: record.filter(|record| view.is_living(record)).map(|record| record.owner),
        epoch: record.map_or(0, |record| record.epoch),
        target: view.target(shard),
        pinned: view.pins.get(&shard).copied(),
    };
    (0..).zip(&view.shards).map(snapshot).collect()
}
