//! That a receipt log only grew: the proof for those who keep one of its checkpoints.

use steward_receipts::Hash;
use steward_types::ProjectId;

use super::{Failure, Steward};
use crate::receipt_log;

/// That a log of one size is the beginning of the same log at a later size.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsistencyView {
    /// The earlier size.
    pub old_size: u64,
    /// The later size.
    pub new_size: u64,
    /// The hashes that lead from the earlier root to the later (RFC 9162, 2.1.4).
    pub path: Vec<Hash>,
}

impl Steward {
    /// The proof that a project's log of `new_size` leaves, or of all that it has, begins with that of `old_size`.
    ///
    /// # Errors
    /// [`ErrorCode::InvalidRequest`](steward_types::ErrorCode::InvalidRequest) when the log never had these sizes, or not
    /// in this order.
    pub async fn consistency(
        &self,
        project: &ProjectId,
        old_size: u64,
        new_size: Option<u64>,
    ) -> Result<ConsistencyView, Failure> {
        let store = self.store().as_ref();
        let new_size = match new_size {
            Some(size) => size,
            None => receipt_log::head(store, project).await?.map_or(0, |head| head.size()),
        };
        let path = receipt_log::consistency(store, project, old_size, new_size).await?;
        Ok(ConsistencyView { old_size, new_size, path })
    }
}
