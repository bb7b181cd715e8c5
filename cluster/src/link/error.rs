//! How a call over a link can fail, sorted by what the caller may do: whether the peer may have acted.

use std::time::Duration;

use bytes::Bytes;
use steward_types::NodeId;
use thiserror::Error;

use super::config::Versions;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallError {
    /// Nothing was sent, so nothing was done: the peer cannot be reached or is not who it should be.
    #[error("node {node} cannot be reached: {reason}")]
    Unreachable {
        /// The peer.
        node: NodeId,
        /// What stood in the way.
        reason: String,
    },
    /// The call was sent, and the peer no longer knows of it: whether it was done is unknown.
    #[error("node {node} may or may not have done the call: the link to it was lost")]
    Lost {
        /// The peer.
        node: NodeId,
    },
    /// The peer's handler said no. Code and message are the handler's.
    #[error("node {node} refused the call with code {code}")]
    Refused {
        /// The peer.
        node: NodeId,
        /// The handler's code.
        code: u16,
        /// The handler's message.
        message: Bytes,
    },
    /// The time was up after the call was sent: whether it was done is unknown.
    #[error("node {node} did not answer in time")]
    DeadlineExceeded {
        /// The peer.
        node: NodeId,
    },
    /// Nothing was done: the queue to the peer is full, the peer gave no credit in time, or it is overloaded itself.
    #[error("node {node} is overloaded; try again in {} ms", retry_after.as_millis())]
    Overloaded {
        /// The peer.
        node: NodeId,
        /// How long to wait before the next attempt.
        retry_after: Duration,
    },
    /// The payload is too large and was not sent, or the answer is too large and was not returned.
    #[error("the {what} of {bytes} bytes is larger than the {limit} bytes that a link takes")]
    TooLarge {
        /// `call` (nothing was done) or `answer` (the call was done).
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The largest size.
        limit: u64,
    },
    /// Nothing was sent: the releases of the two nodes are too far apart.
    #[error(
        "node {node} speaks versions {theirs} of the link protocol, this node speaks {ours}; upgrade one by one release"
    )]
    VersionMismatch {
        /// The peer.
        node: NodeId,
        /// What this node speaks.
        ours: Versions,
        /// What the peer speaks.
        theirs: Versions,
    },
}

/// What a handler answers when it does not do a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// No, for a reason that the caller's side understands.
    Refused {
        /// Meaning is agreed between handler and caller.
        code: u16,
        /// Further data.
        message: Bytes,
    },
    /// Not now; nothing was done.
    Overloaded {
        /// How long the caller should wait.
        retry_after: Duration,
    },
}

/// The code of a refusal that the link makes itself when a handler panicked.
pub const REFUSED_PANIC: u16 = u16::MAX;

/// Why links could not be started.
#[derive(Debug, Error)]
pub enum LinkError {
    /// The address cannot be listened on.
    #[error("cannot listen for other nodes on {address}; is it this machine's, and free?")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The certificate is another node's.
    #[error("the certificate is of node {certificate}, but this node is {node}; issue one for this node")]
    WrongIdentity {
        /// This node.
        node: NodeId,
        /// Whom the certificate names.
        certificate: NodeId,
    },
    /// An actor did not start.
    #[error("cannot start the links' actors")]
    Actor(#[source] ractor::SpawnErr),
}
