//! The world of a test: one store, one clock, and nodes that can be paused, cut off from the store, and killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use steward_cluster::{Cluster, ClusterConfig, ClusterError, ClusterTiming, NodeIdentity, ShardHooks};
use steward_storage::{
    AtomicOp, CommitVersion, ConflictRange, Isolation, MemoryStore, Page, RangeRead, Store, StoreError, Transaction,
    Txn, Watch,
};
use steward_types::{Clock, ManualClock, NodeId, SeededEntropy, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Longest simulated time that a test waits for anything.
const PATIENCE: Duration = Duration::from_secs(120);
/// How far the clock moves at a time.
const TICK: Duration = Duration::from_millis(5);

/// How long a call of a slow store takes: a beat is two of them.
pub const SLOW_TIME: Duration = Duration::from_millis(350);

/// What a node's store does with its calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Whole,
    /// Calls fail.
    Failing,
    /// Calls are answered only once the reach is whole again.
    Hanging,
    /// Commits happen, and their answers are lost.
    Deaf,
    /// Each call takes [`SLOW_TIME`].
    Slow,
}

/// One store and one clock for all nodes.
pub struct World {
    pub clock: Arc<ManualClock>,
    pub store: Arc<MemoryStore>,
    pub shards: u32,
    pub timing: ClusterTiming,
    driver: JoinSet<()>,
    nodes: AtomicU64,
}

impl World {
    pub fn new(shards: u32) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let store = Arc::new(MemoryStore::with_clock(Arc::clone(&clock) as Arc<dyn Clock>));
        let mut driver = JoinSet::new();
        let driven = Arc::clone(&clock);
        driver.spawn(async move {
            loop {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
                driven.advance(TICK);
            }
        });
        Self { clock, store, shards, timing: ClusterTiming::default(), driver, nodes: AtomicU64::new(0) }
    }

    pub async fn join(&self) -> TestNode {
        self.join_with(|_| {}).await
    }

    pub async fn join_with(&self, change: impl FnOnce(&mut ClusterConfig)) -> TestNode {
        self.try_join(change).await.unwrap()
    }

    pub async fn try_join(&self, change: impl FnOnce(&mut ClusterConfig)) -> Result<TestNode, ClusterError> {
        let number = self.nodes.fetch_add(1, Ordering::Relaxed) + 1;
        let identity = NodeIdentity {
            id: NodeId::from_bytes([u8::try_from(number).unwrap(); 16]),
            link_address: format!("127.0.0.1:{number}"),
            api_address: format!("127.0.0.1:{}", 1_000 + number),
            zone: String::new(),
            weight: 1,
            version: "0.1.0".to_owned(),
        };
        let mut config = ClusterConfig { identity, timing: self.timing.clone(), shards: Some(self.shards) };
        change(&mut config);
        let reach = Arc::new(watch::Sender::new(Reach::Whole));
        let paused = Arc::new(watch::Sender::new(false));
        let commits = Arc::new(AtomicUsize::new(0));
        let store: Arc<dyn Store> = Arc::new(NodeStore {
            inner: Arc::clone(&self.store) as Arc<dyn Store>,
            reach: Arc::clone(&reach),
            commits: Arc::clone(&commits),
        });
        let clock: Arc<dyn Clock> = Arc::new(NodeClock { inner: Arc::clone(&self.clock), paused: Arc::clone(&paused) });
        let hooks = Arc::new(Hooks::new(Arc::clone(&clock)));
        let entropy = Arc::new(SeededEntropy::new(number));
        let joined = Cluster::join(config, Arc::clone(&store), clock, entropy, Arc::clone(&hooks) as _).await;
        joined.map(|cluster| TestNode { number, cluster: Some(cluster), hooks, store, reach, paused, commits })
    }

    /// Waits in simulated time.
    pub async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let start = self.clock.monotonic();
        while !condition() {
            tokio::task::yield_now().await;
            assert!(self.clock.monotonic() < start + PATIENCE, "waited in vain: {what}");
        }
    }

    /// Lets simulated time pass.
    pub async fn pass(&self, duration: Duration) {
        self.clock.sleep(duration).await;
    }

    /// Waits until all shards are with these nodes, each as many as the plan gives it.
    pub async fn settled(&self, nodes: &[&TestNode]) {
        self.until("the shards are settled", || {
            let held: usize = nodes.iter().map(|node| node.held().len()).sum();
            let fair = self.shards as usize / nodes.len();
            held == self.shards as usize && nodes.iter().all(|node| node.held().len().abs_diff(fair) <= 1)
        })
        .await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.driver.abort_all();
    }
}

/// One node and the faults that can befall it.
pub struct TestNode {
    /// The order in which the nodes of a test joined.
    pub number: u64,
    cluster: Option<Cluster>,
    pub hooks: Arc<Hooks>,
    pub store: Arc<dyn Store>,
    reach: Arc<watch::Sender<Reach>>,
    paused: Arc<watch::Sender<bool>>,
    pub commits: Arc<AtomicUsize>,
}

impl TestNode {
    pub fn cluster(&self) -> &Cluster {
        self.cluster.as_ref().unwrap()
    }

    pub fn id(&self) -> NodeId {
        self.cluster().id()
    }

    /// Shards that it takes calls for.
    pub fn held(&self) -> BTreeSet<u32> {
        let map = self.cluster().map();
        (0..map.count()).filter(|&shard| map.mine(shard).is_some()).collect()
    }

    pub fn set_reach(&self, reach: Reach) {
        self.reach.send_replace(reach);
    }

    /// As SIGSTOP: nothing of the node runs, time goes on.
    pub fn pause(&self) {
        self.paused.send_replace(true);
        self.set_reach(Reach::Hanging);
    }

    pub fn resume(&self) {
        self.paused.send_replace(false);
        self.set_reach(Reach::Whole);
    }

    /// As SIGKILL.
    pub fn kill(&mut self) {
        self.cluster = None;
    }
}

/// What a host would do with its shards.
#[derive(Debug)]
pub struct Hooks {
    clock: Arc<dyn Clock>,
    /// Shards whose entities run.
    pub running: Mutex<BTreeSet<u32>>,
    pub lost: AtomicUsize,
    pub released: AtomicUsize,
    releasing: AtomicUsize,
    pub releasing_most: AtomicUsize,
    pub release_time: Mutex<Duration>,
}

impl Hooks {
    fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            running: Mutex::default(),
            lost: AtomicUsize::new(0),
            released: AtomicUsize::new(0),
            releasing: AtomicUsize::new(0),
            releasing_most: AtomicUsize::new(0),
            release_time: Mutex::new(Duration::from_millis(20)),
        }
    }
}

#[async_trait]
impl ShardHooks for Hooks {
    async fn acquired(&self, shards: &[u32]) {
        for shard in shards {
            assert!(self.running.lock().insert(*shard), "shard {shard} was acquired twice");
        }
    }

    async fn release(&self, shard: u32, _within: Duration) {
        let now = self.releasing.fetch_add(1, Ordering::Relaxed) + 1;
        self.releasing_most.fetch_max(now, Ordering::Relaxed);
        let release_time = *self.release_time.lock();
        self.clock.sleep(release_time).await;
        self.releasing.fetch_sub(1, Ordering::Relaxed);
        self.released.fetch_add(1, Ordering::Relaxed);
        self.running.lock().remove(&shard);
    }

    fn lost(&self, shards: &[u32]) {
        self.lost.fetch_add(shards.len(), Ordering::Relaxed);
        let mut running = self.running.lock();
        for shard in shards {
            running.remove(shard);
        }
    }
}

#[derive(Debug)]
struct NodeClock {
    inner: Arc<ManualClock>,
    paused: Arc<watch::Sender<bool>>,
}

#[async_trait]
impl Clock for NodeClock {
    fn now(&self) -> Timestamp {
        self.inner.now()
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic()
    }

    async fn sleep(&self, duration: Duration) {
        self.inner.sleep(duration).await;
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }
}

#[derive(Debug, Clone)]
struct NodeStore {
    inner: Arc<dyn Store>,
    reach: Arc<watch::Sender<Reach>>,
    commits: Arc<AtomicUsize>,
}

impl NodeStore {
    async fn reached(&self) -> Result<(), StoreError> {
        let mut reach = self.reach.subscribe();
        let answered = reach.wait_for(|reach| *reach != Reach::Hanging).await.map(|reach| *reach);
        match answered {
            Ok(Reach::Whole | Reach::Deaf) => Ok(()),
            Ok(Reach::Slow) => {
                self.inner.clock().sleep(SLOW_TIME).await;
                Ok(())
            }
            _ => Err(StoreError::unavailable("cut off by the test")),
        }
    }
}

#[async_trait]
impl Store for NodeStore {
    fn begin(&self) -> Txn {
        Txn::new(Arc::new(NodeTransaction { txn: self.inner.begin(), node: self.clone(), writes: AtomicUsize::new(0) }))
    }

    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.inner.clock()
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Debug)]
struct NodeTransaction {
    txn: Txn,
    node: NodeStore,
    writes: AtomicUsize,
}

#[async_trait]
impl Transaction for NodeTransaction {
    async fn get(&self, key: &[u8], read: Isolation) -> Result<Option<Bytes>, StoreError> {
        self.node.reached().await?;
        self.txn.get(key, read).await
    }

    async fn range(&self, range: RangeRead) -> Result<Page, StoreError> {
        self.node.reached().await?;
        self.txn.range(range).await
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.txn.set(key, value)
    }

    fn clear(&self, key: &[u8]) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.txn.clear(key)
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.txn.clear_range(begin, end)
    }

    fn atomic(&self, key: &[u8], op: AtomicOp, operand: u64) -> Result<(), StoreError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        self.txn.atomic(key, op, operand)
    }

    fn set_versionstamped_key(&self, prefix: &[u8], suffix: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.txn.set_versionstamped_key(prefix, suffix, value)
    }

    fn add_conflict(&self, range: ConflictRange) -> Result<(), StoreError> {
        self.txn.add_conflict(range)
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.txn.watch(key)
    }

    async fn commit(&self) -> Result<CommitVersion, StoreError> {
        self.node.reached().await?;
        let committed = self.txn.commit().await?;
        if self.writes.load(Ordering::Relaxed) > 0 {
            self.node.commits.fetch_add(1, Ordering::Relaxed);
        }
        if *self.node.reach.borrow() == Reach::Deaf {
            return Err(StoreError::CommitUnknown);
        }
        Ok(committed)
    }
}
