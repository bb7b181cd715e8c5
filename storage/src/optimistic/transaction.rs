//! The optimistic transaction: reads from one snapshot, keeps its writes, and hands all to its backend at commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use steward_types::limits::{RANGE_ROWS_MAX, TRANSACTION_TIME_MAX};

use super::conflicts::too_old;
use super::watches::{PendingWatch, Watch};
use super::write_set::{CommitRequest, KeyRange, StampedRow, Write, check_key, checked_range};
use super::{Backend, RangeMerge, Snapshot};
use crate::{AtomicOp, CommitVersion, ConflictRange, Isolation, Page, RangeRead, StoreError, Transaction, Txn};

/// A new transaction on `backend`.
pub fn begin(backend: Arc<dyn Backend>) -> Txn {
    Txn::new(Arc::new(OptimisticTransaction { backend, state: Mutex::new(State::default()) }))
}

#[derive(Debug)]
struct OptimisticTransaction {
    backend: Arc<dyn Backend>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    read_at: Option<ReadAt>,
    request: CommitRequest,
    watches: Vec<(PendingWatch, Option<Bytes>)>,
    ended: bool,
}

/// The state that the transaction reads, since when.
#[derive(Debug)]
struct ReadAt {
    snapshot: Arc<dyn Snapshot>,
    taken: Duration,
}

impl State {
    fn check(&self, backend: &dyn Backend) -> Result<(), StoreError> {
        if self.ended {
            return Err(StoreError::Invalid("the transaction was committed already"));
        }
        match &self.read_at {
            Some(read_at) if backend.clock().monotonic() > read_at.taken + TRANSACTION_TIME_MAX => Err(too_old()),
            _ => Ok(()),
        }
    }

    fn snapshot(&mut self, backend: &dyn Backend) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.check(backend)?;
        if let Some(read_at) = &self.read_at {
            return Ok(Arc::clone(&read_at.snapshot));
        }
        // The time is taken first, so that the snapshot is never older than the transaction thinks.
        let taken = backend.clock().monotonic();
        let snapshot = backend.snapshot()?;
        self.request.read_version = Some(snapshot.version());
        self.read_at = Some(ReadAt { snapshot: Arc::clone(&snapshot), taken });
        Ok(snapshot)
    }

    /// The value that the transaction sees, and whether it came from the snapshot.
    fn value(&mut self, backend: &dyn Backend, key: &[u8]) -> Result<(Option<Bytes>, bool), StoreError> {
        match self.request.write_of(key) {
            Some(Write::Value(value)) => {
                self.check(backend)?;
                Ok((value, false))
            }
            Some(write) => Ok((write.on(self.snapshot(backend)?.get(key)?), true)),
            None => Ok((self.snapshot(backend)?.get(key)?, true)),
        }
    }
}

impl OptimisticTransaction {
    fn write(&self, change: impl FnOnce(&mut CommitRequest) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.check(&*self.backend)?;
        change(&mut state.request)
    }
}

#[async_trait]
impl Transaction for OptimisticTransaction {
    async fn get(&self, key: &[u8], read: Isolation) -> Result<Option<Bytes>, StoreError> {
        check_key(key)?;
        let mut state = self.state.lock();
        let (value, from_snapshot) = state.value(&*self.backend, key)?;
        if from_snapshot && read == Isolation::Serializable {
            state.request.depend(KeyRange::point(key))?;
        }
        Ok(value)
    }

    async fn range(&self, read: RangeRead) -> Result<Page, StoreError> {
        let mut state = self.state.lock();
        let snapshot = state.snapshot(&*self.backend)?;
        let Some(range) = checked_range(&read.begin, &read.end)?.filter(|_| read.limit > 0) else {
            return Ok(Page::default());
        };
        let mut merge = RangeMerge::new(range, read.limit.min(RANGE_ROWS_MAX), read.reverse);
        while let Some((rest, wanted)) = merge.wanted() {
            let rows = snapshot.rows(rest, wanted, read.reverse)?;
            let more = rows.len() >= wanted;
            merge.add(rows, more, &state.request);
        }
        let (page, dependence) = merge.finish();
        if read.isolation == Isolation::Serializable {
            state.request.depend(dependence)?;
        }
        Ok(page)
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
        self.write(|request| request.put(key, Some(value)))
    }

    fn clear(&self, key: &[u8]) -> Result<(), StoreError> {
        self.write(|request| request.put(key, None))
    }

    fn clear_range(&self, begin: &[u8], end: &[u8]) -> Result<(), StoreError> {
        self.write(|request| checked_range(begin, end)?.map_or(Ok(()), |range| request.remove(range)))
    }

    fn atomic(&self, key: &[u8], op: AtomicOp, operand: u64) -> Result<(), StoreError> {
        self.write(|request| request.atomic(key, op, operand))
    }

    fn set_versionstamped_key(&self, prefix: &[u8], suffix: &[u8], value: &[u8]) -> Result<(), StoreError> {
        let [prefix, suffix, value] = [prefix, suffix, value].map(Bytes::copy_from_slice);
        self.write(|request| request.stamp(StampedRow { prefix, suffix, value }))
    }

    fn add_conflict(&self, range: ConflictRange) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        match range {
            ConflictRange::Write(begin, end) => {
                state.check(&*self.backend)?;
                checked_range(&begin, &end)?.map_or(Ok(()), |range| state.request.mark(range))
            }
            ConflictRange::Read(begin, end) => {
                // Whatever was written since the read version counts, so there must be one.
                state.snapshot(&*self.backend)?;
                checked_range(&begin, &end)?.map_or(Ok(()), |range| state.request.depend(range))
            }
        }
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        check_key(key)?;
        let mut state = self.state.lock();
        let base = state.snapshot(&*self.backend)?.get(key)?;
        let (watch, pending) = self.backend.watches().prepare(Bytes::copy_from_slice(key))?;
        state.watches.push((pending, base));
        Ok(watch)
    }

    async fn commit(&self) -> Result<CommitVersion, StoreError> {
        let (request, watches) = {
            let mut state = self.state.lock();
            state.check(&*self.backend)?;
            state.ended = true;
            state.read_at = None;
            (std::mem::take(&mut state.request), std::mem::take(&mut state.watches))
        };
        // What the transaction sees at its end is what its watches compare with.
        let expected = |(watch, base): (PendingWatch, Option<Bytes>)| {
            let own = request.write_of(watch.key());
            let seen = own.map_or_else(|| base.clone(), |write| write.on(base.clone()));
            (watch, seen)
        };
        let watches: Vec<_> = watches.into_iter().map(expected).collect();
        let version = match request.read_version {
            Some(version) if request.is_read_only() => version,
            None if request.is_read_only() => self.backend.snapshot()?.version(),
            _ => self.backend.commit(request).await?,
        };
        for (watch, seen) in watches {
            self.backend.watches().activate(watch, seen.as_ref(), || self.backend.snapshot())?;
        }
        Ok(version)
    }
}
