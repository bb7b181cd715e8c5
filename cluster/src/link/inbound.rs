//! The answering end of a channel: it runs the handler for each call of the peer and returns the answers, also over a
//! later connection than the one that brought the call.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use steward_types::NodeId;
use tokio_util::sync::CancellationToken;

use super::Lane;
use super::answers::Start;
use super::error::{REFUSED_PANIC, Refusal};
use super::frame::{Frame, Outcome, PING, RequestId, Tag, decode};
use super::line::Line;
use super::sessions::{Connection, Inbox};
use super::shared::Shared;

/// The channel of one peer on one lane.
pub(super) struct InboundChannel {
    shared: Arc<Shared>,
    peer: NodeId,
    lane: Lane,
    /// What the peer calls this channel when it comes back.
    pub name: Tag,
    state: Mutex<State>,
}

struct State {
    line: Line,
    /// Number of the newest connection that claimed the channel; an older one that comes late is dropped.
    claim: u64,
    unfinished: u64,
    heard: Duration,
}

struct Call {
    call: u64,
    id: Option<RequestId>,
    kind: u16,
    due: Duration,
    payload: Bytes,
}

impl InboundChannel {
    pub fn new(shared: Arc<Shared>, peer: NodeId, lane: Lane) -> Arc<Self> {
        let name = shared.entropy.bytes_16();
        let state =
            State { line: Line::new(shared.config.limits), claim: 0, unfinished: 0, heard: shared.clock.monotonic() };
        Arc::new(Self { shared, peer, lane, name, state: Mutex::new(state) })
    }

    /// Takes the channel for a new connection and ends the one before. Returns the claim's number and the sequence
    /// number of the last frame that was received.
    pub fn claim(&self) -> (u64, u64) {
        let mut state = self.state.lock();
        state.claim += 1;
        state.line.disconnect();
        (state.claim, state.line.wire.received())
    }

    /// Whether the claim is still the newest.
    pub fn is_claimed(&self, claim: u64) -> bool {
        self.state.lock().claim == claim
    }

    /// Serves the peer over a connection until it ends. `tag` and `received` are the peer's.
    pub async fn serve(
        self: &Arc<Self>,
        claim: u64,
        connection: Connection,
        mut inbox: Inbox,
        tag: Tag,
        received: u64,
    ) {
        let close = connection.close.clone();
        {
            let mut state = self.state.lock();
            if state.claim != claim || state.line.wire.attach(tag, received).is_err() {
                return;
            }
            state.heard = self.shared.clock.monotonic();
            state.line.connect(connection, self.shared.clock.monotonic());
        }
        tokio::select! {
            () = self.read(&mut inbox) => {}
            () = self.listen(&close) => {}
            () = close.cancelled() => {}
            () = self.shared.stop.cancelled() => {}
        }
        let mut state = self.state.lock();
        if state.claim == claim {
            state.line.disconnect();
        }
    }

    async fn read(self: &Arc<Self>, inbox: &mut Inbox) {
        let finish = || self.state.lock().line.finish_reading(self.shared.clock.monotonic());
        if !inbox.read(|batch| self.on_batch(batch), finish).await {
            tracing::warn!(peer = %self.peer, lane = ?self.lane, "a peer broke the link protocol");
        }
    }

    /// Gives the connection up when the peer's heartbeats stay away.
    async fn listen(&self, close: &CancellationToken) {
        let timing = self.shared.config.timing;
        loop {
            self.shared.clock.sleep(timing.heartbeat).await;
            let now = self.shared.clock.monotonic();
            if now.saturating_sub(self.state.lock().heard) >= timing.data_dead {
                close.cancel();
                return;
            }
        }
    }

    fn on_batch(self: &Arc<Self>, batch: Bytes) -> bool {
        let now = self.shared.clock.monotonic();
        let Ok((header, frames)) = decode(batch, now) else { return false };
        let mut calls = Vec::new();
        {
            let mut state = self.state.lock();
            let Ok(repeated) = state.line.wire.on_batch(&header, frames.len()) else { return false };
            state.heard = now;
            state.line.begin_reading();
            if header.flags & PING != 0 {
                state.line.wire.owe_answer();
            }
            for frame in frames.into_iter().skip(repeated) {
                let Frame::Request { call, id, kind, due, payload } = frame else { return false };
                calls.push(Call { call, id, kind, due, payload });
            }
            state.unfinished += calls.len() as u64;
            if state.unfinished > self.shared.config.limits.credit_messages {
                return false;
            }
        }
        calls.into_iter().for_each(|call| self.begin(call));
        true
    }

    /// Polls the handler once, here and now, so that calls begin in their order; one that waits goes on as a task.
    fn begin(self: &Arc<Self>, call: Call) {
        let (number, bytes) = (call.call, call.payload.len() as u64);
        let mut work = Box::pin(self.clone().work(call));
        match work.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop())) {
            Poll::Ready(outcome) => self.finish(number, bytes, outcome),
            Poll::Pending => {
                let channel = self.clone();
                self.shared.tasks.spawn(async move {
                    tokio::select! {
                        outcome = work => channel.finish(number, bytes, outcome),
                        () = channel.shared.stop.cancelled() => {}
                    }
                });
            }
        }
    }

    async fn work(self: Arc<Self>, call: Call) -> Outcome {
        let Some(id) = call.id else { return self.handle(call).await };
        match self.shared.answers.start(self.peer, id) {
            Start::First(first) => {
                let outcome = self.handle(call).await;
                first.finish(&outcome);
                outcome
            }
            Start::Running(outcome) => outcome.await.unwrap_or(Outcome::Expired),
            Start::Finished(outcome) => outcome,
        }
    }

    async fn handle(&self, call: Call) -> Outcome {
        let left = call.due.saturating_sub(self.shared.clock.monotonic());
        if left.is_zero() {
            return Outcome::Expired;
        }
        let answer = AssertUnwindSafe(self.shared.handler.on_call(&self.peer, call.kind, call.payload, left));
        match answer.catch_unwind().await {
            Ok(Ok(answer)) if answer.len() > self.shared.config.limits.payload_bytes => {
                Outcome::TooLarge { bytes: answer.len() as u64 }
            }
            Ok(Ok(answer)) => Outcome::Answer(answer),
            Ok(Err(Refusal::Refused { code, message })) => Outcome::Refused { code, message },
            Ok(Err(Refusal::Overloaded { retry_after })) => Outcome::Overloaded { retry_after },
            Err(_) => {
                tracing::error!(peer = %self.peer, kind = call.kind, "the handler of a call panicked");
                Outcome::Refused { code: REFUSED_PANIC, message: Bytes::from_static(b"the handler panicked") }
            }
        }
    }

    fn finish(&self, call: u64, bytes: u64, outcome: Outcome) {
        let mut state = self.state.lock();
        state.unfinished -= 1;
        state.line.wire.give_back(bytes);
        state.line.wire.enqueue_owed(Frame::Response { call, outcome });
        state.line.flush_unless_reading(self.shared.clock.monotonic());
    }
}
