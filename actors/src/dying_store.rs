//! A store that dies at its Nth commit, as a process does: before that commit or right behind it. From then on every
//! call fails; what was committed before is on the store underneath.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use steward_storage::{
    AtomicOp, CommitVersion, ConflictRange, Isolation, Page, RangeRead, Store, StoreError, Transaction, Txn, Watch,
};
use steward_types::Clock;
use tokio::sync::Notify;

/// Where a store dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// The commit is lost.
    Before,
    /// The commit is kept, but nobody hears of it.
    Behind,
}

#[derive(Debug)]
struct DyingStore {
    below: Arc<dyn Store>,
    fate: Arc<Fate>,
}

#[derive(Debug)]
struct Fate {
    left: AtomicI64,
    death: Death,
    died: Notify,
}

impl Fate {
    fn is_dead(&self) -> bool {
        self.left.load(Ordering::SeqCst) <= 0
    }

    /// Returns once the store has died.
    async fn died(&self) {
        loop {
            let died = self.died.notified();
            tokio::pin!(died);
            died.as_mut().enable();
            if self.is_dead() {
                return;
            }
            died.await;
        }
    }
}

impl DyingStore {
    /// Dies at the `commits`th commit from now.
    fn over(below: Arc<dyn Store>, commits: i64, death: Death) -> (Arc<dyn Store>, Arc<Fate>) {
        let fate = Arc::new(Fate { left: AtomicI64::new(commits), death, died: Notify::new() });
        (Arc::new(Self { below, fate: Arc::clone(&fate) }), fate)
    }
}

/// A node whose store dies at its `commits`th commit, and whether it came to the end of `converse` before that. The node is
/// given back so that it lives on beside the next one, as one does that was cut off.
pub(crate) async fn live_until<N>(
    below: &Arc<dyn Store>,
    commits: i64,
    death: Death,
    start: impl AsyncFnOnce(Arc<dyn Store>) -> Option<N>,
    converse: impl AsyncFnOnce(&N) -> bool,
) -> (Option<N>, bool) {
    let (dying, fate) = DyingStore::over(Arc::clone(below), commits, death);
    let node = start(dying).await;
    let survived = match &node {
        None => false,
        Some(node) => tokio::select! {
            () = fate.died() => false,
            is_done = converse(node) => is_done,
        },
    };
    (node, survived)
}

fn dead() -> StoreError {
    StoreError::unavailable("the process was killed")
}

#[async_trait]
impl Store for DyingStore {
    fn begin(&self) -> Txn {
        Txn::new(Arc::new(DyingTransaction {
            below: self.below.begin(),
            fate: Arc::clone(&self.fate),
            writes: false.into(),
        }))
    }

    fn name(&self) -> &'static str {
        "dying"
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.below.clock()
    }

    async fn close(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[derive(Debug)]
struct DyingTransaction {
    below: Txn,
    fate: Arc<Fate>,
    writes: std::sync::atomic::AtomicBool,
}

impl DyingTransaction {
    fn alive(&self) -> Result<&Txn, StoreError> {
        if self.fate.is_dead() { Err(dead()) } else { Ok(&self.below) }
    }

    fn write(&self) -> Result<&Txn, StoreError> {
        self.writes.store(true, Ordering::SeqCst);
        self.alive()
    }
}

#[async_trait]
impl Transaction for DyingTransaction {
    async fn get(&self, key: &[u8], read: Isolation) -> Result<Option<Bytes>, StoreError> {
        self.alive()?.get(key, read).await
    }

    async fn range(&self, range: RangeRead) -> Result<Page, StoreError> {
        self.alive()?.range(range).await
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write()?.set(key, value)
    }

    fn clear(&self, key: &[u8]) -> Result<(), StoreError> {
        self.write()?.clear(key)
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.write()?.clear_range(begin, end)
    }

    fn atomic(&self, key: &[u8], op: AtomicOp, operand: u64) -> Result<(), StoreError> {
        self.write()?.atomic(key, op, operand)
    }

    fn set_versionstamped_key(&self, prefix: &[u8], suffix: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write()?.set_versionstamped_key(prefix, suffix, value)
    }

    fn add_conflict(&self, range: ConflictRange) -> Result<(), StoreError> {
        self.alive()?.add_conflict(range)
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        self.alive()?.watch(key)
    }

    async fn commit(&self) -> Result<CommitVersion, StoreError> {
        if !self.writes.load(Ordering::SeqCst) {
            return self.alive()?.commit().await;
        }
        let left = self.fate.left.fetch_sub(1, Ordering::SeqCst);
        if left > 1 {
            return self.below.commit().await;
        }
        if left == 1 && self.fate.death == Death::Behind {
            let _ = self.below.commit().await;
        }
        self.fate.died.notify_waiters();
        Err(dead())
    }
}
