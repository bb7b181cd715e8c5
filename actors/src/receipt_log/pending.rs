//! Receipts on their way into the log: written by a step's own transaction, and counted for operators.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use steward_receipts::{Hash, Leaf};
use steward_storage::{Isolation, RangeRead, Store, StoreError, StoreExt, Txn};
use steward_types::{ProjectId, SessionId, Timestamp};

use super::records;

/// Writes a settled step's receipt into the step's transaction. Writing the same leaf again changes nothing.
///
/// # Errors
/// [`StoreError::Corrupt`] when the hold has another receipt: a hold is settled once.
pub async fn append_pending(txn: &Txn, leaf: &Leaf) -> Result<(), StoreError> {
    let (key, bytes) = (records::leaf(&leaf.project, leaf.hold), leaf.encode());
    match txn.get(&key, Isolation::Serializable).await? {
        Some(found) if found == bytes => return Ok(()),
        Some(_) => return Err(records::corrupt(&key, "the hold has another receipt already")),
        None => {}
    }
    txn.set(&key, &bytes)?;
    let hash = Hash::of_leaf(&bytes);
    txn.set_versionstamped_key(&records::pending(&leaf.project), leaf.hold.as_bytes(), hash.as_bytes())?;
    // Any value that differs from the last one wakes the log; nobody reads it, so it never conflicts.
    txn.set(&records::signal(&leaf.project), leaf.hold.as_bytes())
}

/// Receipts of a project that are on their way into its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WaitingReceipts {
    /// How many, at most as many as were looked at.
    pub count: usize,
    /// When the oldest of them was settled.
    pub oldest: Option<Timestamp>,
}

/// The receipts that wait for a project's log, looking at no more than `limit`.
///
/// # Errors
/// The store's.
pub async fn waiting(store: &Arc<dyn Store>, project: &ProjectId, limit: usize) -> Result<WaitingReceipts, StoreError> {
    let looked = store.run(|txn| async move {
        let (mut found, mut rest) = (WaitingReceipts::default(), Some(RangeRead::prefix(&records::pending(project))));
        while let Some(range) = rest.take().filter(|_| found.count < limit) {
            let range = range.limit(limit - found.count).snapshot();
            let page = txn.range(range.clone()).await?;
            if let Some((key, _)) = page.rows.first().filter(|_| found.count == 0) {
                let row = records::leaf(project, records::pending_hold(project, key)?);
                let leaf = txn.get(&row, Isolation::Snapshot).await?;
                found.oldest = leaf.map(|bytes| records::decode_leaf(&row, &bytes)).transpose()?.map(|leaf| leaf.time);
            }
            found.count += page.rows.len();
            rest = range.after(&page);
        }
        Ok::<_, StoreError>(found)
    });
    looked.await
}

/// The session that stands in the receipts of an API key's direct calls, which have none: always the same for the key.
pub fn direct_call_session(project: &ProjectId, key: &str) -> SessionId {
    let mut hash = Sha256::new();
    hash.update(b"steward session of direct calls\0");
    for part in [project.as_str(), key] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part.as_bytes());
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    SessionId::from_bytes(bytes)
}
