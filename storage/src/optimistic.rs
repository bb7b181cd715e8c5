//! What optimistic stores share: the transaction with its limits and its own writes, conflict detection, watches.
//!
//! A backend gives snapshots and applies commit requests one after the other; everything that FoundationDB's model
//! says about transactions is here, so that it is alike on every backend.

pub mod conflicts;
mod merge;
mod transaction;
pub mod watches;
pub mod write_set;

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use std::sync::Arc;
use steward_types::Clock;

pub use conflicts::{Conflicts, too_old};
pub use merge::RangeMerge;
pub use transaction::begin;
pub use watches::{PendingWatch, Watch, Watches};
pub use write_set::{Apply, CommitRequest, KeyRange, StampedRow, Write, check_key, checked_range};

use crate::{CommitVersion, StoreError};

/// A store's consistent state at one version.
pub trait Snapshot: Send + Sync + fmt::Debug {
    /// The version of the last commit that this sees.
    fn version(&self) -> CommitVersion;

    /// The value of a key.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Unavailable`].
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// At most `limit` rows of a range, from its last key down if `reverse`.
    ///
    /// # Errors
    /// [`StoreError::Corrupt`] or [`StoreError::Unavailable`].
    fn rows(&self, range: &KeyRange, limit: usize, reverse: bool) -> Result<Vec<(Bytes, Bytes)>, StoreError>;
}

/// What an optimistic transaction needs of its store.
#[async_trait]
pub trait Backend: Send + Sync + fmt::Debug + 'static {
    /// The latest state of which every commit is secure and acknowledged commits are part.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when the store is closed or failed.
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError>;

    /// Checks the request's reads against the commits since its read version, and applies its writes.
    ///
    /// # Errors
    /// As [`Transaction::commit`](crate::Transaction::commit).
    async fn commit(&self, request: CommitRequest) -> Result<CommitVersion, StoreError>;

    /// The store's watches.
    fn watches(&self) -> &Arc<Watches>;

    /// The clock by which transactions age.
    fn clock(&self) -> &Arc<dyn Clock>;
}
