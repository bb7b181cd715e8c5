//! The cluster's state as one transaction read it, and the plan that follows from it.

use std::collections::BTreeMap;

use steward_storage::{Isolation, RangeRead, Record, StoreError, Subspace, Txn, key};
use steward_types::NodeId;

use super::ShardRecord;
use super::record::{Pin, pins, shards};
use crate::member::record::{nodes, read_counter, version_key};
use crate::member::{NodeRecord, NodeState};
use crate::placement::{Member, Release, place};

/// Members, shards, pins and the plan at one moment.
#[derive(Debug, Clone, Default)]
pub struct View {
    /// Raised by each change; see the state of a newer one before acting on an older.
    pub version: u64,
    /// All that the store knows of, those that are gone included.
    pub members: BTreeMap<NodeId, NodeRecord>,
    /// The owner of each shard, by its number.
    pub shards: Vec<Option<ShardRecord>>,
    /// Shards that an operator has put somewhere.
    pub pins: BTreeMap<u32, NodeId>,
    /// Where each shard should be.
    pub plan: Vec<Option<NodeId>>,
}

impl View {
    /// Reads the state of a cluster of `count` shards; conflicts with nothing.
    pub(crate) async fn load(txn: &Txn, count: u32) -> Result<Self, StoreError> {
        let version = read_counter(txn, &version_key(), Isolation::Snapshot).await?;
        let members = scan::<NodeRecord>(txn, &nodes(), Isolation::Snapshot).await?;
        let members = members.into_iter().map(|(_, record)| (record.id, record)).collect();
        let mut view = Self { version, members, shards: vec![None; count as usize], ..Self::default() };
        for (row, record) in scan::<ShardRecord>(txn, &shards(), Isolation::Snapshot).await? {
            let (shard,): (u32,) = key::unpack_below(&shards(), &row)?;
            if let Some(slot) = view.shards.get_mut(shard as usize) {
                *slot = Some(record);
            }
        }
        for (row, pin) in scan::<Pin>(txn, &pins(), Isolation::Snapshot).await? {
            let (shard,): (u32,) = key::unpack_below(&pins(), &row)?;
            view.pins.insert(shard, pin.node);
        }
        view.plan = view.plan();
        Ok(view)
    }

    fn plan(&self) -> Vec<Option<NodeId>> {
        let members: Vec<Member> = self.members.values().map(member).collect();
        let current: Vec<Option<NodeId>> =
            self.shards.iter().map(|record| self.living_owner(record.as_ref())).collect();
        place(&members, &current, &self.pins)
    }

    fn living_owner(&self, record: Option<&ShardRecord>) -> Option<NodeId> {
        record.filter(|record| self.is_living(record)).map(|record| record.owner)
    }

    /// Whether the owner that a record names may still own anything.
    pub fn is_living(&self, record: &ShardRecord) -> bool {
        let owner = self.members.get(&record.owner);
        owner.is_some_and(|node| node.incarnation == record.incarnation && node.state.is_alive())
    }

    /// A shard's record.
    pub fn shard(&self, shard: u32) -> Option<&ShardRecord> {
        self.shards.get(shard as usize)?.as_ref()
    }

    /// Where a shard should be.
    pub fn target(&self, shard: u32) -> Option<NodeId> {
        *self.plan.get(shard as usize)?
    }

    /// How many nodes other than `me` are up.
    pub fn others_up(&self, me: NodeId) -> usize {
        self.members.values().filter(|node| node.id != me && node.state == NodeState::Up).count()
    }

    /// How many nodes have shards that should be elsewhere.
    pub fn movers(&self) -> usize {
        let moving = |(record, target): (&Option<ShardRecord>, &Option<NodeId>)| {
            let record = record.as_ref().filter(|record| self.is_living(record))?;
            target.is_some_and(|target| target != record.owner).then_some(record.owner)
        };
        let movers: std::collections::BTreeSet<NodeId> =
            self.shards.iter().zip(&self.plan).filter_map(moving).collect();
        movers.len()
    }
}

fn member(record: &NodeRecord) -> Member {
    let release = Release::parse(&record.version);
    Member { id: record.id, weight: record.weight, zone: record.zone.clone(), release, state: record.state }
}

/// Every record of a subspace.
pub(crate) async fn scan<R: Record>(
    txn: &Txn,
    subspace: &Subspace,
    isolation: Isolation,
) -> Result<Vec<(bytes::Bytes, R)>, StoreError> {
    let mut rows = Vec::new();
    let mut range = Some(RangeRead { isolation, ..RangeRead::subspace(subspace) });
    while let Some(rest) = range {
        let page = txn.scan::<R>(rest).await?;
        rows.extend(page.rows);
        range = page.rest;
    }
    Ok(rows)
}
