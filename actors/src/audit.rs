//! The audit trail: what operators did, who they were, and what came of it. Rows are added and never removed.
//!
//! | key | holds |
//! |---|---|
//! | `("audit", milliseconds, id)` | an entry |
//!
//! An operation that is one transaction writes its entry in it. One that is not has its entry written before it begins,
//! and again with its outcome, so that a crash in between leaves an entry that says so.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_storage::{RangeRead, Record, Store, StoreError, StoreExt, Txn, key::pack};
use steward_types::{ErrorCode, NodeId, Timestamp};

/// One operation of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// A random number, so that two entries of one millisecond are two.
    pub id: [u8; 16],
    /// When it was asked for.
    pub at: Timestamp,
    /// The id of the API key that asked.
    pub key: String,
    /// The node that was asked.
    pub node: NodeId,
    /// What was asked for, such as `drain`.
    pub operation: String,
    /// What it was asked of, such as a node's id.
    pub subject: String,
    /// With what, beyond that; null for nothing.
    pub arguments: Value,
    /// What came of it.
    pub outcome: AuditOutcome,
}

/// What came of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It had begun when this was written; if it stays so, the node died in the middle.
    Begun,
    /// It was done.
    Done,
    /// It was refused, or failed.
    Failed {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
    },
}

impl Record for AuditEntry {
    const NAME: &'static str = "audit entry";
    const VERSION: u16 = 1;
}

fn row(at: Timestamp, id: [u8; 16]) -> Vec<u8> {
    pack(&("audit", at.as_millis(), &id[..]))
}

/// Writes an entry, in the place of an earlier one of the same time and id.
///
/// # Errors
/// When the entry is larger than a row may be.
pub fn record(txn: &Txn, entry: &AuditEntry) -> Result<(), StoreError> {
    txn.save(&row(entry.at, entry.id), entry)
}

/// The newest entries before `before`, newest first, at most `limit`.
///
/// # Errors
/// The store's.
pub async fn list(
    store: &Arc<dyn Store>,
    before: Option<(Timestamp, [u8; 16])>,
    limit: usize,
) -> Result<Vec<AuditEntry>, StoreError> {
    let mut range = RangeRead::prefix(&pack(&("audit",))).limit(limit).reversed().snapshot();
    if let Some((at, id)) = before {
        range.end = row(at, id);
    }
    let range = &range;
    let page = store.run(|txn| async move { txn.scan::<AuditEntry>(range.clone()).await }).await?;
    Ok(page.rows.into_iter().map(|(_, entry)| entry).collect())
}

#[cfg(test)]
mod tests {
    use steward_storage::MemoryStore;

    use super::*;

    fn entry(at: u64, id: u8, outcome: AuditOutcome) -> AuditEntry {
        AuditEntry {
            id: [id; 16],
            at: Timestamp::from_millis(at),
            key: "k".to_owned(),
            node: NodeId::from_bytes([0; 16]),
            operation: "drain".to_owned(),
            subject: "n".to_owned(),
            arguments: Value::Null,
            outcome,
        }
    }

    #[tokio::test]
    async fn entries_come_newest_first_and_an_outcome_takes_the_place_of_the_beginning() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let begun = entry(5, 1, AuditOutcome::Begun);
        let rows = [begun.clone(), entry(5, 2, AuditOutcome::Done), entry(7, 1, AuditOutcome::Done)];
        let done = AuditEntry { outcome: AuditOutcome::Done, ..begun };
        for entry in rows.iter().chain([&done]) {
            store.run(|txn| async move { record(&txn, entry) }).await.unwrap();
        }
        let all = list(&store, None, 10).await.unwrap();
        assert_eq!(all, [rows[2].clone(), rows[1].clone(), done.clone()]);
        let rest = list(&store, Some((rows[1].at, rows[1].id)), 10).await.unwrap();
        assert_eq!(rest, [done]);
    }
}
