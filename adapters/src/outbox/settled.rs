//! The newest transaction that became final. Nobody counts on its being undone; so it is looked after for a while, and
//! said aloud when it is.

use serde::{Deserialize, Serialize};
use steward_types::Timestamp;

use super::{OutboxPolicy, after};
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

    /// That it is not final any more, in words; nothing while it is.
    pub(super) fn undone(&self, status: &TransactionStatus) -> Option<String> {
        let now = match status {
            TransactionStatus::Included(inclusion) if inclusion.is_final => return None,
            TransactionStatus::Included(inclusion) => format!("is in block {}, which is not", inclusion.block),
            TransactionStatus::Pending => "waits for a block again".to_owned(),
            TransactionStatus::Unknown => "is not there any more; the same bytes were sent again".to_owned(),
            TransactionStatus::Replaced { .. } => "lost its sequence number to another".to_owned(),
            TransactionStatus::Expired => "has expired".to_owned(),
        };
        let (hash, block) = (&self.transaction.hash, self.block);
        Some(format!("a reorganisation undid what was final: the transaction {hash} of block {block} {now}"))
    }
}
