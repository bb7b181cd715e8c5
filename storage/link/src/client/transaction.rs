//! The client's transaction: keeps its writes and what it depends on, reads from the server's transaction, and hands
//! all to it with one message at commit.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use steward_storage::optimistic::{
    CommitRequest, KeyRange, PendingWatch, RangeMerge, StampedRow, Watch, Write, check_key, checked_range, too_old,
};
use steward_storage::{
    AtomicOp, CommitVersion, ConflictRange, Isolation, Page, RangeRead, StoreError, Transaction, Txn,
};
use steward_types::limits::{RANGE_ROWS_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_TIME_MAX};
use tokio::sync::OwnedSemaphorePermit;

use super::connection::{CallError, CallTerms, Connection, Pending, Reply};
use super::{CallPermit, Shared};
use crate::frame::FrameError;
use crate::wire::{Changes, Request, TransactionRef};

/// A new transaction; nothing is sent before its first read or its commit.
pub(crate) fn begin(shared: Arc<Shared>) -> Txn {
    Txn::new(Arc::new(RemoteTransaction { shared, state: Mutex::default() }))
}

#[derive(Debug)]
struct RemoteTransaction {
    shared: Arc<Shared>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bound: Option<Bound>,
    request: CommitRequest,
    /// Watches that the server has been asked for.
    watches: Vec<u64>,
    /// Watches asked for while there was no connection.
    unsent: Vec<PendingWatch>,
    /// The server's transaction is gone.
    lost: bool,
    ended: bool,
}

/// The server's transaction that this one reads from.
#[derive(Debug)]
struct Bound {
    connection: Arc<Connection>,
    id: u64,
    told: bool,
    taken: Duration,
    _place: Option<OwnedSemaphorePermit>,
}

/// What binds a transaction to a connection.
type Joining = (Arc<Connection>, Option<OwnedSemaphorePermit>);

impl Bound {
    fn reference(&mut self) -> TransactionRef {
        TransactionRef { id: self.id, first: !std::mem::replace(&mut self.told, true) }
    }
}

impl State {
    fn check(&self, now: Duration) -> Result<(), StoreError> {
        if self.ended {
            return Err(StoreError::Invalid("the transaction was committed already"));
        }
        let old = self.bound.as_ref().is_some_and(|bound| now > bound.taken + TRANSACTION_TIME_MAX);
        if self.lost || old { Err(too_old()) } else { Ok(()) }
    }

    /// The server's transaction, begun on `joining` if there is none yet.
    fn bind(&mut self, joining: Option<Joining>, shared: &Shared) -> Result<&mut Bound, StoreError> {
        if self.bound.is_none() {
            let Some((connection, place)) = joining else { return Err(too_old()) };
            let (id, taken) = (connection.next_transaction(), shared.clock.monotonic());
            let mut bound = Bound { connection, id, told: false, taken, _place: place };
            for watch in std::mem::take(&mut self.unsent) {
                let number = send_watch(&mut bound, watch, shared).inspect_err(|_| self.lost = true)?;
                self.watches.push(number);
            }
            self.bound = Some(bound);
        }
        self.bound.as_mut().ok_or_else(too_old)
    }
}

/// Asks the server for a watch; gives its number.
fn send_watch(bound: &mut Bound, watch: PendingWatch, shared: &Shared) -> Result<u64, StoreError> {
    let number = shared.watch_numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let of = bound.reference();
    bound.connection.watch(of, number, watch).map_err(|_| too_old())?;
    Ok(number)
}

impl RemoteTransaction {
    /// The state, if the transaction still takes calls.
    fn state(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.state.lock();
        state.check(self.shared.clock.monotonic())?;
        Ok(state)
    }

    fn write(&self, change: impl FnOnce(&mut CommitRequest) -> Result<(), StoreError>) -> Result<(), StoreError> {
        change(&mut self.state()?.request)
    }

    /// What the first read binds to; `None` if an earlier one has.
    async fn joining(&self) -> Result<Option<Joining>, StoreError> {
        if self.state()?.bound.is_some() {
            return Ok(None);
        }
        let place = self.shared.place().await?;
        Ok(Some((self.shared.connection().await?, Some(place))))
    }

    /// Takes the read version now, as far as that can be done without waiting: with a connection at hand.
    fn bind_now<'a>(&self, state: &'a mut State) -> Result<Option<&'a mut Bound>, StoreError> {
        if state.bound.is_none() {
            let Some(connection) = self.shared.connection_now()? else { return Ok(None) };
            let Ok(place) = Arc::clone(&self.shared.transactions).try_acquire_owned() else { return Ok(None) };
            return state.bind(Some((connection, Some(place))), &self.shared).map(Some);
        }
        Ok(state.bound.as_mut())
    }

    /// Sends a read, with what it depends on noted first.
    async fn read(
        &self,
        bytes: usize,
        depends_on: Option<KeyRange>,
        request: impl FnOnce(u64, TransactionRef) -> Request,
    ) -> Result<Reply, StoreError> {
        let permit = self.shared.permit(bytes).await?;
        let joining = self.joining().await?;
        let pending = {
            let mut state = self.state()?;
            if let Some(range) = depends_on {
                state.request.depend(range)?;
            }
            let bound = state.bind(joining, &self.shared)?;
            let of = bound.reference();
            bound.connection.call(self.terms(permit, Vec::new()), |call| request(call, of))
        };
        self.outcome(pending, too_old, || self.shared.unanswered()).await
    }

    fn terms(&self, permit: CallPermit, watches: Vec<u64>) -> CallTerms {
        CallTerms { permit, due: self.shared.clock.monotonic() + self.shared.call_time, watches }
    }

    /// A call's answer. What it means that there is none is the caller's to say.
    async fn outcome(
        &self,
        pending: Result<Pending, CallError>,
        when_lost: impl Fn() -> StoreError,
        when_late: impl Fn() -> StoreError,
    ) -> Result<Reply, StoreError> {
        let error = match pending {
            Ok(pending) => match pending.await.unwrap_or(Err(CallError::Lost)) {
                Ok(reply) => return Ok(reply),
                Err(CallError::Lost) => when_lost(),
                Err(CallError::Late) => when_late(),
                Err(CallError::Store(error)) => error,
                Err(CallError::Frame(error)) => too_large(&error),
            },
            // Nothing was sent.
            Err(CallError::Frame(error)) => too_large(&error),
            Err(_) => too_old(),
        };
        if matches!(error, StoreError::TooOld { .. }) {
            self.state.lock().lost = true;
        }
        Err(error)
    }

    fn unexpected(&self) -> StoreError {
        StoreError::unavailable(format!("the served store at {} gave another answer", self.shared.addresses))
    }
}

fn too_large(error: &FrameError) -> StoreError {
    let size = if let FrameError::TooLarge { bytes, .. } = error { *bytes } else { TRANSACTION_BYTES_MAX };
    StoreError::TooLarge { what: "transaction", size, limit: TRANSACTION_BYTES_MAX }
}

#[async_trait]
impl Transaction for RemoteTransaction {
    async fn get(&self, key: &[u8], read: Isolation) -> Result<Option<Bytes>, StoreError> {
        check_key(key)?;
        let own = self.state()?.request.write_of(key);
        if let Some(Write::Value(value)) = own {
            return Ok(value);
        }
        let key = Bytes::copy_from_slice(key);
        let depends_on = (read == Isolation::Serializable).then(|| KeyRange::point(&key));
        let reply = self.read(key.len(), depends_on, |call, of| Request::Get { call, of, key }).await?;
        let Reply::Value(value) = reply else { return Err(self.unexpected()) };
        Ok(match own {
            Some(write) => write.on(value),
            None => value,
        })
    }

    async fn range(&self, read: RangeRead) -> Result<Page, StoreError> {
        drop(self.state()?);
        let Some(range) = checked_range(&read.begin, &read.end)?.filter(|_| read.limit > 0) else {
            return Ok(Page::default());
        };
        let mut merge = RangeMerge::new(range, read.limit.min(RANGE_ROWS_MAX), read.reverse);
        while let Some((rest, wanted)) = merge.wanted() {
            let (KeyRange { begin, end }, reverse) = (rest.clone(), read.reverse);
            let limit = u32::try_from(wanted).unwrap_or(u32::MAX);
            let request = |call, of| Request::Range { call, of, begin, end, limit, reverse };
            let reply = self.read(rest.begin.len() + rest.end.len(), None, request).await?;
            let Reply::Page(rows, more) = reply else { return Err(self.unexpected()) };
            merge.add(rows, more, &self.state()?.request);
        }
        let (page, dependence) = merge.finish();
        let mut state = self.state()?;
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
        let mut state = self.state()?;
        match range {
            ConflictRange::Write(begin, end) => {
                checked_range(&begin, &end)?.map_or(Ok(()), |range| state.request.mark(range))
            }
            ConflictRange::Read(begin, end) => {
                // Whatever was written since the read version counts, so it is taken now.
                if let Some(bound) = self.bind_now(&mut state)? {
                    let of = bound.reference();
                    if of.first {
                        bound.connection.tell(&Request::Open { of });
                    }
                }
                checked_range(&begin, &end)?.map_or(Ok(()), |range| state.request.depend(range))
            }
        }
    }

    fn watch(&self, key: &[u8]) -> Result<Watch, StoreError> {
        check_key(key)?;
        let mut state = self.state()?;
        let (watch, pending) = self.shared.watches.prepare(Bytes::copy_from_slice(key))?;
        match self.bind_now(&mut state)? {
            Some(bound) => {
                let number = send_watch(bound, pending, &self.shared)?;
                state.watches.push(number);
            }
            None => state.unsent.push(pending),
        }
        Ok(watch)
    }

    async fn commit(&self) -> Result<CommitVersion, StoreError> {
        let bytes = self.state()?.request.bytes();
        let permit = self.shared.permit(bytes).await?;
        let is_bound = self.state()?.bound.is_some();
        let joining = if is_bound { None } else { Some((self.shared.connection().await?, None)) };
        let (pending, writes) = {
            let mut state = self.state()?;
            state.bind(joining, &self.shared)?;
            state.ended = true;
            let mut request = std::mem::take(&mut state.request);
            let writes = !request.is_read_only();
            if !writes {
                // What only reads always commits, at its read version.
                request.reads.clear();
            }
            let (changes, watches) = (Changes::from(request), std::mem::take(&mut state.watches));
            let mut bound = state.bound.take().ok_or_else(too_old)?;
            let of = bound.reference();
            let terms = self.terms(permit, watches.clone());
            let pending = bound.connection.call(terms, |call| Request::Commit { call, of, changes });
            if pending.is_err() {
                bound.connection.forget(&watches);
            }
            (pending, writes)
        };
        let unknown = || if writes { StoreError::CommitUnknown } else { too_old() };
        let late = || if writes { StoreError::CommitUnknown } else { self.shared.unanswered() };
        match self.outcome(pending, unknown, late).await? {
            Reply::Committed(version) => Ok(version),
            Reply::Value(_) | Reply::Page(..) => Err(self.unexpected()),
        }
    }
}

impl Drop for RemoteTransaction {
    fn drop(&mut self) {
        let state = self.state.get_mut();
        if let Some(bound) = state.bound.take() {
            bound.connection.forget(&state.watches);
            if bound.told && !bound.connection.is_lost() {
                bound.connection.tell(&Request::End { transaction: bound.id });
            }
        }
    }
}
