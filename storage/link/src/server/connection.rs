//! One client's connection: its transactions, calls in hand and watches, in one task.
//!
//! Requests are begun in the order in which they came, so that a commit sees the store no earlier than the reads
//! before it. While too much is in hand nothing more is read, and the network holds the client back.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{AbortHandle, Abortable, BoxFuture};
use futures::stream::{FuturesUnordered, StreamExt};
use steward_storage::optimistic::too_old;
use steward_storage::{Isolation, RangeRead, Store, StoreError, Txn, Watch};
use steward_types::Clock;
use steward_types::limits::{
    SERVED_CALL_BYTES_MAX, SERVED_CALLS_MAX, SERVED_HEARTBEAT_TIME, SERVED_SILENT_HEARTBEATS_MAX,
    SERVED_TRANSACTIONS_MAX, SERVED_WATCHES_MAX, SHUTDOWN_TIME_MAX, TRANSACTION_TIME_MAX,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_util::sync::CancellationToken;

use super::Counters;
use crate::deadline::within;
use crate::frame::{self, FrameError, FrameReader};
use crate::wire::{Answer, Changes, Request, TransactionRef};

/// Bytes of answers that are written before more requests are begun.
const ANSWER_BYTES: usize = 256 << 10;
/// A key for a read that is made only to take the read version.
const ANY_KEY: &[u8] = b"\0";

/// Why a connection ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// The client closed it.
    Closed,
    /// The client connected again.
    Replaced,
    /// The server stops.
    Drained,
    /// The client sent nothing for too long, or took nothing.
    Silent,
    /// What came was not understood, or the connection broke.
    Broken(FrameError),
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("it closed the connection"),
            Self::Replaced => f.write_str("it connected again"),
            Self::Drained => f.write_str("the server stops"),
            Self::Silent => f.write_str("it was silent for too long"),
            Self::Broken(error) => write!(f, "{error}"),
        }
    }
}

impl From<FrameError> for Ending {
    fn from(error: FrameError) -> Self {
        Self::Broken(error)
    }
}

/// An answer with the bytes of its call, which count until it is there.
type Done = (usize, Answer);
/// A watch that resolved, or `Err` when it was given up.
type WatchDone = Result<(u64, Result<(), StoreError>), futures::future::Aborted>;

/// A connection that is served.
pub(super) struct Serving<'a, R, W> {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    counters: &'a Counters,
    frames: FrameReader<R>,
    sink: W,
    transactions: HashMap<u64, Open>,
    calls: FuturesUnordered<BoxFuture<'static, Done>>,
    call_bytes: usize,
    watches: FuturesUnordered<BoxFuture<'static, WatchDone>>,
    watching: HashMap<u64, AbortHandle>,
    answers: Vec<u8>,
    silent: u32,
    told: bool,
}

/// A transaction of the client. It holds a version of the store, so it is not kept longer than it may live.
struct Open {
    txn: Txn,
    opened: Duration,
    watches: Vec<(u64, Watch)>,
}

/// What there is to do next.
enum Event {
    Frame(Result<Option<Bytes>, FrameError>),
    Done(Done),
    Watch(WatchDone),
    Beat,
    Drain,
}

impl<R, W> Drop for Serving<'_, R, W> {
    fn drop(&mut self) {
        self.counters.transactions.fetch_sub(self.transactions.len(), Ordering::Relaxed);
        self.counters.watches.fetch_sub(self.watching.len(), Ordering::Relaxed);
    }
}

impl<'a, R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Serving<'a, R, W> {
    /// A connection that was greeted.
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        counters: &'a Counters,
        frames: FrameReader<R>,
        sink: W,
    ) -> Self {
        Self {
            store,
            clock,
            counters,
            frames,
            sink,
            transactions: HashMap::new(),
            calls: FuturesUnordered::new(),
            call_bytes: 0,
            watches: FuturesUnordered::new(),
            watching: HashMap::new(),
            answers: Vec::new(),
            silent: 0,
            told: false,
        }
    }

    /// Serves until the connection ends. Dropping the future ends it at once; what was handed to the store stays.
    pub(super) async fn run(mut self, drain: &CancellationToken) -> Ending {
        let clock = Arc::clone(&self.clock);
        let mut beat = clock.sleep(SERVED_HEARTBEAT_TIME);
        loop {
            let event = self.next(&mut beat, drain).await;
            if matches!(event, Event::Beat) {
                beat = clock.sleep(SERVED_HEARTBEAT_TIME);
            }
            if let Err(ending) = self.on(event).await {
                return ending;
            }
        }
    }

    fn has_room(&self) -> bool {
        self.calls.len() < SERVED_CALLS_MAX && self.call_bytes < SERVED_CALL_BYTES_MAX
    }

    async fn next(&mut self, beat: &mut (impl Future<Output = ()> + Unpin), drain: &CancellationToken) -> Event {
        let has_room = self.has_room();
        let Self { frames, calls, watches, .. } = self;
        tokio::select! {
            biased;
            () = drain.cancelled() => Event::Drain,
            () = beat => Event::Beat,
            Some(done) = calls.next() => Event::Done(done),
            Some(done) = watches.next() => Event::Watch(done),
            frame = frames.next(), if has_room => Event::Frame(frame),
        }
    }

    async fn on(&mut self, event: Event) -> Result<(), Ending> {
        match event {
            Event::Frame(frame) => {
                let frame = frame?.ok_or(Ending::Closed)?;
                self.silent = 0;
                self.begin(&frame).await?;
            }
            Event::Done(done) => self.done(done)?,
            Event::Watch(done) => self.watch_done(done)?,
            Event::Beat => self.beat()?,
            Event::Drain => return Err(self.drain().await),
        }
        // What is there already shares the write.
        loop {
            while let Some(Some(done)) = self.calls.next().now_or_never() {
                self.done(done)?;
            }
            while let Some(Some(done)) = self.watches.next().now_or_never() {
                self.watch_done(done)?;
            }
            if self.answers.len() >= ANSWER_BYTES {
                self.flush().await?;
            }
            if !self.has_room() {
                break;
            }
            let Some(frame) = self.frames.buffered()? else { break };
            self.begin(&frame).await?;
        }
        self.flush().await
    }

    /// Begins what a frame asks for.
    async fn begin(&mut self, frame: &[u8]) -> Result<(), Ending> {
        let bytes = frame.len();
        match frame::decode(frame)? {
            Request::Open { of } => {
                if let Ok(Some(txn)) = self.transaction(of).map(|open| of.first.then(|| open.txn.clone())) {
                    // An error of this read shows again with the transaction's next call.
                    let _ = txn.get(ANY_KEY, Isolation::Snapshot).await;
                }
                Ok(())
            }
            Request::Get { call, of, key } => {
                let txn = self.transaction(of).map(|open| open.txn.clone());
                let read = async move {
                    let value = txn?.get(&key, Isolation::Snapshot).await?;
                    Ok::<_, StoreError>(Answer::Value { call, value })
                };
                self.call(call, bytes, read).await
            }
            Request::Range { call, of, begin, end, limit, reverse } => {
                let txn = self.transaction(of).map(|open| open.txn.clone());
                let limit = usize::try_from(limit).unwrap_or(usize::MAX);
                let range = RangeRead { reverse, ..RangeRead::new(begin, end).limit(limit).snapshot() };
                let read = async move {
                    let page = txn?.range(range).await?;
                    Ok::<_, StoreError>(Answer::Page { call, rows: page.rows, more: page.more })
                };
                self.call(call, bytes, read).await
            }
            Request::Watch { of, watch, key } => self.watch(of, watch, &key),
            Request::Commit { call, of, changes } => self.commit(call, bytes, of, changes).await,
            Request::End { transaction } => {
                if self.transactions.remove(&transaction).is_some() {
                    self.counters.transactions.fetch_sub(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Request::Unwatch { watch } => {
                if let Some(watching) = self.watching.remove(&watch) {
                    watching.abort();
                    self.counters.watches.fetch_sub(1, Ordering::Relaxed);
                }
                Ok(())
            }
            Request::Alive => Ok(()),
        }
    }

    /// The transaction, new if the client says so.
    fn transaction(&mut self, of: TransactionRef) -> Result<&mut Open, StoreError> {
        if of.first && !self.transactions.contains_key(&of.id) {
            if self.transactions.len() >= SERVED_TRANSACTIONS_MAX {
                return Err(StoreError::unavailable("the connection has too many transactions open"));
            }
            let open = Open { txn: self.store.begin(), opened: self.clock.monotonic(), watches: Vec::new() };
            self.transactions.insert(of.id, open);
            self.counters.transactions.fetch_add(1, Ordering::Relaxed);
        }
        self.transactions.get_mut(&of.id).ok_or_else(too_old)
    }

    async fn call(
        &mut self,
        call: u64,
        bytes: usize,
        work: impl Future<Output = Result<Answer, StoreError>> + Send + 'static,
    ) -> Result<(), Ending> {
        let failed = move |error: StoreError| Answer::Failed { call, failure: error.into() };
        let mut work = async move { (bytes, work.await.unwrap_or_else(failed)) }.boxed();
        self.call_bytes += bytes;
        // Begun at once, so that the store sees calls in their order; most reads are done with that.
        match futures::poll!(&mut work) {
            Poll::Ready(done) => self.done(done)?,
            Poll::Pending => self.calls.push(work),
        }
        Ok(())
    }

    async fn commit(&mut self, call: u64, bytes: usize, of: TransactionRef, changes: Changes) -> Result<(), Ending> {
        let open = match self.transactions.remove(&of.id) {
            Some(open) => {
                self.counters.transactions.fetch_sub(1, Ordering::Relaxed);
                Ok(open)
            }
            None if of.first => Ok(Open { txn: self.store.begin(), opened: Duration::ZERO, watches: Vec::new() }),
            None => Err(too_old()),
        };
        let (txn, watches) = match open {
            Ok(open) => (Ok(open.txn), open.watches),
            Err(error) => (Err(error), Vec::new()),
        };
        // They resolve, or fail with the commit.
        for (number, watch) in watches {
            let (handle, registration) = AbortHandle::new_pair();
            self.watching.insert(number, handle);
            self.counters.watches.fetch_add(1, Ordering::Relaxed);
            self.watches.push(Abortable::new(watch.map(move |changed| (number, changed)), registration).boxed());
        }
        let work = async move {
            let txn = txn?;
            changes.replay(&txn)?;
            let version = txn.commit().await?.0;
            Ok::<_, StoreError>(Answer::Committed { call, version })
        };
        self.call(call, bytes, work).await
    }

    fn watch(&mut self, of: TransactionRef, number: u64, key: &[u8]) -> Result<(), Ending> {
        let held = self.watching.len() + self.transactions.values().map(|open| open.watches.len()).sum::<usize>();
        let watched = self.transaction(of).and_then(|open| {
            if held >= SERVED_WATCHES_MAX {
                return Err(StoreError::TooLarge { what: "watches", size: held + 1, limit: SERVED_WATCHES_MAX });
            }
            open.watches.push((number, open.txn.watch(key)?));
            Ok(())
        });
        if let Err(error) = watched {
            tracing::debug!(%error, "a watch of the served store was refused");
            self.answer(&Answer::WatchEnded { watch: number })?;
        }
        Ok(())
    }

    fn done(&mut self, (bytes, answer): Done) -> Result<(), Ending> {
        self.call_bytes -= bytes;
        if matches!(answer, Answer::Committed { .. }) {
            self.counters.commits.fetch_add(1, Ordering::Relaxed);
        }
        self.answer(&answer)
    }

    fn watch_done(&mut self, done: WatchDone) -> Result<(), Ending> {
        // One that was given up is not among the watches any more.
        let Ok((watch, changed)) = done else { return Ok(()) };
        if self.watching.remove(&watch).is_some() {
            self.counters.watches.fetch_sub(1, Ordering::Relaxed);
        }
        self.answer(&if changed.is_ok() { Answer::Changed { watch } } else { Answer::WatchEnded { watch } })
    }

    fn answer(&mut self, answer: &Answer) -> Result<(), Ending> {
        Ok(frame::append(answer, &mut self.answers)?)
    }

    /// Shows that the server lives, notices when the client does not, and ends transactions that are too old.
    fn beat(&mut self) -> Result<(), Ending> {
        // While nothing is read, silence says nothing.
        self.silent = if self.has_room() { self.silent + 1 } else { 0 };
        if self.silent > SERVED_SILENT_HEARTBEATS_MAX {
            return Err(Ending::Silent);
        }
        let (now, before) = (self.clock.monotonic(), self.transactions.len());
        self.transactions.retain(|_, open| now <= open.opened + TRANSACTION_TIME_MAX);
        self.counters.transactions.fetch_sub(before - self.transactions.len(), Ordering::Relaxed);
        if std::mem::take(&mut self.told) { Ok(()) } else { self.answer(&Answer::Alive) }
    }

    /// Writes the answers. A client that takes none for too long is given up.
    async fn flush(&mut self) -> Result<(), Ending> {
        if self.answers.is_empty() {
            return Ok(());
        }
        self.told = true;
        let Self { sink, answers, clock, .. } = self;
        let written = async {
            sink.write_all(answers).await?;
            sink.flush().await
        };
        let written = within(&**clock, SERVED_HEARTBEAT_TIME * SERVED_SILENT_HEARTBEATS_MAX, written).await;
        self.answers.clear();
        self.answers.shrink_to(ANSWER_BYTES);
        written.ok_or(Ending::Silent)?.map_err(|error| Ending::Broken(FrameError::Io(error)))
    }

    /// Answers the calls in hand, takes no more, and closes the connection.
    async fn drain(&mut self) -> Ending {
        let clock = Arc::clone(&self.clock);
        let settled = async {
            while let Some(done) = self.calls.next().await {
                self.done(done)?;
            }
            self.flush().await?;
            self.sink.shutdown().await.map_err(|error| Ending::Broken(FrameError::Io(error)))
        };
        match within(&*clock, SHUTDOWN_TIME_MAX, settled).await {
            Some(Err(ending)) => ending,
            Some(Ok(())) | None => Ending::Drained,
        }
    }
}
