//! The fence: who may write for an entity. A node writes only under the lease of the entity's shard, and reads the
//! lease's epoch in the same transaction, so that it cannot commit once another has taken over, whatever it believes.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use sha2::{Digest, Sha256};
use steward_storage::{Isolation, Store, StoreError, StoreExt, TransactionError, Txn, key};
use steward_types::limits::SHARDS;
use thiserror::Error;

use crate::host::{EntityId, Fault};

/// Under which leases this node's entities write.
#[async_trait]
pub trait Lease: Send + Sync + fmt::Debug + 'static {
    /// The shard of an entity: the same on every node and for ever.
    fn shard_of(&self, kind: &str, id: &EntityId) -> u32 {
        shard_of(kind, id, SHARDS)
    }

    /// Whether this node believes that it holds the lease of a shard and takes work for it.
    fn holds(&self, _shard: u32) -> bool {
        true
    }

    /// Reads the epoch of the shard's lease inside `txn`, which then commits only if no other node has taken the
    /// lease. Every transaction that writes for an entity calls it.
    ///
    /// # Errors
    /// [`LeaseError::Lost`] when another node has taken the lease; the store's error when it can't be read.
    async fn check(&self, txn: &Txn, shard: u32) -> Result<(), LeaseError>;
}

/// What an entity's transactions write under: its shard, and the lease that this node holds of it.
#[derive(Debug, Clone)]
pub struct Fence {
    lease: Arc<dyn Lease>,
    shard: u32,
}

impl Fence {
    /// The fence of entities of `shard`.
    pub fn new(lease: Arc<dyn Lease>, shard: u32) -> Self {
        Self { lease, shard }
    }

    /// [`StoreExt::run`], where each attempt checks the lease before anything else. Dropping the future leaves open whether
    /// the transaction was committed.
    ///
    /// # Errors
    /// The body's, and [`LeaseError`] as one of them.
    pub async fn run<T, E, F, Fut>(&self, store: &dyn Store, mut body: F) -> Result<T, E>
    where
        T: Send,
        E: TransactionError + From<LeaseError> + Send,
        F: FnMut(Txn) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        store
            .run(|txn| {
                let attempt = body(txn.clone());
                async move {
                    self.lease.check(&txn, self.shard).await?;
                    attempt.await
                }
            })
            .await
    }
}

/// Why a transaction may not write.
#[derive(Debug, Error)]
pub enum LeaseError {
    /// Another process has taken the lease.
    #[error("the lease was taken by another process: epoch {found}, not {held}")]
    Lost {
        /// The epoch that this process holds.
        held: u64,
        /// The epoch in the store.
        found: u64,
    },
    /// The lease's row could not be read.
    #[error("the lease could not be read")]
    Store(#[from] StoreError),
}

impl TransactionError for LeaseError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Lost { .. } => None,
            Self::Store(error) => Some(error),
        }
    }
}

impl From<LeaseError> for Fault {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Lost { .. } => Self::Fenced,
            LeaseError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Fault {
    /// What cannot be read as what it should be is corrupt; anything else may pass.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Corrupt(_) => Self::corrupt(error),
            _ => Self::transient(error),
        }
    }
}

/// The shard of an entity, of so many: the first four bytes of SHA-256 over its kind, a zero byte and its id, modulo
/// their number.
pub fn shard_of(kind: &str, id: &EntityId, shards: u32) -> u32 {
    let digest = Sha256::new().chain_update(kind).chain_update([0]).chain_update(id.as_str()).finalize();
    u32::from_be_bytes([digest[0], digest[1], digest[2], digest[3]]) % shards
}

/// The lease of a node that is alone on its store: one epoch for all shards, raised by each process that starts.
///
/// An older process that still runs on the same store, paused or forgotten, finds the epoch changed and can't commit.
#[derive(Debug, Clone)]
pub struct SoleLease {
    key: Arc<[u8]>,
    epoch: u64,
}

impl SoleLease {
    /// Takes the lease from whoever had it before.
    ///
    /// # Errors
    /// The store's error. Dropping the future leaves open whether the epoch was raised, which does no harm.
    pub async fn take(store: &dyn Store) -> Result<Self, StoreError> {
        let key: Arc<[u8]> = key::pack(&("lease", "epoch")).into();
        let epoch = store
            .run(|txn| {
                let key = Arc::clone(&key);
                async move {
                    let epoch = read_epoch(&txn, &key).await? + 1;
                    txn.set(&key, &epoch.to_le_bytes())?;
                    Ok::<_, StoreError>(epoch)
                }
            })
            .await?;
        Ok(Self { key, epoch })
    }

    /// The epoch that this process holds.
    pub const fn epoch(&self) -> u64 {
        self.epoch
    }
}

#[async_trait]
impl Lease for SoleLease {
    async fn check(&self, txn: &Txn, _shard: u32) -> Result<(), LeaseError> {
        let found = read_epoch(txn, &self.key).await?;
        if found == self.epoch { Ok(()) } else { Err(LeaseError::Lost { held: self.epoch, found }) }
    }
}

async fn read_epoch(txn: &Txn, key: &[u8]) -> Result<u64, StoreError> {
    let Some(bytes) = txn.get(key, Isolation::Serializable).await? else { return Ok(0) };
    let bytes = <[u8; 8]>::try_from(bytes.as_ref());
    bytes.map(u64::from_le_bytes).map_err(|_| StoreError::Corrupt("the lease's epoch is not 8 bytes".to_owned()))
}

/// A lease that is never lost, for kinds that keep nothing in a store.
#[derive(Debug, Default, Clone, Copy)]
pub struct Unleased;

#[async_trait]
impl Lease for Unleased {
    async fn check(&self, _txn: &Txn, _shard: u32) -> Result<(), LeaseError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use steward_storage::MemoryStore;

    use super::*;

    #[test]
    fn a_shard_never_changes() {
        let check = |kind, id, shard| assert_eq!(shard_of(kind, &EntityId::new(id).unwrap(), SHARDS), shard);
        check("session", "ses_1", 745);
        check("budget", "acme", 711);
    }

    #[tokio::test]
    async fn an_older_process_on_the_same_store_cannot_commit() {
        let store = MemoryStore::new();
        let older = SoleLease::take(&store).await.unwrap();
        let write = |lease: SoleLease| {
            let store: &dyn Store = &store;
            async move {
                let written = store.run(|txn| {
                    let lease = lease.clone();
                    async move {
                        lease.check(&txn, 0).await?;
                        txn.set(b"row", &[lease.epoch() as u8])?;
                        Ok::<_, LeaseError>(())
                    }
                });
                written.await
            }
        };
        write(older.clone()).await.unwrap();
        let newer = SoleLease::take(&store).await.unwrap();
        assert!(matches!(write(older).await, Err(LeaseError::Lost { held: 1, found: 2 })));
        write(newer).await.unwrap();
    }

    #[tokio::test]
    async fn a_transaction_begun_before_the_lease_was_taken_conflicts() {
        let store = MemoryStore::new();
        let older = SoleLease::take(&store).await.unwrap();
        let txn = store.begin();
        older.check(&txn, 0).await.unwrap();
        txn.set(b"row", b"stale").unwrap();
        SoleLease::take(&store).await.unwrap();
        assert!(matches!(txn.commit().await, Err(StoreError::Conflict)));
    }
}
