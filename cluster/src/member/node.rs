//! What the tasks of one node share, and what they do to its holdings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use steward_storage::Store;
use steward_types::{Clock, Entropy};

use super::cluster::ClusterConfig;
use super::register::register;
use super::{ClusterError, NodeRecord, NodeState, ShardHooks};
use crate::shard::ShardMap;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) config: ClusterConfig,
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) entropy: Arc<dyn Entropy>,
    pub(super) hooks: Arc<dyn ShardHooks>,
    pub(super) map: ShardMap,
    /// The incarnation of an attempt to join that has not been seen to succeed; zero when there is none.
    pub(super) attempt: AtomicU64,
    /// Kept over a new life: a node that was told to drain goes on draining.
    pub(super) draining: AtomicBool,
    /// Another process has this node's id. There is no way back.
    pub(super) replaced: AtomicBool,
}

impl Node {
    /// Joins, with a new incarnation: in the first life as joining, later as whatever it was to be.
    pub(super) async fn register(&self, former: Option<u64>) -> Result<(), ClusterError> {
        let state = match former {
            None => NodeState::Joining,
            Some(_) if self.draining.load(Ordering::Acquire) => NodeState::Draining,
            Some(_) => NodeState::Up,
        };
        // The same number until an attempt has been seen to succeed, because a failed one may have committed.
        let attempt = match self.attempt.load(Ordering::Acquire) {
            0 => self.entropy.next_u64() | 1,
            attempt => attempt,
        };
        self.attempt.store(attempt, Ordering::Release);
        let identity = &self.config.identity;
        let now = self.clock.now();
        let record = NodeRecord {
            id: identity.id,
            incarnation: attempt,
            link_address: identity.link_address.clone(),
            api_address: identity.api_address.clone(),
            zone: identity.zone.clone(),
            weight: identity.weight,
            version: identity.version.clone(),
            state,
            joined_at: now,
            changed_at: now,
        };
        register(&*self.store, &record, former).await?;
        self.adopt(attempt);
        tracing::info!(node = %identity.id, incarnation = attempt, ?state, "joined the cluster");
        Ok(())
    }

    /// Begins a new life, if it is the one that this node has asked for.
    pub(super) fn adopt(&self, incarnation: u64) -> bool {
        let asked = self.attempt.compare_exchange(incarnation, 0, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if asked {
            self.forfeit("a new life begins");
            self.map.set_incarnation(incarnation);
        }
        asked
    }

    /// Takes all leases for lost and stops the entities.
    pub(super) fn forfeit(&self, reason: &str) {
        let shards = self.map.with_holdings(|holdings| holdings.give_up_all());
        if shards.is_empty() {
            return;
        }
        tracing::warn!(node = %self.config.identity.id, shards = shards.len(), reason, "gave up all shards");
        metrics::counter!("steward_cluster_shards_lost_total").increment(shards.len() as u64);
        self.hooks.lost(&shards);
    }

    /// Takes some leases for lost and stops their entities.
    pub(super) fn lose(&self, shards: &[u32]) {
        let lost: Vec<u32> = self
            .map
            .with_holdings(|holdings| shards.iter().copied().filter(|&shard| holdings.give_up(shard)).collect());
        if !lost.is_empty() {
            metrics::counter!("steward_cluster_shards_lost_total").increment(lost.len() as u64);
            self.hooks.lost(&lost);
        }
    }

    pub(super) fn replaced(&self) {
        if !self.replaced.swap(true, Ordering::AcqRel) {
            tracing::error!(node = %self.config.identity.id, "another process has joined as this node: this one stops");
        }
        self.forfeit("replaced by another process");
    }

    pub(super) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }
}
