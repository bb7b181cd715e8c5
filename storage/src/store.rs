//! The port: a store gives transactions; a transaction reads, writes and commits. Both are object-safe.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use steward_types::Clock;

use crate::optimistic::Watch;
use crate::{StoreError, key};

/// The order of commits. A transaction that writes gets a version greater than every one committed before it began to
/// commit. A store that decides on several at once may give them one version; their versionstamps then differ in the
/// last two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct CommitVersion(pub u64);

impl CommitVersion {
    /// The ten bytes that stand in a versionstamped key: the version, then the place within its batch, big endian.
    pub const fn versionstamp(self, batch_order: u16) -> Versionstamp {
        let (version, order) = (self.0.to_be_bytes(), batch_order.to_be_bytes());
        let mut bytes = [0; 10];
        let mut at = 0;
        while at < 8 {
            bytes[at] = version[at];
            at += 1;
        }
        bytes[8] = order[0];
        bytes[9] = order[1];
        Versionstamp(bytes)
    }
}

/// Ten bytes that sort in commit order: commit version and order within the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Versionstamp(pub [u8; 10]);

/// How a store's client is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreCondition {
    /// Whether it can reach all that it needs.
    pub healthy: bool,
    /// Its connections to servers that stand.
    pub connections: u32,
    /// Those that failed.
    pub connections_failed: u32,
    /// How busy the thread is that all its traffic goes through, in thousandths.
    pub busy_permille: u32,
    /// The client's version, such as `7.3.79`.
    pub version: String,
}

/// Whether a read takes part in conflict detection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// The commit fails if what was read has changed since.
    Serializable,
    /// The read sees the transaction's version but does not conflict.
    Snapshot,
}

/// An operation on a value without reading it. Values are unsigned 64-bit little endian; a missing one is zero,
/// a shorter or longer one is padded or cut to eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtomicOp {
    /// Adds, wrapping at 2^64.
    Add,
    /// Keeps the greater one.
    Max,
}

impl AtomicOp {
    /// The value after this operation.
    pub fn apply(self, current: Option<&[u8]>, operand: u64) -> Bytes {
        let mut word = [0; 8];
        if let Some(current) = current {
            let kept = current.len().min(8);
            word[..kept].copy_from_slice(&current[..kept]);
        }
        let current = u64::from_le_bytes(word);
        let next = match self {
            Self::Add => current.wrapping_add(operand),
            Self::Max => current.max(operand),
        };
        Bytes::copy_from_slice(&next.to_le_bytes())
    }
}

/// A range to treat as read or written, without reading or writing it. From `begin` up to but without `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConflictRange {
    /// The commit fails if another transaction writes here.
    Read(Vec<u8>, Vec<u8>),
    /// Other transactions that read here fail.
    Write(Vec<u8>, Vec<u8>),
}

/// A read of rows in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    /// First key.
    pub begin: Vec<u8>,
    /// First key behind the range.
    pub end: Vec<u8>,
    /// Most rows to return; [`RANGE_ROWS_MAX`](steward_types::limits::RANGE_ROWS_MAX) and
    /// [`RANGE_BYTES_MAX`](steward_types::limits::RANGE_BYTES_MAX) bound it further.
    pub limit: usize,
    /// From the last key down rather than from the first up.
    pub reverse: bool,
    /// Whether the read takes part in conflict detection.
    pub isolation: Isolation,
}

impl RangeRead {
    /// From `begin` up to but without `end`, ascending, serializable, with the largest limit.
    pub fn new(begin: impl Into<Vec<u8>>, end: impl Into<Vec<u8>>) -> Self {
        let limit = steward_types::limits::RANGE_ROWS_MAX;
        Self { begin: begin.into(), end: end.into(), limit, reverse: false, isolation: Isolation::Serializable }
    }

    /// All keys that start with `prefix`.
    pub fn prefix(prefix: &[u8]) -> Self {
        let (begin, end) = key::prefix_range(prefix);
        Self::new(begin, end)
    }

    /// All keys below a subspace.
    pub fn subspace(subspace: &key::Subspace) -> Self {
        let (begin, end) = subspace.range();
        Self::new(begin, end)
    }

    /// With at most `limit` rows.
    pub fn limit(self, limit: usize) -> Self {
        Self { limit, ..self }
    }

    /// In descending order.
    pub fn reversed(self) -> Self {
        Self { reverse: true, ..self }
    }

    /// Without conflict detection.
    pub fn snapshot(self) -> Self {
        Self { isolation: Isolation::Snapshot, ..self }
    }

    /// What is left of this range after `page`; `None` when nothing is.
    pub fn after(&self, page: &Page) -> Option<Self> {
        let (last, _) = page.rows.last().filter(|_| page.more)?;
        let mut rest = self.clone();
        if self.reverse {
            rest.end = last.to_vec();
        } else {
            rest.begin = key::successor(last).to_vec();
        }
        Some(rest)
    }
}

/// The rows that one range read gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Keys and values, in the order asked for.
    pub rows: Vec<(Bytes, Bytes)>,
    /// Whether a limit ended the read: there may be more rows behind the last.
    pub more: bool,
}

/// An ordered key-value store with strictly serializable transactions.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// A new transaction. Its read version is taken at its first read.
    fn begin(&self) -> Txn;

    /// The kind of store: "memory", "embedded", …
    fn name(&self) -> &'static str;

    /// How the store's client says that it is, as it was looked at last; nothing where there is no such client, or it has
    /// not been looked at yet.
    fn condition(&self) -> Option<StoreCondition> {
        None
    }

    /// The clock by which transactions age and retries wait.
    fn clock(&self) -> Arc<dyn Clock>;

    /// Finishes the commits in hand and releases what the store holds. Later calls fail as unavailable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] when what was committed could not be secured.
    async fn close(&self) -> Result<(), StoreError>;
}

/// One transaction. Reads see its own writes. Nothing is written before [`commit`](Self::commit) succeeds.
///
/// Keys are at most 9,900 bytes and below `0xff`, values at most 100,000 bytes, a transaction's keys, values and
/// conflict ranges together at most 10,000,000 bytes, and five seconds may pass between its first read and its
/// commit; every method says [`TooLarge`](StoreError::TooLarge) or [`TooOld`](StoreError::TooOld) beyond that.
#[async_trait]
pub trait Transaction: Send + Sync + fmt::Debug {
    /// The value of a key. Dropping the future is safe.
    async fn get(&self, key: &[u8], read: Isolation) -> Result<Option<Bytes>, StoreError>;

    /// Rows in key order. Dropping the future is safe. Rows that this transaction writes with
    /// [`set_versionstamped_key`](Self::set_versionstamped_key) are not seen.
    async fn range(&self, range: RangeRead) -> Result<Page, StoreError>;

    /// Writes a value.
    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Removes a key.
    fn clear(&self, key: &[u8]) -> Result<(), StoreError>;

    /// Removes all keys from `begin` up to but without `end`.
    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError>;

    /// Changes a value without reading it, so without conflicting with others that do the same.
    fn atomic(&self, key: &[u8], op: AtomicOp, operand: u64) -> Result<(), StoreError>;

    /// Writes `value` under `prefix`, ten bytes that sort in commit order, and `suffix`. Two such writes never
    /// conflict. Two of one transaction need different suffixes.
    fn set_versionstamped_key(&self, prefix: &[u8], suffix: &[u8], value: &[u8]) -> Result<(), StoreError>;

    /// Treats a range as read or written.
    fn add_conflict(&self, range: ConflictRange) -> Result<(), StoreError>;

    /// A future that resolves when the key's value is another than this transaction sees. It is active once the
    /// transaction committed, and resolves to an error if it does not. It may resolve though the value is the same
    /// again, so read the key then.
    fn watch(&self, key: &[u8]) -> Result<Watch, StoreError>;

    /// Commits. A transaction that only read always commits, at its read version. Dropping the future leaves open
    /// whether the commit happens. Afterwards the transaction takes no more calls.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], [`StoreError::TooOld`] and [`StoreError::CommitUnknown`] are for the retry loop.
    async fn commit(&self) -> Result<CommitVersion, StoreError>;
}

/// An owned handle of a transaction; clones are the same transaction.
#[derive(Debug, Clone)]
pub struct Txn(Arc<dyn Transaction>);

impl Txn {
    /// A handle of `transaction`.
    pub fn new(transaction: Arc<dyn Transaction>) -> Self {
        Self(transaction)
    }
}

impl std::ops::Deref for Txn {
    type Target = dyn Transaction;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_versionstamp_sorts_by_version_then_order() {
        let stamp = |version, order| CommitVersion(version).versionstamp(order);
        assert!(stamp(1, 9) < stamp(2, 0) && stamp(2, 0) < stamp(2, 1) && stamp(255, 0) < stamp(256, 0));
    }

    #[test]
    fn an_atomic_operation_takes_a_value_of_any_length() {
        assert_eq!(AtomicOp::Add.apply(None, 3), 3u64.to_le_bytes()[..]);
        assert_eq!(AtomicOp::Add.apply(Some(&[1]), 3), 4u64.to_le_bytes()[..]);
        assert_eq!(AtomicOp::Max.apply(Some(&[9; 12]), 3), [9; 8][..]);
        assert_eq!(AtomicOp::Add.apply(Some(&u64::MAX.to_le_bytes()), 2), 1u64.to_le_bytes()[..]);
    }
}
