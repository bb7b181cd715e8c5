//! Why an entity did not answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::ErrorCode;
use thiserror::Error;

/// Why an entity did not answer. A refusal by the entity itself is part of its response, not of this.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum AskError {
    /// The entity's mailbox, or the node, is full. Nothing was done.
    #[error("the entity is overloaded; retry after {retry_after:?}")]
    Overloaded {
        /// How long to wait before the next try.
        retry_after: Duration,
    },
    /// The message is larger than a message may be. Nothing was done.
    #[error("the message has {bytes} bytes, more than the {limit} allowed")]
    TooLarge {
        /// Size of the message, in bytes.
        bytes: usize,
        /// Largest size, in bytes.
        limit: usize,
    },
    /// The deadline passed. The message may still be handled, unless it had not left the queue.
    #[error("the deadline of the call has passed")]
    DeadlineExceeded,
    /// The entity is set aside until an operator releases it. Nothing was done.
    #[error("the entity is quarantined: {cause}")]
    Quarantined {
        /// Why.
        cause: String,
    },
    /// The entity crashed with this message in hand, or is waiting to be activated again.
    #[error("the entity is restarting: {cause}")]
    Restarting {
        /// Why it restarts.
        cause: String,
        /// When it will be back at the earliest.
        retry_after: Duration,
    },
    /// The entity left this node's memory with the message in hand. Whether it was handled is not known.
    #[error("the entity was stopped with the message in hand")]
    Stopped,
    /// The entity could not handle this message; it is kept as a dead letter.
    #[error("the entity could not handle the message: {cause}")]
    Poison {
        /// Why.
        cause: String,
    },
    /// The node is draining. Nothing was done.
    #[error("the node is draining and takes no new work")]
    Draining,
    /// This node does not own the entity's shard any more.
    #[error("the node has lost the lease of the entity's shard")]
    Fenced,
    /// Another node serves the entity's shard, or none does at the moment. Nothing was done.
    #[error("the entity's shard {shard} is not served by this node")]
    Elsewhere {
        /// The shard.
        shard: u32,
    },
    /// The node that serves the entity could not be reached, or its answer was lost.
    #[error("{node} did not answer: {cause}; {}", if *.sent { "whether it did what was asked is not known" } else { "nothing was done" })]
    Unreachable {
        /// The node.
        node: String,
        /// What happened.
        cause: String,
        /// Whether the request may have reached it.
        sent: bool,
    },
    /// No such kind is registered on this node.
    #[error("there is no kind of entity named {kind:?}{}", there_are(.known))]
    UnknownKind {
        /// The kind asked for.
        kind: String,
        /// The kinds that there are; none where a node of an earlier release says so.
        #[serde(default)]
        known: Vec<String>,
    },
}

fn there_are(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there are: {}", known.join(", ")) }
}

impl AskError {
    /// The code of the closed list that stands for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Overloaded { .. } => ErrorCode::MailboxFull,
            Self::TooLarge { .. } => ErrorCode::RequestTooLarge,
            Self::DeadlineExceeded => ErrorCode::DeadlineExceeded,
            Self::Quarantined { .. } => ErrorCode::EntityQuarantined,
            Self::Restarting { .. } | Self::Stopped => ErrorCode::EntityRestarting,
            Self::Poison { .. } => ErrorCode::Internal,
            Self::Draining => ErrorCode::NodeDraining,
            Self::Fenced | Self::Elsewhere { .. } => ErrorCode::LeaseLost,
            Self::Unreachable { .. } => ErrorCode::NodeUnreachable,
            Self::UnknownKind { .. } => ErrorCode::EntityNotFound,
        }
    }

    /// How long to wait before the next try, where the error knows.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after } | Self::Restarting { retry_after, .. } => Some(*retry_after),
            Self::Stopped => Some(Duration::ZERO),
            _ => None,
        }
    }
}

/// Why an entity that was asked in JSON did not answer.
#[derive(Debug, Error)]
pub enum AskJsonError {
    /// The payload is no request of the kind. Nothing was done.
    #[error("the payload is no request of kind {kind:?}")]
    Malformed {
        /// The kind.
        kind: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The answer can't be written as JSON.
    #[error("the answer of kind {kind:?} can't be written as JSON")]
    Unwritable {
        /// The kind.
        kind: &'static str,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The entity did not answer.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl AskJsonError {
    /// The code of the closed list that stands for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed { .. } => ErrorCode::InvalidRequest,
            Self::Unwritable { .. } => ErrorCode::Internal,
            Self::Ask(error) => error.code(),
        }
    }
}
