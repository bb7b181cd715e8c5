//! The handle on one node's part of a cluster: join, look, drain, leave.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use steward_actors::audit::AuditEntry;
use steward_actors::service::ClusterChange;
use steward_storage::Store;
use steward_types::limits::NODE_WEIGHT_MAX;
use steward_types::{Clock, Entropy, NodeId};
use tokio::task::JoinSet;

use super::node::Node;
use super::register::{agree_on_shards, evict, pin, set_state};
use super::{
    ClusterError, ClusterTiming, MemberSnapshot, NodeState, ShardHooks, ShardSnapshot, beat, reconcile, snapshot,
};
use crate::shard::{ShardLease, ShardMap};

/// Who a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeIdentity {
    /// The same for as long as its data folder lives. Two processes of one id: the younger one stays.
    pub id: NodeId,
    /// Where other nodes reach it.
    pub link_address: String,
    /// Where clients reach it.
    pub api_address: String,
    /// What fails together with it; empty when that is not said.
    pub zone: String,
    /// Its share of the shards compared with others', up to [`NODE_WEIGHT_MAX`].
    pub weight: u32,
    /// The release that it runs, such as "0.1.0".
    pub version: String,
}

/// How a node joins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// Who it is.
    pub identity: NodeIdentity,
    /// How fast it notices and moves.
    pub timing: ClusterTiming,
    /// How many shards there must be, which the first member decides for ever; none: as many as the cluster has, and
    /// [`SHARDS`](steward_types::limits::SHARDS) where this node begins it.
    pub shards: Option<u32>,
}

impl ClusterConfig {
    /// With the default times, and the cluster's number of shards.
    pub fn new(identity: NodeIdentity) -> Self {
        Self { identity, timing: ClusterTiming::default(), shards: None }
    }
}

/// One node's part of a cluster. Clones are the same; dropping the last one stops its tasks, as a crash would.
#[derive(Debug, Clone)]
pub struct Cluster {
    node: Arc<Node>,
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// A handle that does not keep the node's tasks alive.
#[derive(Debug, Clone)]
pub(crate) struct WeakCluster {
    node: Weak<Node>,
    tasks: Weak<Mutex<JoinSet<()>>>,
}

impl WeakCluster {
    /// The handle again, while another one lives.
    pub(crate) fn upgrade(&self) -> Option<Cluster> {
        Some(Cluster { node: self.node.upgrade()?, tasks: self.tasks.upgrade()? })
    }
}

impl Cluster {
    /// Registers the node and begins to beat and to take its share of the shards.
    ///
    /// # Errors
    /// [`ClusterError::OtherShards`], or the store's error. Dropping the future may leave a member behind that others
    /// soon take for dead.
    pub async fn join(
        mut config: ClusterConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        hooks: Arc<dyn ShardHooks>,
    ) -> Result<Self, ClusterError> {
        config.identity.weight = config.identity.weight.min(NODE_WEIGHT_MAX);
        let (id, belief_time) = (config.identity.id, config.timing.belief_time());
        let shards = agree_on_shards(&*store, config.shards).await?;
        let map = ShardMap::new(Arc::clone(&store), Arc::clone(&clock), id, shards, belief_time);
        let (draining, replaced) = (AtomicBool::new(false), AtomicBool::new(false));
        let attempt = AtomicU64::new(0);
        let node = Arc::new(Node { config, store, clock, entropy, hooks, map, attempt, draining, replaced });
        node.register(None).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(beat::run(Arc::clone(&node)));
        tasks.spawn(reconcile::run(Arc::clone(&node)));
        let cluster = Self { node, tasks: Arc::new(Mutex::new(tasks)) };
        cluster.node.map.refresh().await?;
        Ok(cluster)
    }

    pub(crate) fn downgrade(&self) -> WeakCluster {
        WeakCluster { node: Arc::downgrade(&self.node), tasks: Arc::downgrade(&self.tasks) }
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.node.config.identity.id
    }

    /// Who owns which shard, as this node sees it.
    pub fn map(&self) -> &ShardMap {
        &self.node.map
    }

    /// The fence for this node's entities.
    pub fn lease(&self) -> ShardLease {
        ShardLease::new(self.node.map.clone())
    }

    /// Whether this node takes calls: it is up, its beat is fresh, and it holds a shard, unless the plan has none for it.
    pub fn is_ready(&self) -> bool {
        let view = self.node.map.view();
        let state = view.members.get(&self.id()).map(|node| node.state);
        let planned = view.plan.contains(&Some(self.id()));
        let holds = (0..self.node.map.count()).any(|shard| self.node.map.mine(shard).is_some());
        state == Some(NodeState::Up) && self.node.map.is_fresh() && (holds || !planned)
    }

    /// Whether this node was told to hand over its shards, and not told otherwise since.
    pub fn is_draining(&self) -> bool {
        self.node.draining.load(Ordering::Acquire)
    }

    /// Returns once [`is_ready`](Self::is_ready) holds. Dropping the future is safe.
    pub async fn ready(&self) {
        loop {
            let generation = self.node.map.generation();
            if self.is_ready() {
                return;
            }
            self.node.map.changed_since(generation).await;
        }
    }

    /// Whether another process has joined under this node's id. This one can only end then.
    pub fn is_replaced(&self) -> bool {
        self.node.is_replaced()
    }

    /// All nodes that the store knows of, as last read.
    pub fn members(&self) -> Vec<MemberSnapshot> {
        snapshot::members(&self.node.map.view(), self.id())
    }

    /// All shards, as last read.
    pub fn shards(&self) -> Vec<ShardSnapshot> {
        snapshot::shards(&self.node.map.view())
    }

    /// Hands all shards to others, finishing what their entities do. Resolves when none is left. The node stays a
    /// member that gets no shards, until [`undrain`](Self::undrain) or [`leave`](Self::leave).
    ///
    /// # Errors
    /// [`ClusterError::Alone`] and [`ClusterError::DrainTimeout`] leave the node draining. Dropping the future does too.
    pub async fn drain(&self, within: Duration) -> Result<(), ClusterError> {
        self.node.draining.store(true, Ordering::Release);
        self.set_state(NodeState::Draining).await?;
        self.node.map.refresh().await?;
        tokio::select! {
            outcome = self.drained() => outcome,
            () = self.node.clock.sleep(within) => match self.shards_left() {
                0 => Ok(()),
                left => Err(ClusterError::DrainTimeout { left }),
            },
        }
    }

    async fn drained(&self) -> Result<(), ClusterError> {
        loop {
            let generation = self.node.map.generation();
            if self.is_replaced() {
                return Err(ClusterError::Replaced);
            }
            if self.shards_left() == 0 {
                return Ok(());
            }
            if self.node.map.view().others_up(self.id()) == 0 {
                return Err(ClusterError::Alone);
            }
            self.node.map.changed_since(generation).await;
        }
    }

    /// Shards that are this node's, in the store or by what it holds.
    fn shards_left(&self) -> usize {
        let (life, view) = (self.node.map.life(), self.node.map.view());
        let mine =
            |record: &&crate::shard::ShardRecord| record.owner == life.node && record.incarnation == life.incarnation;
        let held = self.node.map.with_holdings(|holdings| holdings.count());
        view.shards.iter().flatten().filter(mine).count().max(held)
    }

    /// Takes shards again after [`drain`](Self::drain).
    ///
    /// # Errors
    /// The store's error. Dropping the future leaves open whether it is done.
    pub async fn undrain(&self) -> Result<(), ClusterError> {
        self.node.draining.store(false, Ordering::Release);
        self.set_state(NodeState::Up).await
    }

    async fn set_state(&self, state: NodeState) -> Result<(), ClusterError> {
        let outcome = set_state(&*self.node.store, self.node.map.life(), state, self.node.clock.now()).await;
        self.node.map.kick();
        match outcome {
            // Taken for dead just now: it joins again by itself, in the state that is wanted.
            Err(ClusterError::NotUp { .. }) => Ok(()),
            other => other,
        }
    }

    /// Leaves the cluster. What this node still owns is lost to it and free for others at once, so
    /// [`drain`](Self::drain) first. Nothing of the cluster runs on this node afterwards.
    ///
    /// # Errors
    /// The store's error; the tasks have ended all the same, and others find this node silent.
    pub async fn leave(&self) -> Result<(), ClusterError> {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        self.node.forfeit("this node leaves");
        set_state(&*self.node.store, self.node.map.life(), NodeState::Left, self.node.clock.now()).await
    }

    /// Puts a shard on a node that is up, for as long as that is a member and nobody calls [`unpin`](Self::unpin).
    /// Returns when that is noted; its owner then moves it.
    ///
    /// # Errors
    /// [`ClusterError::UnknownShard`], [`ClusterError::UnknownNode`], [`ClusterError::NotUp`], or the store's.
    pub async fn move_shard(&self, shard: u32, to: NodeId) -> Result<(), ClusterError> {
        self.change(ClusterChange::Place { shard, on: Some(to) }, None).await
    }

    /// Leaves a shard to the placement again.
    ///
    /// # Errors
    /// [`ClusterError::UnknownShard`], or the store's.
    pub async fn unpin(&self, shard: u32) -> Result<(), ClusterError> {
        self.change(ClusterChange::Place { shard, on: None }, None).await
    }

    /// Takes a node for dead now, without waiting for its silence. If it lives, it loses all shards and joins again.
    ///
    /// # Errors
    /// [`ClusterError::UnknownNode`], or the store's.
    pub async fn evict(&self, node: NodeId) -> Result<(), ClusterError> {
        self.change(ClusterChange::Evict(node), None).await
    }

    /// Makes a change, and writes its entry of the audit trail in the same transaction.
    ///
    /// # Errors
    /// Those of [`move_shard`](Self::move_shard) and [`evict`](Self::evict).
    pub async fn change(&self, change: ClusterChange, entry: Option<&AuditEntry>) -> Result<(), ClusterError> {
        let (store, count) = (&*self.node.store, self.node.map.count());
        match change {
            ClusterChange::Place { shard, .. } if shard >= count => {
                return Err(ClusterError::UnknownShard { shard, last: count.saturating_sub(1) });
            }
            ClusterChange::Place { shard, on } => pin(store, shard, on, entry).await?,
            ClusterChange::Evict(node) => evict(store, node, self.node.clock.now(), entry).await?,
        }
        self.node.map.kick();
        Ok(())
    }
}
