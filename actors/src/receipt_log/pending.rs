//! Writing a receipt: what a step's own transaction does.

use sha2::{Digest, Sha256};
use steward_receipts::{Hash, Leaf};
use steward_storage::{Isolation, StoreError, Txn};
use steward_types::{ProjectId, SessionId};

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
