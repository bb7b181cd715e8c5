//! What a transaction wants to write, its ranges and sizes, and how a backend applies it.

use std::collections::BTreeMap;
use std::ops::Bound;

use bytes::Bytes;
use steward_types::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX};

use crate::{AtomicOp, CommitVersion, StoreError, key};

/// Keys from `begin` up to but without `end`; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub begin: Bytes,
    /// First key behind the range.
    pub end: Bytes,
}

impl KeyRange {
    /// The range of one key. Both ends share their memory.
    pub fn point(key: &[u8]) -> Self {
        let end = key::successor(key);
        Self { begin: end.slice(..key.len()), end }
    }

    /// Whether this is the range of one key.
    pub fn is_point(&self) -> bool {
        self.end.split_last().is_some_and(|(&last, rest)| last == 0 && *rest == *self.begin)
    }

    /// Whether `key` lies within.
    pub fn contains(&self, key: &[u8]) -> bool {
        *self.begin <= *key && *key < *self.end
    }
}

/// What is to become of one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// This value, or none.
    Value(Option<Bytes>),
    /// These operations, one after the other, on whatever value the key then has.
    Atomic(Vec<(AtomicOp, u64)>),
}

impl Write {
    /// The value after this write on `base`.
    pub fn on(&self, base: Option<Bytes>) -> Option<Bytes> {
        match self {
            Self::Value(value) => value.clone(),
            Self::Atomic(ops) => {
                ops.iter().fold(base, |value, &(op, operand)| Some(op.apply(value.as_deref(), operand)))
            }
        }
    }
}

/// A row whose key gets its versionstamp at commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StampedRow {
    /// What stands before the versionstamp.
    pub prefix: Bytes,
    /// What stands behind it.
    pub suffix: Bytes,
    /// The value.
    pub value: Bytes,
}

impl StampedRow {
    /// The key once the commit version is known.
    pub fn key(&self, version: CommitVersion) -> Bytes {
        [&self.prefix[..], &version.versionstamp(0).0, &self.suffix].concat().into()
    }
}

/// A transaction's writes and the ranges it read: all that a backend needs to commit it.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// The version that was read at; `None` if nothing was read.
    pub read_version: Option<CommitVersion>,
    /// What the commit depends on.
    pub reads: Vec<KeyRange>,
    /// What others that read it shall conflict with, besides what is written.
    pub marks: Vec<KeyRange>,
    /// Ranges to remove, before `writes`.
    pub clears: Vec<KeyRange>,
    /// Keys to change.
    pub writes: BTreeMap<Bytes, Write>,
    /// Rows under versionstamped keys.
    pub stamped: Vec<StampedRow>,
    pub(super) bytes: usize,
}

/// Where a backend's commit writes go; reads see the writes before them.
pub trait Apply {
    /// The present value.
    ///
    /// # Errors
    /// As the backend's reads.
    fn get(&mut self, key: &Bytes) -> Result<Option<Bytes>, StoreError>;
    /// Sets or removes a key.
    fn put(&mut self, key: Bytes, value: Option<Bytes>);
    /// Removes a range.
    ///
    /// # Errors
    /// As the backend's reads.
    fn remove(&mut self, range: &KeyRange) -> Result<(), StoreError>;
}

impl CommitRequest {
    /// Whether there is nothing to write and nothing to conflict with: such a transaction needs no commit.
    pub fn is_read_only(&self) -> bool {
        self.marks.is_empty() && self.clears.is_empty() && self.writes.is_empty() && self.stamped.is_empty()
    }

    /// Bytes of keys, values and conflict ranges.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The keys that this commit writes one by one at `version`.
    pub fn changed_keys(&self, version: CommitVersion) -> impl Iterator<Item = Bytes> + '_ {
        self.writes.keys().cloned().chain(self.stamped.iter().map(move |row| row.key(version)))
    }

    /// The ranges that this commit changes as a whole.
    pub fn changed_ranges(&self) -> impl Iterator<Item = &KeyRange> {
        self.marks.iter().chain(&self.clears)
    }

    /// Writes all into `target`.
    ///
    /// # Errors
    /// Those of `target`; it may then hold a part of the writes.
    pub fn apply(&self, version: CommitVersion, target: &mut dyn Apply) -> Result<(), StoreError> {
        for range in &self.clears {
            target.remove(range)?;
        }
        for (key, write) in &self.writes {
            let base = if matches!(write, Write::Atomic(_)) { target.get(key)? } else { None };
            target.put(key.clone(), write.on(base));
        }
        for row in &self.stamped {
            target.put(row.key(version), Some(row.value.clone()));
        }
        Ok(())
    }

    /// The transaction's own write of a key; a key that it cleared with a range counts.
    pub fn write_of(&self, key: &[u8]) -> Option<Write> {
        let cleared = || self.clears.iter().any(|range| range.contains(key)).then_some(Write::Value(None));
        self.writes.get(key).cloned().or_else(cleared)
    }

    /// The transaction's own writes of keys in a range, cleared ranges left out.
    pub fn writes_in(&self, range: &KeyRange) -> impl Iterator<Item = (&Bytes, &Write)> {
        let bounds = (Bound::Included(&range.begin), Bound::Excluded(&range.end));
        self.writes.range::<Bytes, _>(bounds)
    }

    /// Notes that a key is to have a value, or none.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] and [`StoreError::Invalid`], with nothing noted.
    pub fn put(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
        check_key(key)?;
        let value_bytes = value.map_or(0, <[u8]>::len);
        check_value(value_bytes)?;
        self.grow(key.len() + value_bytes)?;
        self.writes.insert(Bytes::copy_from_slice(key), Write::Value(value.map(Bytes::copy_from_slice)));
        Ok(())
    }

    /// Notes that a range is to be removed; the transaction's earlier writes in it are gone.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], with nothing noted.
    pub fn remove(&mut self, range: KeyRange) -> Result<(), StoreError> {
        self.grow(range.begin.len() + range.end.len())?;
        let covered: Vec<Bytes> = self.writes_in(&range).map(|(key, _)| key.clone()).collect();
        for key in covered {
            self.writes.remove(&key);
        }
        self.clears.push(range);
        Ok(())
    }

    /// Notes an operation on a value.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] and [`StoreError::Invalid`], with nothing noted.
    pub fn atomic(&mut self, key: &[u8], op: AtomicOp, operand: u64) -> Result<(), StoreError> {
        check_key(key)?;
        self.grow(key.len() + 8)?;
        let write = match self.write_of(key) {
            Some(Write::Atomic(mut ops)) => {
                match ops.last_mut() {
                    // Two adds are one; so are two of max.
                    Some((last, held)) if *last == op => match op {
                        AtomicOp::Add => *held = held.wrapping_add(operand),
                        AtomicOp::Max => *held = (*held).max(operand),
                    },
                    _ => ops.push((op, operand)),
                }
                Write::Atomic(ops)
            }
            Some(Write::Value(value)) => Write::Value(Some(op.apply(value.as_deref(), operand))),
            None => Write::Atomic(vec![(op, operand)]),
        };
        self.writes.insert(Bytes::copy_from_slice(key), write);
        Ok(())
    }

    /// Notes a row under a versionstamped key.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`] and [`StoreError::Invalid`], with nothing noted.
    pub fn stamp(&mut self, row: StampedRow) -> Result<(), StoreError> {
        check_key_bytes(row.prefix.len() + 10 + row.suffix.len())?;
        check_key_reach(&row.prefix)?;
        check_value(row.value.len())?;
        if self.stamped.iter().any(|other| other.prefix == row.prefix && other.suffix == row.suffix) {
            return Err(StoreError::Invalid("two versionstamped keys of one transaction need different suffixes"));
        }
        self.grow(row.prefix.len() + 10 + row.suffix.len() + row.value.len())?;
        self.stamped.push(row);
        Ok(())
    }

    /// Notes a range as written.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], with nothing noted.
    pub fn mark(&mut self, range: KeyRange) -> Result<(), StoreError> {
        self.grow(range.begin.len() + range.end.len())?;
        self.marks.push(range);
        Ok(())
    }

    /// Notes a range as read.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`], with nothing noted.
    pub fn depend(&mut self, range: KeyRange) -> Result<(), StoreError> {
        if self.reads.last() == Some(&range) {
            return Ok(());
        }
        self.grow(range.begin.len() + range.end.len())?;
        self.reads.push(range);
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), StoreError> {
        let size = self.bytes.saturating_add(bytes);
        if size > TRANSACTION_BYTES_MAX {
            return Err(StoreError::TooLarge { what: "transaction", size, limit: TRANSACTION_BYTES_MAX });
        }
        self.bytes = size;
        Ok(())
    }
}

/// Whether a key may be used by a transaction.
///
/// # Errors
/// [`StoreError::TooLarge`] and [`StoreError::Invalid`].
pub fn check_key(key: &[u8]) -> Result<(), StoreError> {
    check_key_bytes(key.len())?;
    check_key_reach(key)
}

fn check_key_bytes(size: usize) -> Result<(), StoreError> {
    if size > KEY_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "key", size, limit: KEY_BYTES_MAX });
    }
    Ok(())
}

fn check_key_reach(key: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() {
        return Err(StoreError::Invalid("a key must not be empty"));
    }
    if key.first() == Some(&0xff) {
        return Err(StoreError::Invalid("keys from 0xff on belong to the store itself"));
    }
    Ok(())
}

fn check_value(size: usize) -> Result<(), StoreError> {
    if size > VALUE_BYTES_MAX {
        return Err(StoreError::TooLarge { what: "value", size, limit: VALUE_BYTES_MAX });
    }
    Ok(())
}

/// The range of two bounds; `None` when it is empty.
///
/// # Errors
/// [`StoreError::TooLarge`] and [`StoreError::Invalid`].
pub fn checked_range(begin: &[u8], end: &[u8]) -> Result<Option<KeyRange>, StoreError> {
    check_key_bytes(begin.len())?;
    check_key_bytes(end.len().saturating_sub(1))?;
    if begin > end {
        return Err(StoreError::Invalid("a range must not end before it begins"));
    }
    if end > &b"\xff"[..] {
        return Err(StoreError::Invalid("keys from 0xff on belong to the store itself"));
    }
    let range = || KeyRange { begin: Bytes::copy_from_slice(begin), end: Bytes::copy_from_slice(end) };
    Ok((begin < end).then(range))
}
