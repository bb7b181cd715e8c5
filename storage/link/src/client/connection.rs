//! One connection as transactions see it: calls with their answers and deadlines, and watches.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use steward_storage::optimistic::PendingWatch;
use steward_storage::{CommitVersion, StoreError};
use tokio::sync::{mpsc, oneshot};

use super::CallPermit;
use crate::frame::{self, FrameError};
use crate::wire::{Answer, Request, TransactionRef};

/// A connection. Frames are handed to its writer in the order of the calls.
#[derive(Debug)]
pub(crate) struct Connection {
    frames: mpsc::UnboundedSender<Vec<u8>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    lost: bool,
    last_call: u64,
    last_transaction: u64,
    calls: HashMap<u64, Call>,
    watches: HashMap<u64, Watching>,
}

/// A call without an answer yet.
#[derive(Debug)]
struct Call {
    reply: oneshot::Sender<Result<Reply, CallError>>,
    due: Duration,
    /// The watches that its commit makes active.
    watches: Vec<u64>,
    _permit: CallPermit,
}

#[derive(Debug)]
struct Watching {
    watch: PendingWatch,
    committed: bool,
}

/// What a call was answered.
#[derive(Debug)]
pub(crate) enum Reply {
    Value(Option<Bytes>),
    Page(Vec<(Bytes, Bytes)>, bool),
    Committed(CommitVersion),
}

/// Why a call has no answer.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The store's own error.
    Store(StoreError),
    /// The connection was lost before the answer.
    Lost,
    /// The answer did not come in time.
    Late,
    /// It does not fit into a frame; nothing was sent.
    Frame(FrameError),
}

/// Where a call's answer arrives.
pub(crate) type Pending = oneshot::Receiver<Result<Reply, CallError>>;

/// What goes with a call.
#[derive(Debug)]
pub(crate) struct CallTerms {
    pub(crate) permit: CallPermit,
    /// When it is given up, on the clock's monotonic time.
    pub(crate) due: Duration,
    pub(crate) watches: Vec<u64>,
}

impl Connection {
    /// A connection whose frames `frames` takes to the server.
    pub(crate) fn new(frames: mpsc::UnboundedSender<Vec<u8>>) -> Self {
        Self { frames, state: Mutex::default() }
    }

    /// A number for a transaction of this connection.
    pub(crate) fn next_transaction(&self) -> u64 {
        let mut state = self.state.lock();
        state.last_transaction += 1;
        state.last_transaction
    }

    /// Sends a call. It stays in hand until it is answered, overdue, or the connection is lost.
    pub(crate) fn call(&self, terms: CallTerms, request: impl FnOnce(u64) -> Request) -> Result<Pending, CallError> {
        let number = {
            let mut state = self.state.lock();
            state.last_call += 1;
            state.last_call
        };
        let mut encoded = Vec::new();
        frame::append(&request(number), &mut encoded).map_err(CallError::Frame)?;
        let CallTerms { permit, due, watches } = terms;
        let (reply, pending) = oneshot::channel();
        let mut state = self.state.lock();
        if state.lost {
            return Err(CallError::Lost);
        }
        state.calls.insert(number, Call { reply, due, watches, _permit: permit });
        // Its receiver is gone only with the connection, which then answers the call as lost.
        let _ = self.frames.send(encoded);
        Ok(pending)
    }

    /// Enters a watch and asks the server for it. It fails when its transaction does not commit.
    pub(crate) fn watch(&self, of: TransactionRef, number: u64, watch: PendingWatch) -> Result<(), CallError> {
        let request = Request::Watch { of, watch: number, key: watch.key().clone() };
        let mut state = self.state.lock();
        if state.lost {
            return Err(CallError::Lost);
        }
        state.watches.insert(number, Watching { watch, committed: false });
        drop(state);
        self.tell(&request);
        Ok(())
    }

    /// Gives up watches whose transaction does not commit.
    pub(crate) fn forget(&self, watches: &[u64]) {
        let forgotten: Vec<_> = {
            let mut state = self.state.lock();
            watches.iter().filter_map(|number| state.watches.remove(number)).collect()
        };
        // Dropped without the lock: who waits for them is woken.
        drop(forgotten);
    }

    /// Sends what needs no answer.
    pub(crate) fn tell(&self, request: &Request) {
        let mut encoded = Vec::new();
        if frame::append(request, &mut encoded).is_ok() {
            // A connection that is gone needs to be told nothing.
            let _ = self.frames.send(encoded);
        }
    }

    /// Whether the connection is gone.
    pub(crate) fn is_lost(&self) -> bool {
        self.state.lock().lost
    }

    /// Takes what the server sent.
    pub(crate) fn take(&self, answer: Answer) {
        match answer {
            Answer::Value { call, value } => self.answer(call, Ok(Reply::Value(value))),
            Answer::Page { call, rows, more } => self.answer(call, Ok(Reply::Page(rows, more))),
            Answer::Committed { call, version } => {
                self.answer(call, Ok(Reply::Committed(CommitVersion(version))));
            }
            Answer::Failed { call, failure } => self.answer(call, Err(CallError::Store(failure.into()))),
            Answer::Changed { watch } => {
                let changed = self.state.lock().watches.remove(&watch);
                if let Some(Watching { watch, .. }) = changed {
                    watch.resolve();
                }
            }
            Answer::WatchEnded { watch } => self.forget(&[watch]),
            Answer::Alive => {}
        }
    }

    fn answer(&self, number: u64, outcome: Result<Reply, CallError>) {
        let mut state = self.state.lock();
        // A call that was given up is not there any more.
        let Some(call) = state.calls.remove(&number) else { return };
        if outcome.is_ok() {
            for watch in &call.watches {
                if let Some(watching) = state.watches.get_mut(watch) {
                    watching.committed = true;
                }
            }
        }
        drop(state);
        if outcome.is_err() {
            self.forget(&call.watches);
        }
        // Who called may have gone.
        let _ = call.reply.send(outcome);
    }

    /// Gives up the calls that are overdue at `now`, and tells the server of watches that nobody waits for.
    pub(crate) fn sweep(&self, now: Duration) {
        let (overdue, abandoned) = {
            let mut state = self.state.lock();
            let State { calls, watches, .. } = &mut *state;
            let overdue: Vec<u64> =
                calls.iter().filter(|(_, call)| call.due <= now).map(|(&number, _)| number).collect();
            let gone = |(&number, watching): (&u64, &Watching)| watching.watch.is_abandoned().then_some(number);
            (overdue, watches.iter().filter_map(gone).collect::<Vec<u64>>())
        };
        overdue.into_iter().for_each(|number| self.answer(number, Err(CallError::Late)));
        self.forget(&abandoned);
        abandoned.into_iter().for_each(|watch| self.tell(&Request::Unwatch { watch }));
    }

    /// Ends the connection: every call in hand is answered as lost. Gives back the active watches.
    pub(crate) fn lose(&self) -> Vec<PendingWatch> {
        let (calls, watches) = {
            let mut state = self.state.lock();
            state.lost = true;
            (std::mem::take(&mut state.calls), std::mem::take(&mut state.watches))
        };
        for call in calls.into_values() {
            // Who called may have gone.
            let _ = call.reply.send(Err(CallError::Lost));
        }
        watches.into_values().filter(|watching| watching.committed).map(|watching| watching.watch).collect()
    }
}
