//! What can go wrong inside the turn engine. None of it reaches a script: a script sees step errors only.

use steward_storage::{StoreError, TransactionError};
use steward_types::{ErrorCode, SessionId};
use thiserror::Error;

use super::read::ReadError;
use crate::budget::LedgerError;
use crate::chain::orders::OrderError;
use crate::host::Fault;
use crate::lease::LeaseError;
use crate::memory::MemoryError;

/// Why a session's transaction was not done.
#[derive(Debug, Error)]
pub enum SessionError {
    /// The store failed, or what it holds is corrupt.
    #[error("the session's rows could not be read or written")]
    Store(#[from] StoreError),
    /// The ledger refused; nothing was written.
    #[error("the budget refused")]
    Ledger(#[source] LedgerError),
    /// The project's memory refused; nothing was written.
    #[error(transparent)]
    Memory(MemoryError),
    /// The order of a transaction was refused; nothing was written.
    #[error(transparent)]
    Order(OrderError),
    /// The turn is over or another worker has taken it up; nothing was written.
    #[error("the turn was taken from this worker")]
    Stale,
    /// This node does not own the session's shard any more; nothing was written.
    #[error("the lease of the session's shard is lost")]
    Fenced,
    /// There is no such session.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// A bug.
    #[error("{0}")]
    Internal(String),
}

impl SessionError {
    /// The code that stands for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Ledger(error) => error.code(),
            Self::Memory(error) => error.code(),
            Self::Order(error) => error.code(),
            Self::Stale => ErrorCode::Cancelled,
            Self::Fenced => ErrorCode::LeaseLost,
            Self::NotFound(_) => ErrorCode::SessionNotFound,
            Self::Internal(_) => ErrorCode::Internal,
        }
    }

    /// What the host is to do about it.
    pub fn into_fault(self) -> Fault {
        match self {
            Self::Fenced => Fault::Fenced,
            Self::Store(StoreError::Corrupt(_)) => Fault::corrupt(self),
            other => Fault::transient(other),
        }
    }
}

impl From<MemoryError> for SessionError {
    fn from(error: MemoryError) -> Self {
        match error {
            MemoryError::Store(error) => Self::Store(error),
            other => Self::Memory(other),
        }
    }
}

impl From<OrderError> for SessionError {
    fn from(error: OrderError) -> Self {
        match error {
            OrderError::Store(error) => Self::Store(error),
            other => Self::Order(other),
        }
    }
}

impl From<ReadError> for SessionError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => Self::Store(error),
            ReadError::NotFound(session) => Self::NotFound(session),
            ReadError::ApprovalNotFound(id) => Self::Internal(format!("there is no approval {id}")),
        }
    }
}

impl TransactionError for SessionError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<LedgerError> for SessionError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            other => Self::Ledger(other),
        }
    }
}

impl From<LeaseError> for SessionError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => Self::Store(error),
            LeaseError::Lost { .. } => Self::Fenced,
        }
    }
}
