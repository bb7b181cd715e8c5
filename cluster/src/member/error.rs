//! What can go wrong with a cluster's membership, in the terms of who asked.

use steward_storage::{StoreError, TransactionError};
use steward_types::NodeId;
use thiserror::Error;

use super::NodeState;

/// Why the cluster did not do what it was asked.
#[derive(Debug, Error)]
pub enum ClusterError {
    /// The store did not do its part.
    #[error("the cluster's state could not be read or written")]
    Store(#[from] StoreError),
    /// No node of this id is a member.
    #[error("{0} is no member of this cluster")]
    UnknownNode(NodeId),
    /// The cluster has fewer shards than that.
    #[error("there is no shard {shard}: they are numbered from 0 to {last}")]
    UnknownShard {
        /// What was asked for.
        shard: u32,
        /// The last one.
        last: u32,
    },
    /// The node wants another number of shards than the cluster began with.
    #[error(
        "cluster.shards is {asked} here, but the cluster began with {has} shards and keeps them: leave the setting out, or \
         begin another cluster"
    )]
    OtherShards {
        /// What is configured here.
        asked: u32,
        /// What the cluster has.
        has: u32,
    },
    /// The node is in no state for that.
    #[error("{node} is {state:?}: it can take shards only when it is up")]
    NotUp {
        /// The node.
        node: NodeId,
        /// What it is.
        state: NodeState,
    },
    /// Nobody else is up to take the shards. They are still this node's.
    #[error("no other node is up that could take this node's shards")]
    Alone,
    /// Not all shards were away in time. The node goes on draining.
    #[error("{left} shards are still on this node")]
    DrainTimeout {
        /// How many.
        left: usize,
    },
    /// Another process has joined under this node's id. This one owns nothing any more, and never will again.
    #[error("another process has joined as this node")]
    Replaced,
}

impl TransactionError for ClusterError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
