//! One end of a channel as a state machine: sequence numbers, acknowledgements, credit, batching and what is sent again
//! after a reconnect. It does no I/O and reads no clock; its owner carries batches and time in and out.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::config::LinkLimits;
use super::frame::{Credit, Frame, HEADER_BYTES, Header, Tag};

/// The state of one direction pair of a channel.
#[derive(Debug)]
pub(super) struct Wire {
    limits: LinkLimits,
    attached: Option<Tag>,
    queue: VecDeque<Frame>,
    queue_bytes: usize,
    /// Frames with the sequence numbers `acknowledged + 1` and on.
    window: VecDeque<Frame>,
    window_bytes: usize,
    acknowledged: u64,
    /// How many frames of the window were sent on the present connection.
    sent: usize,
    /// Last sequence number of each batch under way.
    in_flight: VecDeque<u64>,
    received: u64,
    answer_owed: bool,
    used: Credit,
    granted_to_us: Credit,
    granted_by_us: Credit,
}

/// The queue is at its bound: nothing was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// The peer broke the protocol: a frame is missing, or it used credit that it had not.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation(pub &'static str);

impl Wire {
    pub fn new(limits: LinkLimits) -> Self {
        let initial = Credit { messages: limits.credit_messages, bytes: limits.credit_bytes };
        Self {
            limits,
            attached: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            window: VecDeque::new(),
            window_bytes: 0,
            acknowledged: 0,
            sent: 0,
            in_flight: VecDeque::new(),
            received: 0,
            answer_owed: false,
            used: Credit::default(),
            granted_to_us: Credit::default(),
            granted_by_us: initial,
        }
    }

    /// Whether there is a connection.
    pub fn is_attached(&self) -> bool {
        self.attached.is_some()
    }

    /// Sequence number of the last frame that was received.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a frame if the queue has room for it.
    pub fn enqueue(&mut self, frame: Frame) -> Result<(), Full> {
        let bytes = frame.bytes();
        let full = self.queue.len() >= self.limits.queue_messages || self.queue_bytes + bytes > self.limits.queue_bytes;
        if full && !self.queue.is_empty() {
            return Err(Full);
        }
        self.enqueue_owed(frame);
        Ok(())
    }

    /// Takes a frame that has its place already: the answer to a call that credit admitted.
    pub fn enqueue_owed(&mut self, frame: Frame) {
        self.queue_bytes += frame.bytes();
        self.queue.push_back(frame);
    }

    /// Calls that were taken and never sent; they leave the queue.
    pub fn take_queue(&mut self) -> Vec<Frame> {
        self.queue_bytes = 0;
        self.queue.drain(..).collect()
    }

    /// Calls that were taken and not sent.
    pub fn queued_calls(&self) -> BTreeSet<u64> {
        let call = |frame: &Frame| match frame {
            Frame::Request { call, .. } | Frame::Response { call, .. } => *call,
        };
        self.queue.iter().map(call).collect()
    }

    /// Takes the call out of the queue; false when it was sent already.
    pub fn withdraw(&mut self, call: u64) -> bool {
        let is_call = |frame: &Frame| matches!(frame, Frame::Request { call: queued, .. } if *queued == call);
        match self.queue.iter().position(is_call) {
            Some(position) => {
                let frame = self.queue.remove(position).expect("the position was just found");
                self.queue_bytes -= frame.bytes();
                true
            }
            None => false,
        }
    }

    /// A connection stands on which the peer has received everything up to `received`.
    pub fn attach(&mut self, tag: Tag, received: u64) -> Result<(), Violation> {
        if received < self.acknowledged || received > self.acknowledged + self.window.len() as u64 {
            return Err(Violation("the peer has received what was not sent"));
        }
        self.acknowledge(received);
        self.attached = Some(tag);
        self.sent = 0;
        self.in_flight.clear();
        self.answer_owed = true;
        Ok(())
    }

    /// The connection is gone.
    pub fn detach(&mut self) {
        self.attached = None;
        self.sent = 0;
        self.in_flight.clear();
    }

    /// The peer knows nothing of this channel any more: numbering begins again, and the frames that it may or may not
    /// have received are returned.
    pub fn restart(&mut self) -> Vec<Frame> {
        let lost = self.window.drain(..).collect();
        let queue = std::mem::take(&mut self.queue);
        let queue_bytes = self.queue_bytes;
        *self = Self { queue, queue_bytes, ..Self::new(self.limits) };
        lost
    }

    /// Records what a batch's header says, and how many of its frames are repetitions.
    pub fn on_batch(&mut self, header: &Header, frames: usize) -> Result<usize, Violation> {
        if header.acknowledged > self.acknowledged + self.window.len() as u64 {
            return Err(Violation("the peer acknowledges what was not sent"));
        }
        self.acknowledge(header.acknowledged);
        self.granted_to_us.messages = self.granted_to_us.messages.max(header.granted.messages);
        self.granted_to_us.bytes = self.granted_to_us.bytes.max(header.granted.bytes);
        if frames == 0 {
            return Ok(0);
        }
        self.answer_owed = true;
        let expected = self.received + 1;
        if header.first > expected {
            return Err(Violation("frames are missing"));
        }
        let repeated = usize::try_from(expected - header.first).unwrap_or(usize::MAX).min(frames);
        self.received += (frames - repeated) as u64;
        Ok(repeated)
    }

    /// The peer wants to hear from us.
    pub fn owe_answer(&mut self) {
        self.answer_owed = true;
    }

    /// A call of the peer is over: it may send another of `bytes`.
    pub fn give_back(&mut self, bytes: u64) {
        self.granted_by_us.messages += 1;
        self.granted_by_us.bytes += bytes;
    }

    /// The next batch to send, if there is something to send and it may be sent now.
    pub fn next_batch(&mut self, now: Duration, flags: u8) -> Option<Vec<u8>> {
        let tag = self.attached?;
        let waiting = self.queue_bytes >= self.limits.eager_bytes || self.sent < self.window.len();
        let may_send = waiting || self.in_flight.len() < self.limits.batches_in_flight;
        let first = self.sent;
        let mut bytes = 0;
        while may_send && bytes < self.limits.batch_bytes {
            if self.sent == self.window.len() && !self.admit() {
                break;
            }
            bytes += self.window[self.sent].bytes();
            self.sent += 1;
        }
        if bytes == 0 && !self.answer_owed && flags == 0 {
            return None;
        }
        self.answer_owed = false;
        let header = Header {
            tag,
            flags,
            acknowledged: self.received,
            granted: self.granted_by_us,
            first: self.acknowledged + first as u64 + 1,
        };
        let mut out = Vec::with_capacity(HEADER_BYTES + bytes);
        header.encode(&mut out);
        self.window.range(first..self.sent).for_each(|frame| frame.encode(now, &mut out));
        if self.sent > first {
            self.in_flight.push_back(self.acknowledged + self.sent as u64);
        }
        Some(out)
    }

    /// Moves the queue's first frame into the window if window and credit allow.
    fn admit(&mut self) -> bool {
        let Some(frame) = self.queue.front() else { return false };
        let bytes = frame.bytes();
        let window_full = self.window.len() >= self.limits.unacknowledged_frames
            || self.window_bytes + bytes > self.limits.unacknowledged_bytes;
        if window_full && !self.window.is_empty() {
            return false;
        }
        if let Frame::Request { payload, .. } = frame {
            let after = Credit { messages: self.used.messages + 1, bytes: self.used.bytes + payload.len() as u64 };
            if after.messages > self.granted_to_us.messages || after.bytes > self.granted_to_us.bytes {
                return false;
            }
            self.used = after;
        }
        let frame = self.queue.pop_front().expect("the queue has a first frame");
        self.queue_bytes -= bytes;
        self.window_bytes += bytes;
        self.window.push_back(frame);
        true
    }

    fn acknowledge(&mut self, upto: u64) {
        while self.acknowledged < upto {
            let frame = self.window.pop_front().expect("the bound was checked against the window");
            self.window_bytes -= frame.bytes();
            self.acknowledged += 1;
            self.sent = self.sent.saturating_sub(1);
        }
        while self.in_flight.front().is_some_and(|&last| last <= upto) {
            self.in_flight.pop_front();
        }
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
