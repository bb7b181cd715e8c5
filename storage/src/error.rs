//! What can go wrong in a store, in the terms of what a caller can do about it.

use steward_types::ErrorCode;
use thiserror::Error;

/// Why a store did not do what it was asked.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another transaction changed what this one read. Nothing was written; run it again.
    #[error("the transaction conflicts with one that committed while it ran")]
    Conflict,
    /// The transaction lived longer than five seconds after its first read, or the connection over which it read was
    /// lost, and with it the version that it read at. Nothing was written; run it again.
    #[error("the store no longer keeps the version that the transaction read; it does for {limit_ms} ms at the most")]
    TooOld {
        /// The limit, in milliseconds.
        limit_ms: u64,
    },
    /// The commit may or may not have happened. Running it again is right only if it is idempotent:
    /// see [`run_idempotent`](crate::run_idempotent).
    #[error("whether the transaction committed is not known")]
    CommitUnknown,
    /// A key, a value, the whole transaction, or the number of watches is over its limit.
    #[error("{what} too large: {size} is over the limit of {limit}")]
    TooLarge {
        /// What is too large: "key", "value", "transaction" or "watches".
        what: &'static str,
        /// How large it is, in bytes (for watches, how many).
        size: usize,
        /// The limit in the same unit.
        limit: usize,
    },
    /// The store cannot be used now: closed, not reachable, the disk full or failing.
    #[error("the store is not available: {reason}")]
    Unavailable {
        /// What a person can act on, such as the folder and what failed there.
        reason: String,
        /// What the system said, if it was asked.
        #[source]
        source: Option<std::io::Error>,
    },
    /// Another process has the store open.
    #[error("the store in {folder} is open in another process; stop that one, or give this one a folder of its own")]
    Locked {
        /// The store's folder.
        folder: String,
    },
    /// What is stored cannot be read as what it should be.
    #[error("corrupt: {0}")]
    Corrupt(String),
    /// The caller asked for what no store can do. A bug in the caller.
    #[error("invalid use of a transaction: {0}")]
    Invalid(&'static str),
}

impl StoreError {
    /// Whether running the whole transaction again may succeed.
    ///
    /// [`CommitUnknown`](Self::CommitUnknown) counts: transactions are written so that they do no harm when run twice.
    pub const fn is_retryable(&self) -> bool {
        matches!(self, Self::Conflict | Self::TooOld { .. } | Self::CommitUnknown)
    }

    /// The code that stands for this at the edge.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Conflict | Self::TooOld { .. } | Self::CommitUnknown | Self::Unavailable { .. } => {
                ErrorCode::StoreUnavailable
            }
            Self::TooLarge { .. } | Self::Invalid(_) => ErrorCode::Internal,
            Self::Locked { .. } => ErrorCode::StoreLocked,
            Self::Corrupt(_) => ErrorCode::RecordCorrupt,
        }
    }

    /// An [`Unavailable`](Self::Unavailable) with no cause of the system's.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable { reason: reason.into(), source: None }
    }
}

/// An error that the retry loop can look into for the store's part in it.
pub trait TransactionError: From<StoreError> {
    /// The store's error, if this is one.
    fn store_error(&self) -> Option<&StoreError>;
}

impl TransactionError for StoreError {
    fn store_error(&self) -> Option<&StoreError> {
        Some(self)
    }
}
