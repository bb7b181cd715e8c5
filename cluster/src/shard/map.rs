//! Who owns which shard, as this node last read it, and which of them it holds. Reads take no lock that anybody holds
//! for long; nothing here is a fence, only [`ShardLease`](super::ShardLease) is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use steward_storage::{Store, StoreError, Watch};
use steward_types::limits::{BEATS_BELIEVED, BELIEF_TIME_MAX};
use steward_types::{Clock, NodeId};
use tokio::sync::{Notify, watch};

use super::ownership::Life;
use super::{Holdings, View};
use crate::member::record::version_key;

/// The owner of a shard, and where it is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Who it is.
    pub node: NodeId,
    /// Where other nodes reach it.
    pub address: String,
    /// Which life of the node's.
    pub incarnation: u64,
    /// The shard's epoch.
    pub epoch: u64,
}

/// A cheap handle on the shards as one node sees them.
#[derive(Clone)]
pub struct ShardMap(Arc<Shared>);

struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    me: NodeId,
    count: u32,
    /// How long a node believes in its leases when its beats are quick.
    belief_time: Duration,
    /// How long beats take lately, in milliseconds.
    pace: AtomicU64,
    view: RwLock<Arc<View>>,
    holdings: Mutex<Holdings>,
    /// The epoch of each shard that is held and settled; zero for all others.
    epochs: Vec<AtomicU64>,
    incarnation: AtomicU64,
    /// When the last successful beat began, by the monotonic clock, in milliseconds and one more; zero before any.
    confirmed: AtomicU64,
    generation: watch::Sender<u64>,
    loading: tokio::sync::Mutex<()>,
    /// How many reads of the state have begun, and which was the last that succeeded.
    begun: AtomicU64,
    succeeded: AtomicU64,
    kick: Notify,
}

impl ShardMap {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        me: NodeId,
        count: u32,
        belief_time: Duration,
    ) -> Self {
        Self(Arc::new(Shared {
            store,
            clock,
            me,
            count,
            belief_time,
            pace: AtomicU64::new(0),
            view: RwLock::default(),
            holdings: Mutex::default(),
            epochs: (0..count).map(|_| AtomicU64::new(0)).collect(),
            incarnation: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            generation: watch::Sender::new(0),
            loading: tokio::sync::Mutex::default(),
            begun: AtomicU64::new(0),
            succeeded: AtomicU64::new(0),
            kick: Notify::new(),
        }))
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.0.me
    }

    /// How many shards there are.
    pub fn count(&self) -> u32 {
        self.0.count
    }

    /// The living owner of a shard, as last read. `None` while it has none.
    pub fn owner(&self, shard: u32) -> Option<Owner> {
        let view = self.view();
        let record = view.shard(shard).filter(|record| view.is_living(record))?;
        let address = view.members.get(&record.owner)?.link_address.clone();
        Some(Owner { node: record.owner, address, incarnation: record.incarnation, epoch: record.epoch })
    }

    /// The epoch under which this node holds a shard and takes calls for it. `None` also when the node has not been
    /// able to write its beat for so long that others may take it for dead; that much is looked up on the clock now, so
    /// that a process which was paused knows it before any of its tasks has run.
    pub fn mine(&self, shard: u32) -> Option<u64> {
        let epoch = self.0.epochs.get(shard as usize)?.load(Ordering::Acquire);
        (epoch > 0 && self.is_fresh()).then_some(epoch)
    }

    /// Whether the last beat is recent enough to believe in the leases.
    pub fn is_fresh(&self) -> bool {
        self.since_confirmed().is_some_and(|since| since < self.belief_time())
    }

    /// How long this node believes in its leases after its last beat: longer while beats take long. Then the store is
    /// slow for those too who would take this node for dead, and count its silence in beats of their own; and a node
    /// that gave up all that it has whenever the store is slow would make it slower by taking everything up again.
    pub(crate) fn belief_time(&self) -> Duration {
        let pace = Duration::from_millis(self.0.pace.load(Ordering::Acquire));
        self.0.belief_time.max(pace * BEATS_BELIEVED).min(self.0.belief_time.max(BELIEF_TIME_MAX))
    }

    /// The cluster's state as last read.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.0.view.read())
    }

    /// A number that rises with each change of the state or of what this node holds.
    pub fn generation(&self) -> u64 {
        *self.0.generation.borrow()
    }

    /// Returns at the next change. Dropping the future is safe. To miss none between two looks, take the
    /// [`generation`](Self::generation) before the look and wait with [`changed_since`](Self::changed_since).
    pub async fn changed(&self) {
        self.changed_since(self.generation()).await;
    }

    /// Returns once the [`generation`](Self::generation) is another one. Dropping the future is safe.
    pub async fn changed_since(&self, generation: u64) {
        let mut receiver = self.0.generation.subscribe();
        // An error needs the sender gone, which this handle keeps.
        let _ = receiver.wait_for(|&now| now != generation).await;
    }

    /// Reads the state again, now: for a router that was told "not here". Calls at the same time share one read.
    ///
    /// # Errors
    /// The store's error. Dropping the future is safe.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let asked = self.0.begun.load(Ordering::SeqCst);
        let _loading = self.0.loading.lock().await;
        // A read that began after this call is as good as one of its own; the one in hand at that time is not.
        if self.0.succeeded.load(Ordering::SeqCst) > asked {
            return Ok(());
        }
        let before = self.view().version;
        self.load(false).await?;
        if self.view().version != before {
            self.0.kick.notify_one();
        }
        Ok(())
    }

    /// Reads the state, and watches for the next change of it.
    pub(crate) async fn load_watched(&self) -> Result<Option<Watch>, StoreError> {
        let _loading = self.0.loading.lock().await;
        self.load(true).await
    }

    async fn load(&self, watched: bool) -> Result<Option<Watch>, StoreError> {
        let number = self.0.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let txn = self.0.store.begin();
        let view = View::load(&txn, self.0.count).await?;
        let watch = if watched { Some(txn.watch(&version_key())?) } else { None };
        txn.commit().await?;
        let changed = view.version != self.view().version;
        *self.0.view.write() = Arc::new(view);
        self.0.succeeded.store(number, Ordering::SeqCst);
        if changed {
            self.announce();
        }
        Ok(watch)
    }

    pub(crate) fn life(&self) -> Life {
        Life { node: self.0.me, incarnation: self.0.incarnation.load(Ordering::Acquire) }
    }

    pub(crate) fn set_incarnation(&self, incarnation: u64) {
        self.0.incarnation.store(incarnation, Ordering::Release);
    }

    /// Notes a successful beat. Says whether the last one was too long ago to believe in.
    pub(crate) fn confirm(&self, began: Duration) -> bool {
        let was_stale = !self.is_fresh();
        let took = millis(self.0.clock.monotonic().saturating_sub(began));
        // Up at once and down slowly, since one quick beat between slow ones says little.
        let pace = self.0.pace.load(Ordering::Acquire);
        self.0.pace.store(took.max(pace - pace / 4), Ordering::Release);
        self.0.confirmed.store(1 + millis(began), Ordering::Release);
        if was_stale {
            self.announce();
        }
        was_stale
    }

    /// Time since the last successful beat began; `None` before any.
    pub(crate) fn since_confirmed(&self) -> Option<Duration> {
        let confirmed = self.0.confirmed.load(Ordering::Acquire).checked_sub(1)?;
        Some(self.0.clock.monotonic().saturating_sub(Duration::from_millis(confirmed)))
    }

    /// Looks at the holdings, or changes them, together with what others read of them.
    pub(crate) fn with_holdings<T>(&self, act: impl FnOnce(&mut Holdings) -> T) -> T {
        let mut holdings = self.0.holdings.lock();
        let outcome = act(&mut holdings);
        let mut changed = false;
        let mut settled = holdings.settled().peekable();
        for (shard, slot) in (0u32..).zip(&self.0.epochs) {
            let epoch = settled.next_if_eq(&shard).and_then(|shard| holdings.epoch(shard)).unwrap_or(0);
            changed |= slot.swap(epoch, Ordering::AcqRel) != epoch;
        }
        drop(settled);
        drop(holdings);
        if changed {
            self.announce();
        }
        outcome
    }

    /// The epoch under which entities of the shard may commit, those of a shard on its way out included.
    pub(crate) fn held(&self, shard: u32) -> Option<u64> {
        self.0.holdings.lock().epoch(shard)
    }

    pub(crate) fn kick(&self) {
        self.0.kick.notify_one();
    }

    pub(crate) async fn kicked(&self) {
        self.0.kick.notified().await;
    }

    fn announce(&self) {
        self.0.generation.send_modify(|generation| *generation += 1);
    }
}

impl fmt::Debug for ShardMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardMap").field("node", &self.0.me).field("version", &self.view().version).finish()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
