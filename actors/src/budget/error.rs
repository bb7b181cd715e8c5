//! Why the ledger refused.

use std::fmt;

use serde::{Deserialize, Serialize};
use steward_storage::{StoreError, TransactionError};
use steward_types::{ErrorCode, HoldId, Micros, MoneyError, ProjectId};
use thiserror::Error;

use super::account_id::AccountId;
use super::records::HoldState;
use crate::lease::LeaseError;

/// A level of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LevelName {
    /// The project's limit.
    Project,
    /// The agent's limit.
    Agent,
    /// The session's own limit.
    Session,
}

impl fmt::Display for LevelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Project => "project",
            Self::Agent => "agent",
            Self::Session => "session",
        })
    }
}

/// Why the ledger refused. Except for [`Store`](Self::Store), nothing was written into the transaction, which may go on.
#[derive(Debug, Error)]
pub enum LedgerError {
    /// The store failed, or the transaction must run again.
    #[error("the budget's rows could not be read or written")]
    Store(#[from] StoreError),
    /// This node does not own the budget's shard any more; nothing was written.
    #[error("the lease of the budget's shard is lost")]
    Fenced,
    /// A level has not enough left.
    #[error("the {level} budget has {available} left of the {needed} that the step may cost")]
    Exhausted {
        /// The level that has the least.
        level: LevelName,
        /// What was to be held.
        needed: Micros,
        /// What could have been held.
        available: Micros,
    },
    /// The project has no budget.
    #[error("the project {project} has no budget")]
    NoBudget {
        /// The project.
        project: ProjectId,
    },
    /// The account was never opened, or is closed.
    #[error("the account {account} is not open")]
    AccountNotOpen {
        /// The account.
        account: AccountId,
    },
    /// The hold does not exist, or is finished in another way.
    #[error("the hold {hold} is not open{}", found.map_or("", |state| match state {
        HoldState::Open => "",
        HoldState::Settled => ": it was settled",
        HoldState::Released => ": it was released",
    }))]
    HoldNotOpen {
        /// The hold.
        hold: HoldId,
        /// What it was found as, if there is one.
        found: Option<HoldState>,
    },
    /// A settlement asked for more than was held. A bug in the caller.
    #[error("the price {price} of the hold {hold} is more than the {held} that it holds")]
    PriceAboveHold {
        /// The hold.
        hold: HoldId,
        /// The price.
        price: Micros,
        /// What it holds.
        held: Micros,
    },
    /// A sum does not fit or would be below zero.
    #[error("the budget's sums do not add up")]
    Money(#[from] MoneyError),
}

impl LedgerError {
    /// The code that stands for this at the edge and in scripts.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::Fenced => ErrorCode::LeaseLost,
            Self::Exhausted { .. } => ErrorCode::BudgetExhausted,
            Self::NoBudget { .. } => ErrorCode::ProjectNotFound,
            Self::AccountNotOpen { .. } => ErrorCode::SessionEnded,
            Self::HoldNotOpen { .. } | Self::PriceAboveHold { .. } => ErrorCode::Internal,
            Self::Money(_) => ErrorCode::RecordCorrupt,
        }
    }
}

impl From<LeaseError> for LedgerError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => Self::Store(error),
            LeaseError::Lost { .. } => Self::Fenced,
        }
    }
}

impl TransactionError for LedgerError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}
