//! The transactions that change who is a member and what it is.

use steward_actors::audit::{self, AuditEntry};
use steward_storage::{Isolation, RangeRead, Store, StoreError, StoreExt, Txn};
use steward_types::limits::{NODES_GONE_MAX, SHARDS};
use steward_types::{NodeId, Timestamp};

use super::record::{Shape, beat_key, bump_version, node_key, nodes, read_counter, shape_key};
use super::silence::Heard;
use super::{ClusterError, NodeRecord, NodeState};
use crate::shard::ownership::Life;
use crate::shard::record::{Pin, pin_key, pins};

/// Makes `record` a member. A node that joins again names its `former` life, and is refused when another process has
/// joined under its id since.
pub(super) async fn register(store: &dyn Store, record: &NodeRecord, former: Option<u64>) -> Result<(), ClusterError> {
    store
        .run(|txn| {
            let record = record.clone();
            async move {
                let key = node_key(record.id);
                let found = txn.load::<NodeRecord>(&key).await?;
                let known =
                    |found: &NodeRecord| Some(found.incarnation) == former || found.incarnation == record.incarnation;
                if former.is_some() && found.as_ref().is_some_and(|found| !known(found)) {
                    return Err(ClusterError::Replaced);
                }
                txn.save(&key, &record)?;
                forget_oldest(&txn, record.id).await?;
                Ok(bump_version(&txn)?)
            }
        })
        .await
}

/// How many shards the cluster has: what its first member asked for, [`SHARDS`] where that asked for nothing.
pub(super) async fn agree_on_shards(store: &dyn Store, asked: Option<u32>) -> Result<u32, ClusterError> {
    store
        .run(|txn| async move {
            let has = match txn.load::<Shape>(&shape_key()).await? {
                Some(Shape { shards }) => shards,
                None => {
                    // A cluster that began under an earlier release has members and does not say.
                    let members = txn.scan::<NodeRecord>(RangeRead::subspace(&nodes()).limit(1)).await?;
                    let shards = asked.filter(|_| members.rows.is_empty()).unwrap_or(SHARDS);
                    txn.save(&shape_key(), &Shape { shards })?;
                    shards
                }
            };
            match asked {
                Some(asked) if asked != has => Err(ClusterError::OtherShards { asked, has }),
                _ => Ok(has),
            }
        })
        .await
}

/// Removes records of nodes that are gone, when there are more of them than are worth keeping.
async fn forget_oldest(txn: &Txn, joining: NodeId) -> Result<(), StoreError> {
    let mut gone: Vec<(Timestamp, NodeId)> = Vec::new();
    let mut range = Some(RangeRead::subspace(&nodes()).snapshot());
    while let Some(rest) = range {
        let page = txn.scan::<NodeRecord>(rest).await?;
        let dead = page.rows.into_iter().map(|(_, node)| node).filter(|node| !node.state.is_alive());
        gone.extend(dead.filter(|node| node.id != joining).map(|node| (node.changed_at, node.id)));
        range = page.rest;
    }
    gone.sort_unstable();
    let surplus = gone.len().saturating_sub(NODES_GONE_MAX);
    for &(_, node) in &gone[..surplus] {
        txn.clear(&node_key(node))?;
        txn.clear(&beat_key(node))?;
    }
    Ok(())
}

/// Changes the state of one life of a node.
pub(super) async fn set_state(
    store: &dyn Store,
    life: Life,
    state: NodeState,
    now: Timestamp,
) -> Result<(), ClusterError> {
    store
        .run(|txn| async move {
            let record = txn.load::<NodeRecord>(&node_key(life.node)).await?;
            let mut record = record.ok_or(ClusterError::UnknownNode(life.node))?;
            if record.incarnation != life.incarnation {
                return Err(ClusterError::Replaced);
            }
            if record.state == state {
                return Ok(());
            }
            if !record.state.is_alive() {
                return Err(ClusterError::NotUp { node: life.node, state: record.state });
            }
            retire_pins(&txn, life.node, state).await?;
            record.state = state;
            record.changed_at = now;
            txn.save(&node_key(life.node), &record)?;
            Ok(bump_version(&txn)?)
        })
        .await
}

/// Takes a node for dead that has been silent, unless it has beaten since: says whether it did.
pub(super) async fn evict_silent(store: &dyn Store, silent: Heard, now: Timestamp) -> Result<bool, StoreError> {
    store
        .run(|txn| async move {
            let key = node_key(silent.node);
            let Some(record) = txn.load::<NodeRecord>(&key).await? else { return Ok(false) };
            // Read so that a beat which commits at the same time makes this fail.
            let counter = read_counter(&txn, &beat_key(silent.node), Isolation::Serializable).await?;
            let same = record.incarnation == silent.incarnation && counter == silent.counter;
            if !same || !record.state.is_alive() {
                return Ok(false);
            }
            put_down(&txn, record, now).await?;
            Ok(true)
        })
        .await
}

/// Takes a node for dead because an operator says so.
pub(super) async fn evict(
    store: &dyn Store,
    node: NodeId,
    now: Timestamp,
    entry: Option<&AuditEntry>,
) -> Result<(), ClusterError> {
    store
        .run(|txn| async move {
            record(&txn, entry)?;
            let record = txn.load::<NodeRecord>(&node_key(node)).await?.ok_or(ClusterError::UnknownNode(node))?;
            if record.state.is_alive() { Ok(put_down(&txn, record, now).await?) } else { Ok(()) }
        })
        .await
}

async fn put_down(txn: &Txn, mut record: NodeRecord, now: Timestamp) -> Result<(), StoreError> {
    retire_pins(txn, record.id, NodeState::Down).await?;
    record.state = NodeState::Down;
    record.changed_at = now;
    txn.save(&node_key(record.id), &record)?;
    bump_version(txn)
}

/// What was pinned to a node that is gone may go anywhere.
async fn retire_pins(txn: &Txn, node: NodeId, state: NodeState) -> Result<(), StoreError> {
    if state.is_alive() {
        return Ok(());
    }
    let mut range = Some(RangeRead::subspace(&pins()));
    while let Some(rest) = range {
        let page = txn.scan::<Pin>(rest).await?;
        for (key, _) in page.rows.iter().filter(|(_, pin)| pin.node == node) {
            txn.clear(key)?;
        }
        range = page.rest;
    }
    Ok(())
}

/// Pins a shard to a node, or sets it free.
pub(super) async fn pin(
    store: &dyn Store,
    shard: u32,
    to: Option<NodeId>,
    entry: Option<&AuditEntry>,
) -> Result<(), ClusterError> {
    store
        .run(|txn| async move {
            record(&txn, entry)?;
            let Some(node) = to else {
                txn.clear(&pin_key(shard))?;
                return Ok(bump_version(&txn)?);
            };
            let record = txn.load::<NodeRecord>(&node_key(node)).await?.ok_or(ClusterError::UnknownNode(node))?;
            if record.state != NodeState::Up {
                return Err(ClusterError::NotUp { node, state: record.state });
            }
            txn.save(&pin_key(shard), &Pin { node })?;
            Ok(bump_version(&txn)?)
        })
        .await
}

fn record(txn: &Txn, entry: Option<&AuditEntry>) -> Result<(), StoreError> {
    entry.map_or(Ok(()), |entry| audit::record(txn, entry))
}

/// What one beat found.
#[derive(Debug)]
pub(super) enum Beat {
    /// The beat is written.
    Written {
        /// The version of the cluster's state.
        version: u64,
        /// The beats of the nodes that this one listens to.
        heard: Vec<Heard>,
    },
    /// The node is no member any more, in this life. Nothing is written.
    Evicted,
}

/// Writes a beat, and reads those of others and the version of the state: all that an idle node does.
pub(super) async fn beat(store: &dyn Store, life: Life, listened: &[Life]) -> Result<Beat, StoreError> {
    let txn = store.begin();
    let counters = listened.iter().map(|other| {
        let txn = &txn;
        async move {
            let counter = read_counter(txn, &beat_key(other.node), Isolation::Snapshot).await?;
            Ok::<_, StoreError>(Heard { node: other.node, incarnation: other.incarnation, counter })
        }
    });
    // All reads at once: what a beat takes is time that a node is not sure of its leases.
    let (key, version) = (node_key(life.node), super::record::version_key());
    let (record, heard, version) = futures::try_join!(
        txn.load_snapshot::<NodeRecord>(&key),
        futures::future::try_join_all(counters),
        read_counter(&txn, &version, Isolation::Snapshot),
    )?;
    if record.is_none_or(|record| record.incarnation != life.incarnation || !record.state.is_alive()) {
        return Ok(Beat::Evicted);
    }
    txn.atomic(&beat_key(life.node), steward_storage::AtomicOp::Add, 1)?;
    txn.commit().await?;
    Ok(Beat::Written { version, heard })
}
