//! The transactions that change who owns a shard. Each reads what it relies on in the same transaction, so that of two
//! nodes that want the same one wins, and a node that others took for dead wins nothing.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::try_join_all;
use steward_storage::{Store, StoreError, StoreExt, Txn};
use steward_types::NodeId;
use steward_types::limits::SHARD_BATCH_MAX;

use super::ShardRecord;
use super::record::shard_key;
use crate::member::record::{bump_version, node_key};
use crate::member::{NodeRecord, NodeState};

/// One life of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
}

/// A shard as last seen, and whose it is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) shard: u32,
    pub(crate) seen: Option<ShardRecord>,
    pub(crate) to: NodeId,
}

/// Claims shards that have no living owner, or that are this node's own under an epoch that it has given up. What
/// others changed meanwhile is left to them. Gives back how many were claimed.
pub(crate) async fn claim(store: &dyn Store, me: Life, changes: &[Change]) -> Result<usize, StoreError> {
    in_batches(store, me, changes, Kind::Claim).await
}

/// Hands this node's own shards to others that are up. Gives back how many were handed over.
pub(crate) async fn hand_over(store: &dyn Store, me: Life, changes: &[Change]) -> Result<usize, StoreError> {
    in_batches(store, me, changes, Kind::HandOver).await
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Claim,
    HandOver,
}

async fn in_batches(store: &dyn Store, me: Life, changes: &[Change], kind: Kind) -> Result<usize, StoreError> {
    let mut changed = 0;
    for batch in changes.chunks(SHARD_BATCH_MAX) {
        changed += store.run(|txn| apply(txn, me, batch.to_vec(), kind)).await?;
    }
    Ok(changed)
}

async fn apply(txn: Txn, me: Life, batch: Vec<Change>, kind: Kind) -> Result<usize, StoreError> {
    let nodes: BTreeSet<NodeId> =
        batch.iter().flat_map(|change| [Some(change.to), change.seen.map(|seen| seen.owner)]).flatten().collect();
    let nodes: Vec<NodeId> = nodes.into_iter().chain([me.node]).collect();
    let records = try_join_all(nodes.iter().map(|&node| living(&txn, node))).await?;
    let living: BTreeMap<NodeId, NodeRecord> = records.into_iter().flatten().map(|node| (node.id, node)).collect();
    if living.get(&me.node).is_none_or(|node| node.incarnation != me.incarnation) {
        return Ok(0);
    }
    let keys: Vec<Vec<u8>> = batch.iter().map(|change| shard_key(change.shard)).collect();
    let found = try_join_all(keys.iter().map(|key| txn.load::<ShardRecord>(key))).await?;
    let mut changed = 0;
    for ((change, key), found) in batch.iter().zip(&keys).zip(found) {
        let Some(incarnation) = kind.allows(me, change, &living).filter(|_| found == change.seen) else { continue };
        let epoch = found.map_or(0, |record| record.epoch) + 1;
        txn.save(key, &ShardRecord { owner: change.to, incarnation, epoch })?;
        changed += 1;
    }
    if changed > 0 {
        bump_version(&txn)?;
    }
    Ok(changed)
}

impl Kind {
    /// The new owner's incarnation, when the change may be made.
    fn allows(self, me: Life, change: &Change, living: &BTreeMap<NodeId, NodeRecord>) -> Option<u64> {
        let mine = |seen: ShardRecord| seen.owner == me.node && seen.incarnation == me.incarnation;
        match self {
            Self::Claim => {
                let owned = |seen: ShardRecord| {
                    !mine(seen) && living.get(&seen.owner).is_some_and(|node| node.incarnation == seen.incarnation)
                };
                (change.to == me.node && !change.seen.is_some_and(owned)).then_some(me.incarnation)
            }
            Self::HandOver => {
                let target = living.get(&change.to).filter(|node| node.state == NodeState::Up)?;
                change.seen.is_some_and(mine).then_some(target.incarnation)
            }
        }
    }
}

async fn living(txn: &Txn, node: NodeId) -> Result<Option<NodeRecord>, StoreError> {
    let record = txn.load::<NodeRecord>(&node_key(node)).await?;
    Ok(record.filter(|record| record.state.is_alive()))
}
