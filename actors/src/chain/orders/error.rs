//! Why an order is not recorded.

use steward_storage::StoreError;
use steward_types::ErrorCode;
use steward_types::limits::CHAIN_ORDERS_MAX;
use thiserror::Error;

use crate::chain::spending::SpendRefused;
use crate::pause::Pause;

/// Why an order is not recorded; nothing of it was written.
#[derive(Debug, Error)]
pub enum OrderError {
    /// The rules do not allow it.
    #[error(transparent)]
    Refused(#[from] SpendRefused),
    /// An operator holds it back.
    #[error("{0}; send again once it is resumed")]
    Paused(Pause),
    /// Too many orders have not ended.
    #[error("the project has {most} orders on the chain that have not ended, as many as it may have", most = CHAIN_ORDERS_MAX)]
    Full,
    /// What is waited for has ended meanwhile.
    #[error("the order has ended")]
    Ended,
    /// The store failed.
    #[error("the order's rows could not be read or written")]
    Store(#[from] StoreError),
}

impl OrderError {
    /// The code that stands for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(refused) => refused.code(),
            Self::Paused(_) => ErrorCode::Paused,
            Self::Full => ErrorCode::ChainLimitReached,
            Self::Ended => ErrorCode::Internal,
            Self::Store(error) => error.code(),
        }
    }
}
