//! A store that does not say whether it committed, over another store: for tests of what is built on stores.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use steward_types::{Clock, Entropy, SeededEntropy};

use crate::{
    AtomicOp, CommitVersion, ConflictRange, Isolation, Page, RangeRead, Store, StoreError, Transaction, Txn, Watch,
};

/// Every fourth commit or so answers [`StoreError::CommitUnknown`]: half of those happened, half did not.
#[derive(Debug)]
pub struct UnknownCommits {
    store: Arc<dyn Store>,
    dice: Arc<Dice>,
}

#[derive(Debug)]
struct Dice {
    entropy: SeededEntropy,
    lost: AtomicU64,
    hidden: AtomicU64,
}

impl UnknownCommits {
    /// Over `store`; which commits answer so depends on `seed`.
    pub fn new(store: Arc<dyn Store>, seed: u64) -> Self {
        let (lost, hidden) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, dice: Arc::new(Dice { entropy: SeededEntropy::new(seed), lost, hidden }) }
    }

    /// How many commits were answered so and did not happen.
    pub fn lost(&self) -> u64 {
        self.dice.lost.load(Ordering::Relaxed)
    }

    /// How many commits were answered so and happened.
    pub fn hidden(&self) -> u64 {
        self.dice.hidden.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Store for UnknownCommits {
    fn begin(&self) -> Txn {
        Txn::new(Arc::new(Uncertain { txn: self.store.begin(), dice: Arc::clone(&self.dice) }))
    }

    fn name(&self) -> &'static str {
        self.store.name()
    }

    fn clock(&self) -> Arc<dyn Clock> {
        self.store.clock()
    }

    async fn close(&self) -> Result<(), StoreError> {
        self.store.close().await
    }
}

#[derive(Debug)]
struct Uncertain {
    txn: Txn,
    dice: Arc<Dice>,
}

#[async_trait]
impl Transaction for Uncertain {
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
        match self.dice.entropy.next_u64() % 8 {
            0 => {
                self.dice.lost.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::CommitUnknown)
            }
            1 => {
                self.txn.commit().await?;
                self.dice.hidden.fetch_add(1, Ordering::Relaxed);
                Err(StoreError::CommitUnknown)
            }
            _ => self.txn.commit().await,
        }
    }
}
