//! The newest transaction that became final. Nobody counts on its being undone; so it is looked after for a while, and
//! said aloud when it is.

use serde::{Deserialize, Serialize};
use steward_types::Timestamp;

use super::{OutboxPolicy, Since, Stall, after};
use crate::chain::{SignedTransaction, TransactionStatus};

/// A transaction that became final.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Settled {
    /// What landed.
    pub transaction: SignedTransaction,
    /// The number of its block.
    pub block: u64,
    /// When it was seen to be final.
    pub at: Timestamp,
}

impl Settled {
    /// Until when it is looked after.
    pub(super) fn until(&self, policy: &OutboxPolicy) -> Timestamp {
        after(self.at, policy.watch_ms)
    }

    /// That it is not final any more; nothing while it is.
    pub(super) fn undone(&self, status: &TransactionStatus) -> Option<Stall> {
        let since = match status {
            TransactionStatus::Included(inclusion) if inclusion.is_final => return None,
            TransactionStatus::Included(inclusion) => Since::Included { block: inclusion.block },
            TransactionStatus::Pending => Since::Waiting,
            TransactionStatus::Unknown => Since::Gone,
            TransactionStatus::Replaced { .. } => Since::Displaced,
            TransactionStatus::Expired => Since::Expired,
        };
        Some(Stall::Undone { transaction: self.transaction.hash.clone(), block: self.block, since })
    }
}
