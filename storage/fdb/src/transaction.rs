//! One transaction. It reads from FoundationDB at one version, keeps its writes and what it depends on, and hands all
//! to FoundationDB at its commit; so limits, own writes and ranges are the port's, and conflicts are FoundationDB's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use foundationdb::options::{ConflictRangeType, MutationType, StreamingMode};
use foundationdb::{FdbResult, KeySelector, RangeOption};
use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use steward_storage::optimistic::{
    CommitRequest, KeyRange, PendingWatch, RangeMerge, StampedRow, Watch, Write, check_key, checked_range, too_old,
};
use steward_storage::{AtomicOp, CommitVersion, ConflictRange, Isolation, Page, RangeRead, StoreError, Transaction};
use steward_types::limits::{
    FDB_COMMIT_TIME_MAX, FDB_READ_TIME_MAX, RANGE_BYTES_MAX, RANGE_ROWS_MAX, TRANSACTION_TIME_MAX,
};

use crate::failure::{self, within};
use crate::settling::Committing;
use crate::store::Shared;
use crate::watching;

/// A transaction of a [`FdbStore`](crate::FdbStore).
#[derive(Debug)]
pub(crate) struct FdbTransaction {
    store: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// FoundationDB's transaction, from the first question to the cluster on.
    remote: Option<foundationdb::Transaction>,
    /// Since when the transaction has a read version, or has asked for it.
    read_since: Option<Duration>,
    /// The question for the read version, where nothing that waits has asked for it.
    pinned: Option<BoxFuture<'static, FdbResult<i64>>>,
    request: CommitRequest,
    watches: Vec<PendingWatch>,
    ended: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read_since, request, ended, .. } = self;
        f.debug_struct("State")
            .field("read_since", read_since)
            .field("bytes", &request.bytes())
            .field("ended", ended)
            .finish_non_exhaustive()
    }
}

impl State {
    fn check(&self, store: &Shared) -> Result<(), StoreError> {
        if self.ended {
            return Err(StoreError::Invalid("the transaction was committed already"));
        }
        match self.read_since {
            Some(since) if store.client.clock.monotonic() > since + TRANSACTION_TIME_MAX => Err(too_old()),
            _ => Ok(()),
        }
    }

    fn remote(&mut self, store: &Shared) -> Result<&foundationdb::Transaction, StoreError> {
        if self.remote.is_none() {
            self.remote = Some(store.client.transaction()?);
        }
        Ok(self.remote.as_ref().expect("made just now"))
    }

    /// Asks the cluster something at the transaction's read version. The question is sent by this call.
    fn ask<T>(
        &mut self,
        store: &Shared,
        question: impl FnOnce(&foundationdb::Transaction) -> T,
    ) -> Result<T, StoreError> {
        self.check(store)?;
        // The time is taken first, so that the version is never older than the transaction thinks.
        self.read_since.get_or_insert_with(|| store.client.clock.monotonic());
        self.remote(store).map(question)
    }

    /// Fixes the read version: what others commit after this call is later than it.
    fn pin(&mut self, store: &Shared) -> Result<(), StoreError> {
        if self.read_since.is_some() {
            return self.check(store);
        }
        let version = self.ask(store, |remote| remote.get_read_version())?;
        self.pinned = Some(Box::pin(version));
        Ok(())
    }
}

impl FdbTransaction {
    pub(crate) fn new(store: Arc<Shared>) -> Self {
        Self { store, state: Mutex::default() }
    }

    fn write(&self, change: impl FnOnce(&mut CommitRequest) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut state = self.state.lock();
        state.check(&self.store)?;
        change(&mut state.request)
    }

    /// Rows of the database, up to `wanted` or to the bound in bytes, and whether there may be more.
    async fn rows(
        &self,
        range: &KeyRange,
        wanted: usize,
        reverse: bool,
    ) -> Result<(Vec<(Bytes, Bytes)>, bool), StoreError> {
        let client = &self.store.client;
        let (begin, end) = (client.stored_key(&range.begin), client.stored_key(&range.end));
        let mut rest = Some(RangeOption {
            begin: KeySelector::first_greater_or_equal(begin),
            end: KeySelector::first_greater_or_equal(end),
            limit: Some(wanted),
            mode: StreamingMode::WantAll,
            reverse,
            ..RangeOption::default()
        });
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
        while let Some(option) = rest.filter(|_| bytes <= RANGE_BYTES_MAX) {
            let answer = self.state.lock().ask(&self.store, |remote| remote.get_range(&option, 1, true))?;
            let values = within(FDB_READ_TIME_MAX, "rows", answer).await?.map_err(failure::of_read)?;
            for row in &values {
                bytes += row.key().len() - client.prefix_bytes() + row.value().len();
                rows.push((client.own_key(row.key()), Bytes::copy_from_slice(row.value())));
            }
            more = values.more();
            rest = option.next_range(&values);
        }
        Ok((rows, more))
    }

    /// What the transaction sees of the watched keys at its end, in their order.
    async fn seen(&self, parts: &Parts) -> Result<Vec<Option<Bytes>>, StoreError> {
        let stored = |watch: &PendingWatch| self.store.client.stored_key(watch.key());
        let reads = parts.watches.iter().map(|watch| parts.remote.get(&stored(watch), true));
        let values = within(FDB_READ_TIME_MAX, "watched values", join_all(reads)).await?;
        let with_own = |(watch, value): (&PendingWatch, FdbResult<Option<foundationdb::future::FdbSlice>>)| {
            let base = value.map_err(failure::of_read)?.map(|value| Bytes::copy_from_slice(&value));
            Ok(parts.request.write_of(watch.key()).map_or_else(|| base.clone(), |write| write.on(base.clone())))
        };
        parts.watches.iter().zip(values).map(with_own).collect()
    }

    /// Ends the transaction for its owner.
    fn end(&self) -> Result<Parts, StoreError> {
        let mut state = self.state.lock();
        state.check(&self.store)?;
        state.ended = true;
        state.remote(&self.store)?;
        let State { remote, request, watches, .. } = std::mem::take(&mut *state);
        state.ended = true;
        Ok(Parts { remote: remote.expect("made just now"), request, watches })
    }

    async fn commit_parts(&self, mut parts: Parts) -> Result<CommitVersion, StoreError> {
        let seen = self.seen(&parts).await?;
        let watches = std::mem::take(&mut parts.watches);
        let version = if parts.request.is_read_only() {
            let answer = parts.remote.get_read_version();
            within(FDB_READ_TIME_MAX, "version", answer).await?.map_err(failure::of_read)?
        } else {
            let bytes = parts.request.bytes();
            parts.hand_over(&self.store)?;
            let committing = Committing::new(parts.remote, Arc::clone(&self.store));
            let Ok(outcome) = within(FDB_COMMIT_TIME_MAX, "outcome", committing).await else {
                return Err(StoreError::CommitUnknown);
            };
            let committed = outcome.map_err(|error| failure::of_commit(*error, bytes))?;
            committed.committed_version().map_err(failure::of_read)?
        };
        for (watch, seen) in watches.into_iter().zip(seen) {
            watching::activate(&self.store, watch, seen);
        }
        Ok(CommitVersion(u64::try_from(version).unwrap_or(0)))
    }
}

/// What a transaction leaves for its commit.
struct Parts {
    remote: foundationdb::Transaction,
    request: CommitRequest,
    watches: Vec<PendingWatch>,
}

impl Parts {
    /// Tells FoundationDB's transaction all that ours depends on and writes, in the order that the port defines.
    fn hand_over(&self, store: &Shared) -> Result<(), StoreError> {
        let (remote, request, client) = (&self.remote, &self.request, &store.client);
        let conflict = |range: &KeyRange, kind| {
            let (begin, end) = (client.stored_key(&range.begin), client.stored_key(&range.end));
            remote.add_conflict_range(&begin, &end, kind).map_err(failure::of_read)
        };
        request.reads.iter().try_for_each(|range| conflict(range, ConflictRangeType::Read))?;
        request.marks.iter().try_for_each(|range| conflict(range, ConflictRangeType::Write))?;
        for range in &request.clears {
            remote.clear_range(&client.stored_key(&range.begin), &client.stored_key(&range.end));
        }
        for (key, write) in &request.writes {
            let key = client.stored_key(key);
            match write {
                Write::Value(Some(value)) => remote.set(&key, value),
                Write::Value(None) => remote.clear(&key),
                Write::Atomic(ops) => {
                    ops.iter().for_each(|&(op, operand)| remote.atomic_op(&key, &operand.to_le_bytes(), mutation(op)));
                }
            }
        }
        for row in &request.stamped {
            let key = stamped_key(&client.stored_key(&row.prefix), &row.suffix);
            remote.atomic_op(&key, &row.value, MutationType::SetVersionstampedKey);
        }
        Ok(())
    }
}

const fn mutation(op: AtomicOp) -> MutationType {
    match op {
        AtomicOp::Add => MutationType::Add,
        AtomicOp::Max => MutationType::Max,
    }
}

/// A key with room for its versionstamp, and behind it where the room is, little endian (FoundationDB's documentation
/// of `FDB_MUTATION_TYPE_SET_VERSIONSTAMPED_KEY`, from API version 520 on).
fn stamped_key(prefix: &[u8], suffix: &[u8]) -> Vec<u8> {
    let offset = u32::try_from(prefix.len()).unwrap_or(u32::MAX);
    [prefix, &[0xff; 10], suffix, &offset.to_le_bytes()].concat()
}

#[async_trait]
impl Transaction for FdbTransaction {
    async fn get(&self, key: &[u8], read: Isolation) -> Result<Option<Bytes>, StoreError> {
        check_key(key)?;
        self.store.client.ready().await?;
        let (own, answer) = {
            let mut state = self.state.lock();
            state.check(&self.store)?;
            let own = state.request.write_of(key);
            if let Some(Write::Value(value)) = own {
                return Ok(value);
            }
            let stored = self.store.client.stored_key(key);
            (own, state.ask(&self.store, |remote| remote.get(&stored, true))?)
        };
        let value = within(FDB_READ_TIME_MAX, "value", answer).await?.map_err(failure::of_read)?;
        let base = value.map(|value| Bytes::copy_from_slice(&value));
        if read == Isolation::Serializable {
            self.state.lock().request.depend(KeyRange::point(key))?;
        }
        Ok(match own {
            Some(write) => write.on(base),
            None => base,
        })
    }

    async fn range(&self, read: RangeRead) -> Result<Page, StoreError> {
        self.store.client.ready().await?;
        self.state.lock().check(&self.store)?;
        let Some(range) = checked_range(&read.begin, &read.end)?.filter(|_| read.limit > 0) else {
            return Ok(Page::default());
        };
        let mut merge = RangeMerge::new(range, read.limit.min(RANGE_ROWS_MAX), read.reverse);
        while let Some((rest, wanted)) = merge.wanted() {
            let (rows, more) = self.rows(rest, wanted, read.reverse).await?;
            merge.add(rows, more, &self.state.lock().request);
        }
        let (page, dependence) = merge.finish();
        if read.isolation == Isolation::Serializable {
            self.state.lock().request.depend(dependence)?;
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
                state.check(&self.store)?;
                checked_range(&begin, &end)?.map_or(Ok(()), |range| state.request.mark(range))
            }
            ConflictRange::Read(begin, end) => {
                // Whatever was written since the read version counts, so there must be one.
                state.pin(&self.store)?;
                checked_range(&begin, &end)?.map_or(Ok(()), |range| state.request.depend(range))
            }
        }
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        check_key(key)?;
        self.store.client.check_open()?;
        let mut state = self.state.lock();
        state.pin(&self.store)?;
        let (watch, pending) = self.store.watches.prepare(Bytes::copy_from_slice(key))?;
        state.watches.push(pending);
        Ok(watch)
    }

    async fn commit(&self) -> Result<CommitVersion, StoreError> {
        self.store.client.ready().await?;
        let parts = self.end()?;
        let clock = Arc::clone(&self.store.client.clock);
        let (writes, begun) = (!parts.request.is_read_only(), clock.monotonic());
        let outcome = self.commit_parts(parts).await;
        if writes {
            metrics::counter!("steward_fdb_commits_total", "outcome" => label(&outcome)).increment(1);
            metrics::histogram!("steward_fdb_commit_seconds").record((clock.monotonic() - begun).as_secs_f64());
            tracing::trace!(?outcome, "commit");
        }
        outcome
    }
}

const fn label(outcome: &Result<CommitVersion, StoreError>) -> &'static str {
    match outcome {
        Ok(_) => "committed",
        Err(StoreError::Conflict) => "conflict",
        Err(StoreError::TooOld { .. }) => "too_old",
        Err(StoreError::CommitUnknown) => "unknown",
        Err(_) => "failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_key_says_where_its_stamp_goes() {
        assert_eq!(stamped_key(b"ab", b"c"), *b"ab\xff\xff\xff\xff\xff\xff\xff\xff\xff\xffc\x02\0\0\0");
    }
}
