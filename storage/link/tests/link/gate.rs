//! A store whose commits wait until they are let through.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use steward_storage::{
    AtomicOp, CommitVersion, ConflictRange, Isolation, MemoryStore, Page, RangeRead, Store, StoreError, Transaction,
    Txn, Watch,
};
use steward_types::Clock;
use tokio::sync::Semaphore;

#[derive(Debug, Clone)]
pub struct GatedStore {
    store: MemoryStore,
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct Gate {
    open: Semaphore,
    waiting: AtomicUsize,
}

impl GatedStore {
    pub fn new() -> Self {
        let gate = Gate { open: Semaphore::new(0), waiting: AtomicUsize::new(0) };
        Self { store: MemoryStore::new(), gate: Arc::new(gate) }
    }

    /// Commits that wait.
    pub fn waiting(&self) -> usize {
        self.gate.waiting.load(Ordering::SeqCst)
    }

    /// Lets all through, now and later.
    pub fn open(&self) {
        self.gate.open.add_permits(1);
    }
}

#[async_trait]
impl Store for GatedStore {
    fn begin(&self) -> Txn {
        Txn::new(Arc::new(Gated { txn: self.store.begin(), gate: Arc::clone(&self.gate) }))
    }

    fn name(&self) -> &'static str {
        "gated"
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.store.clock()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[derive(Debug)]
struct Gated {
    txn: Txn,
    gate: Arc<Gate>,
}

#[async_trait]
impl Transaction for Gated {
    async fn get(&self, key: &[u8], read: Isolation) -> Result<Option<Bytes>, StoreError> {
        self.txn.get(key, read).await
    }

    async fn range(&self, range: RangeRead) -> Result<Page, StoreError> {
        self.txn.range(range).await
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.txn.set(key, value)
    }

    fn clear(&self, key: &[u8]) -> Result<(), StoreError> {
        self.txn.clear(key)
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.txn.clear_range(begin, end)
    }

    fn atomic(&self, key: &[u8], op: AtomicOp, operand: u64) -> Result<(), StoreError> {
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
        self.gate.waiting.fetch_add(1, Ordering::SeqCst);
        let passed = self.gate.open.acquire().await;
        self.gate.waiting.fetch_sub(1, Ordering::SeqCst);
        drop(passed);
        self.txn.commit().await
    }
}
