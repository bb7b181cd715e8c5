//! The calling end of a channel: it dials, keeps the connection alive, and knows which calls wait for an answer.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use steward_types::NodeId;
use steward_types::limits::OVERLOAD_RETRY_AFTER;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::dial::{DialError, Greeted, Resume, dial};
use super::error::CallError;
use super::frame::{Frame, Outcome, PING, RequestId, Tag, decode};
use super::line::Line;
use super::peers::PeerState;
use super::sessions::{Connection, Inbox};
use super::shared::{Shared, within};
use super::{Lane, PeerAddress};

/// A call that is to be made.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub id: Option<RequestId>,
    pub kind: u16,
    pub payload: Bytes,
    pub due: Duration,
}

/// The channel to one peer on one lane.
pub(super) struct Outbound {
    shared: Arc<Shared>,
    node: NodeId,
    lane: Lane,
    state: Mutex<State>,
    ended: CancellationToken,
    moved: Notify,
}

struct State {
    address: SocketAddr,
    line: Line,
    /// The accepting end's name for the channel.
    channel: Option<Tag>,
    waiting: HashMap<u64, oneshot::Sender<Result<Bytes, CallError>>>,
    next_call: u64,
    heard: Duration,
    detached: Duration,
    failure: String,
}

impl Outbound {
    pub fn new(shared: Arc<Shared>, peer: PeerAddress, lane: Lane) -> Arc<Self> {
        let state = State {
            address: peer.address,
            line: Line::new(shared.config.limits),
            channel: None,
            waiting: HashMap::new(),
            next_call: 0,
            heard: shared.clock.monotonic(),
            detached: shared.clock.monotonic(),
            failure: "it was not connected in time".to_owned(),
        };
        let ended = shared.stop.child_token();
        Arc::new(Self { shared, node: peer.node, lane, state: Mutex::new(state), ended, moved: Notify::new() })
    }

    /// The peer may have a new address; the next connection goes there.
    pub fn move_to(&self, address: SocketAddr) {
        let mut state = self.state.lock();
        if state.address != address {
            state.address = address;
            self.moved.notify_one();
        }
    }

    /// Ends the channel and its connection; unfinished calls fail.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// Makes a call and waits for its end, at the latest until it is due.
    pub async fn ask(self: &Arc<Self>, question: Question) -> Result<Bytes, CallError> {
        let (reply, answer) = oneshot::channel();
        let due = question.due;
        let call = self.enqueue(question, reply)?;
        let mut unfinished = Unfinished { channel: self, call: Some(call) };
        let left = due.saturating_sub(self.shared.clock.monotonic());
        let end = within(&*self.shared.clock, left, answer).await;
        match end {
            Some(Ok(result)) => {
                unfinished.call = None;
                result
            }
            Some(Err(_)) => Err(unfinished.give_up().unwrap_or(CallError::Lost { node: self.node })),
            None => Err(unfinished.give_up().unwrap_or(CallError::DeadlineExceeded { node: self.node })),
        }
    }

    fn enqueue(&self, question: Question, reply: oneshot::Sender<Result<Bytes, CallError>>) -> Result<u64, CallError> {
        let mut state = self.state.lock();
        if self.ended.is_cancelled() {
            return Err(CallError::Unreachable { node: self.node, reason: "this node's links ended".to_owned() });
        }
        let call = state.next_call;
        let Question { id, kind, payload, due } = question;
        if state.line.wire.enqueue(Frame::Request { call, id, kind, due, payload }).is_err() {
            return Err(CallError::Overloaded { node: self.node, retry_after: OVERLOAD_RETRY_AFTER });
        }
        state.next_call += 1;
        state.waiting.insert(call, reply);
        state.line.flush_unless_reading(self.shared.clock.monotonic());
        Ok(call)
    }

    /// Dials, serves and dials again until the channel ends.
    pub async fn run(self: Arc<Self>) {
        let ended = self.ended.clone();
        tokio::select! {
            () = self.keep_connected() => {}
            () = ended.cancelled() => {}
        }
        let mut state = self.state.lock();
        state.line.disconnect();
        state.failure = "this node's links ended".to_owned();
        // Dropping the senders wakes the callers, who see whether their call was sent.
        state.waiting.clear();
    }

    async fn keep_connected(&self) {
        let mut attempt = 0;
        loop {
            match within(&*self.shared.clock, self.shared.config.timing.handshake, self.connect()).await {
                Some(Ok((connection, inbox))) => {
                    attempt = 0;
                    self.serve(connection, inbox).await;
                }
                Some(Err(error)) => {
                    attempt += 1;
                    self.failed(&error);
                }
                None => {
                    attempt += 1;
                    self.failed(&DialError::Broken("it did not answer the handshake in time".to_owned()));
                }
            }
            tokio::select! {
                () = self.shared.clock.sleep(self.shared.backoff(attempt)) => {}
                () = self.moved.notified() => {}
            }
        }
    }

    async fn connect(&self) -> Result<(Connection, Inbox), DialError> {
        let (address, resume) = {
            let state = self.state.lock();
            (state.address, Resume { channel: state.channel, received: state.line.wire.received() })
        };
        let Greeted { transport, cookie, inbox, accepted } =
            dial(&self.shared, self.node, self.lane, address, resume).await?;
        if !accepted.resumed {
            self.restart(Some(accepted.channel));
        }
        let broken = || DialError::Broken("the connection broke while it was being set up".to_owned());
        let connection = self.shared.open(transport, false, cookie, accepted.router).await.ok_or_else(broken)?;
        let now = self.shared.clock.monotonic();
        let attached = {
            let mut state = self.state.lock();
            state.heard = now;
            state.line.wire.attach(accepted.tag, accepted.received)
        };
        if attached.is_err() {
            self.restart(None);
            return Err(DialError::Broken("the peer does not know where the channel stands".to_owned()));
        }
        Ok((connection, inbox))
    }

    async fn serve(&self, connection: Connection, mut inbox: Inbox) {
        let close = connection.close.clone();
        {
            let mut state = self.state.lock();
            state.line.connect(connection, self.shared.clock.monotonic());
        }
        if self.lane == Lane::Control {
            self.shared.peers.set(self.node, PeerState::Up);
        }
        tokio::select! {
            () = self.read(&mut inbox) => {}
            () = self.beat(&close) => {}
            () = close.cancelled() => {}
        }
        let mut state = self.state.lock();
        state.line.disconnect();
        state.detached = self.shared.clock.monotonic();
    }

    /// Reads answers until the peer breaks the protocol.
    async fn read(&self, inbox: &mut Inbox) {
        let finish = || self.state.lock().line.finish_reading(self.shared.clock.monotonic());
        if !inbox.read(|batch| self.on_batch(batch), finish).await {
            tracing::warn!(node = %self.node, lane = ?self.lane, "a peer broke the link protocol");
            self.restart(None);
        }
    }

    fn on_batch(&self, batch: Bytes) -> bool {
        let now = self.shared.clock.monotonic();
        let Ok((header, frames)) = decode(batch, now) else { return false };
        let mut state = self.state.lock();
        let Ok(repeated) = state.line.wire.on_batch(&header, frames.len()) else { return false };
        state.heard = now;
        state.line.begin_reading();
        for frame in frames.into_iter().skip(repeated) {
            let Frame::Response { call, outcome } = frame else { return false };
            if let Some(reply) = state.waiting.remove(&call) {
                // The caller may have given up in this moment.
                let _ = reply.send(self.result(outcome));
            }
        }
        true
    }

    fn result(&self, outcome: Outcome) -> Result<Bytes, CallError> {
        let node = self.node;
        match outcome {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Refused { code, message } => Err(CallError::Refused { node, code, message }),
            Outcome::Overloaded { retry_after } => Err(CallError::Overloaded { node, retry_after }),
            Outcome::Expired => Err(CallError::DeadlineExceeded { node }),
            Outcome::TooLarge { bytes } => {
                let limit = self.shared.config.limits.payload_bytes as u64;
                Err(CallError::TooLarge { what: "answer", bytes, limit })
            }
        }
    }

    /// Sends heartbeats and judges the peer by what comes back, until its connection is given up.
    async fn beat(&self, close: &CancellationToken) {
        let timing = self.shared.config.timing;
        let dead = if self.lane == Lane::Control { timing.dead } else { timing.data_dead };
        let mut last = self.shared.clock.monotonic();
        loop {
            self.shared.clock.sleep(timing.heartbeat).await;
            let now = self.shared.clock.monotonic();
            let starved = now.saturating_sub(last) > timing.heartbeat * 2;
            last = now;
            let silence = {
                let mut state = self.state.lock();
                state.line.send(now, PING);
                now.saturating_sub(state.heard)
            };
            // A beat that comes late says that this node was starved, which is no evidence against the peer.
            if starved {
                continue;
            }
            if silence >= dead {
                self.state.lock().failure = "it fell silent".to_owned();
                close.cancel();
                return;
            }
            if self.lane == Lane::Control {
                let state = if silence >= timing.silent { PeerState::Silent } else { PeerState::Up };
                self.shared.peers.set(self.node, state);
            }
        }
    }

    /// The peer has no memory of the channel: what was sent is lost, what was not stays.
    fn restart(&self, channel: Option<Tag>) {
        let mut state = self.state.lock();
        state.channel = channel;
        for frame in state.line.wire.restart() {
            if let Frame::Request { call, .. } = frame
                && let Some(reply) = state.waiting.remove(&call)
            {
                let _ = reply.send(Err(CallError::Lost { node: self.node }));
            }
        }
        // Calls that were received but not answered are in neither window nor queue.
        let queued = state.line.wire.queued_calls();
        let node = self.node;
        state.waiting.retain(|call, _| queued.contains(call));
        tracing::debug!(%node, "a channel begins again");
    }

    /// Dialling failed: calls that were never sent are told so, once it is clear that it is not a passing matter.
    fn failed(&self, error: &DialError) {
        let now = self.shared.clock.monotonic();
        let (out_for, unsent) = {
            let mut state = self.state.lock();
            state.failure = error.to_string();
            state.line.wire.detach();
            let out_for = now.saturating_sub(state.detached);
            let passing = matches!(error, DialError::Broken(_)) && out_for < self.shared.config.timing.handshake;
            if passing {
                return;
            }
            let mut unsent = Vec::new();
            for frame in state.line.wire.take_queue() {
                if let Frame::Request { call, .. } = frame {
                    unsent.extend(state.waiting.remove(&call));
                }
            }
            (out_for, unsent)
        };
        tracing::debug!(node = %self.node, lane = ?self.lane, %error, "a peer cannot be reached");
        for reply in unsent {
            let _ = reply.send(Err(self.unreachable(error)));
        }
        if self.lane == Lane::Control {
            self.shared.peers.set(self.node, PeerState::Down);
        }
        if out_for > self.shared.config.timing.resume {
            self.restart(None);
        }
    }

    fn unreachable(&self, error: &DialError) -> CallError {
        let node = self.node;
        match error {
            DialError::Version(theirs) => {
                CallError::VersionMismatch { node, ours: self.shared.config.versions, theirs: *theirs }
            }
            _ => CallError::Unreachable { node, reason: error.to_string() },
        }
    }
}

/// A call whose caller still waits; dropped with the caller's future.
struct Unfinished<'a> {
    channel: &'a Outbound,
    call: Option<u64>,
}

impl Unfinished<'_> {
    /// Forgets the call; says so if it was never sent.
    fn give_up(&mut self) -> Option<CallError> {
        let call = self.call.take()?;
        let node = self.channel.node;
        let mut state = self.channel.state.lock();
        state.waiting.remove(&call);
        if !state.line.wire.withdraw(call) {
            return None;
        }
        let silence = self.channel.shared.clock.monotonic().saturating_sub(state.heard);
        Some(if !state.line.wire.is_attached() {
            CallError::Unreachable { node, reason: state.failure.clone() }
        } else if silence >= self.channel.shared.config.timing.silent {
            CallError::Unreachable { node, reason: format!("it has been silent for {} ms", silence.as_millis()) }
        } else {
            CallError::Overloaded { node, retry_after: OVERLOAD_RETRY_AFTER }
        })
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        self.give_up();
    }
}
