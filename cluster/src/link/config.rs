//! What a node's links are told once, at their start.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use steward_types::limits;
use tokio::sync::watch;

use super::{LinkIdentity, NodeId};

/// The link protocol's versions that this release speaks. A release speaks its own and the one before it, so that two
/// adjacent releases work in one cluster.
pub const PROTOCOL_VERSIONS: Versions = Versions { oldest: 1, newest: 1 };

/// Settings of a node's links.
#[derive(Debug, Clone)]
pub struct LinkConfig {
    /// This node, as its certificate names it.
    pub node: NodeId,
    /// Where other nodes are accepted; port 0 takes any.
    pub listen: SocketAddr,
    /// This node's certificate and whom it trusts. What is sent here is used by each new connection.
    pub identity: watch::Receiver<Arc<LinkIdentity>>,
    /// Versions of the protocol to offer.
    pub versions: Versions,
    /// Bounds of queues and batches.
    pub limits: LinkLimits,
    /// Times of heartbeats and reconnects.
    pub timing: LinkTiming,
}

impl LinkConfig {
    /// The defaults for the node that the identity names.
    pub fn new(listen: SocketAddr, identity: watch::Receiver<Arc<LinkIdentity>>) -> Self {
        let node = *identity.borrow().node();
        let (limits, timing) = (LinkLimits::default(), LinkTiming::default());
        Self { node, listen, identity, versions: PROTOCOL_VERSIONS, limits, timing }
    }
}

/// A range of protocol versions, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Versions {
    /// The oldest that is understood.
    pub oldest: u16,
    /// The newest that is understood.
    pub newest: u16,
}

impl Versions {
    /// The newest version that both understand.
    pub fn common(self, other: Self) -> Option<u16> {
        let newest = self.newest.min(other.newest);
        (newest >= self.oldest.max(other.oldest)).then_some(newest)
    }
}

impl std::fmt::Display for Versions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} to {}", self.oldest, self.newest)
    }
}

/// Bounds of one channel: one peer on one lane.
#[derive(Debug, Clone, Copy)]
pub struct LinkLimits {
    /// Largest payload of a call and of an answer.
    pub payload_bytes: usize,
    /// Calls that wait for credit or a connection.
    pub queue_messages: usize,
    /// Bytes of calls that wait for credit or a connection.
    pub queue_bytes: usize,
    /// Calls that the peer may have unfinished here.
    pub credit_messages: u64,
    /// Bytes of calls that the peer may have unfinished here; at least `payload_bytes`.
    pub credit_bytes: u64,
    /// Frames sent and not acknowledged.
    pub unacknowledged_frames: usize,
    /// Bytes of frames sent and not acknowledged.
    pub unacknowledged_bytes: usize,
    /// Bytes after which a batch takes no more.
    pub batch_bytes: usize,
    /// Waiting bytes that go out although `batches_in_flight` are under way.
    pub eager_bytes: usize,
    /// Batches of small frames under way at once.
    pub batches_in_flight: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            payload_bytes: limits::LINK_PAYLOAD_BYTES_MAX,
            queue_messages: limits::LINK_QUEUE_MESSAGES_MAX,
            queue_bytes: limits::LINK_QUEUE_BYTES_MAX,
            credit_messages: limits::LINK_CREDIT_MESSAGES,
            credit_bytes: limits::LINK_CREDIT_BYTES,
            unacknowledged_frames: limits::LINK_UNACKNOWLEDGED_FRAMES_MAX,
            unacknowledged_bytes: limits::LINK_UNACKNOWLEDGED_BYTES_MAX,
            batch_bytes: limits::LINK_BATCH_BYTES,
            eager_bytes: limits::LINK_EAGER_BYTES,
            batches_in_flight: limits::LINK_BATCHES_IN_FLIGHT_MAX,
        }
    }
}

/// Times of heartbeats and reconnects.
#[derive(Debug, Clone, Copy)]
pub struct LinkTiming {
    /// Longest time from a TCP connection to a link that carries calls.
    pub handshake: Duration,
    /// Between two heartbeats.
    pub heartbeat: Duration,
    /// Not heard for this long on the control lane: the peer is silent.
    pub silent: Duration,
    /// Not heard for this long on the control lane: its connection is given up.
    pub dead: Duration,
    /// Not heard for this long on the data lane: its connection is given up.
    pub data_dead: Duration,
    /// First bound of the random wait before dialling again.
    pub backoff_min: Duration,
    /// Longest wait before dialling again.
    pub backoff_max: Duration,
    /// How long unacknowledged frames outlive their connection.
    pub resume: Duration,
}

impl Default for LinkTiming {
    fn default() -> Self {
        Self {
            handshake: limits::LINK_HANDSHAKE_TIME_MAX,
            heartbeat: limits::LINK_HEARTBEAT_TIME,
            silent: limits::LINK_SILENT_TIME,
            dead: limits::LINK_DEAD_TIME,
            data_dead: limits::LINK_DATA_DEAD_TIME,
            backoff_min: limits::LINK_BACKOFF_MIN,
            backoff_max: limits::LINK_BACKOFF_MAX,
            resume: limits::LINK_RESUME_TIME_MAX,
        }
    }
}
