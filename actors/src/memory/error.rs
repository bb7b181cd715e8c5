//! Why something cannot be remembered or recalled.

use steward_storage::{StoreError, TransactionError};
use steward_types::ErrorCode;
use steward_types::limits::MEMORY_VECTORS_MAX;
use thiserror::Error;

/// Why something cannot be remembered or recalled. Except for [`Store`](Self::Store), nothing was written.
#[derive(Debug, Error)]
pub enum MemoryError {
    /// The store failed, or the transaction must run again.
    #[error("the memory could not be read or written")]
    Store(#[from] StoreError),
    /// The text, its metadata, the vector or the number of matches is over its limit.
    #[error("the {what} is too large: {size} is over the limit of {limit}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        size: usize,
        /// The limit in the same unit.
        limit: usize,
    },
    /// The vector has no direction.
    #[error("the vector cannot be compared: {reason}")]
    Vector {
        /// Why not.
        reason: &'static str,
    },
    /// The project remembers vectors of another length: another model made them.
    #[error("the vector has {given} dimensions, the project's memory has {expected}; use one embedding model")]
    Dimensions {
        /// How many the project's vectors have.
        expected: usize,
        /// How many the given one has.
        given: usize,
    },
    /// The project remembers as much as it may.
    #[error("the project remembers {MEMORY_VECTORS_MAX} vectors, the most that it may")]
    Full,
}

impl MemoryError {
    /// The code that stands for this at the edge and in scripts.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::TooLarge { .. } => ErrorCode::RequestTooLarge,
            Self::Vector { .. } | Self::Dimensions { .. } | Self::Full => ErrorCode::StepInvalid,
        }
    }
}

impl TransactionError for MemoryError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

/// Refuses what is over its limit.
pub(super) fn check_size(what: &'static str, size: usize, limit: usize) -> Result<(), MemoryError> {
    if size <= limit { Ok(()) } else { Err(MemoryError::TooLarge { what, size, limit }) }
}
