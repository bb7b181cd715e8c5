//! What both ends of a channel have alike: its wire over the connection of the moment, and when what waits is sent.

use std::time::Duration;

use bytes::Bytes;
use steward_types::limits::LINK_TURN_BYTES;

use super::config::LinkLimits;
use super::sessions::{Connection, Inbox};
use super::wire::Wire;

/// Batches that are read from an inbox at a time.
const BATCHES_AT_A_TIME: usize = 64;

/// A channel's wire and its connection, if it has one.
pub(super) struct Line {
    pub wire: Wire,
    connection: Option<Connection>,
    /// A batch is being read: what it causes to be sent shares the next batch.
    reading: bool,
}

/// Whether all was sent that there was to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flushed {
    Wholly,
    InPart,
}

impl Line {
    pub fn new(limits: LinkLimits) -> Self {
        Self { wire: Wire::new(limits), connection: None, reading: false }
    }

    /// Goes on over this connection, for which the wire was attached.
    pub fn connect(&mut self, connection: Connection, now: Duration) {
        self.connection = Some(connection);
        self.reading = false;
        self.flush(now);
    }

    /// Is without a connection.
    pub fn disconnect(&mut self) {
        self.connection = None;
        self.reading = false;
        self.wire.detach();
    }

    /// A batch is read from now on, until [`finish_reading`](Self::finish_reading).
    pub const fn begin_reading(&mut self) {
        self.reading = true;
    }

    /// Sends what reading has caused, as much as one turn of the task may.
    pub fn finish_reading(&mut self, now: Duration) -> Flushed {
        let flushed = self.flush_turn(now);
        self.reading = flushed == Flushed::InPart;
        flushed
    }

    /// Sends what waits, unless a batch is being read.
    pub fn flush_unless_reading(&mut self, now: Duration) {
        if !self.reading {
            self.flush(now);
        }
    }

    /// Sends a batch with these flags, whatever is being read.
    pub fn send(&mut self, now: Duration, flags: u8) {
        let batch = self.wire.next_batch(now, flags);
        if let (Some(connection), Some(batch)) = (&self.connection, batch) {
            connection.send(batch);
        }
    }

    fn flush(&mut self, now: Duration) {
        while self.flush_turn(now) == Flushed::InPart {}
    }

    /// Sends about [`LINK_TURN_BYTES`].
    fn flush_turn(&mut self, now: Duration) -> Flushed {
        let Some(connection) = &self.connection else { return Flushed::Wholly };
        let mut bytes = 0;
        while bytes < LINK_TURN_BYTES {
            let Some(batch) = self.wire.next_batch(now, 0) else { return Flushed::Wholly };
            bytes += batch.len();
            connection.send(batch);
        }
        Flushed::InPart
    }
}

impl Inbox {
    /// Takes batches until the connection ends or `on_batch` finds one that breaks the protocol; false then. Whenever
    /// nothing waits to be read, `finish` sends what that caused. Others have their turns in between.
    pub async fn read(&mut self, mut on_batch: impl FnMut(Bytes) -> bool, mut finish: impl FnMut() -> Flushed) -> bool {
        let mut batches = Vec::new();
        while self.batches.recv_many(&mut batches, BATCHES_AT_A_TIME).await > 0 {
            let mut bytes = 0;
            for batch in batches.drain(..) {
                bytes += batch.len();
                if !on_batch(batch.into()) {
                    return false;
                }
                if bytes >= LINK_TURN_BYTES {
                    bytes = 0;
                    tokio::task::yield_now().await;
                }
            }
            // Callers that were just answered often call again, and handlers are about to answer: let them, and send all
            // in one batch together with the acknowledgement.
            tokio::task::yield_now().await;
            while finish() == Flushed::InPart {
                tokio::task::yield_now().await;
            }
        }
        true
    }
}
