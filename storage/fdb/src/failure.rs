//! FoundationDB's errors in the port's terms.

use std::time::Duration;

use foundationdb::FdbError;
use steward_storage::StoreError;
use steward_storage::optimistic::too_old;
use steward_types::limits::{KEY_BYTES_MAX, TRANSACTION_BYTES_MAX, VALUE_BYTES_MAX};

use crate::client::describe;

/// FoundationDB's error codes that have a meaning of their own here (its documentation, "Error Codes").
const TRANSACTION_TOO_OLD: i32 = 1007;
const DATABASE_LOCKED: i32 = 1038;
const TRANSACTION_TOO_LARGE: i32 = 2101;
const KEY_TOO_LARGE: i32 = 2102;
const VALUE_TOO_LARGE: i32 = 2103;

/// The error of a read.
pub(crate) fn of_read(error: FdbError) -> StoreError {
    match error.code() {
        TRANSACTION_TOO_OLD => too_old(),
        // It may be tried again, says FoundationDB; but only a person unlocks it.
        DATABASE_LOCKED => StoreError::unavailable(
            "the FoundationDB database is locked, as while it is restored or is the copy of another; `fdbcli` unlocks it",
        ),
        KEY_TOO_LARGE => StoreError::TooLarge { what: "key", size: KEY_BYTES_MAX + 1, limit: KEY_BYTES_MAX },
        // Whatever else may be tried again: a server that is behind or busy, roles that moved.
        _ if error.is_retryable() => StoreError::Conflict,
        _ => StoreError::unavailable(describe(error)),
    }
}

/// The error of a commit of `bytes` bytes.
pub(crate) fn of_commit(error: FdbError, bytes: usize) -> StoreError {
    match error.code() {
        TRANSACTION_TOO_LARGE => {
            // FoundationDB counts a little on top of the keys and values, so it may refuse what is just within.
            let size = bytes.max(TRANSACTION_BYTES_MAX + 1);
            StoreError::TooLarge { what: "transaction", size, limit: TRANSACTION_BYTES_MAX }
        }
        VALUE_TOO_LARGE => StoreError::TooLarge { what: "value", size: VALUE_BYTES_MAX + 1, limit: VALUE_BYTES_MAX },
        _ if error.is_maybe_committed() => StoreError::CommitUnknown,
        _ => of_read(error),
    }
}

/// What comes of `answer`, or an error once the cluster took longer than `limit` for it. Real time counts, whatever
/// the store's clock says: it is the cluster that is waited for.
pub(crate) async fn within<T>(
    limit: Duration,
    waiting_for: &str,
    answer: impl Future<Output = T>,
) -> Result<T, StoreError> {
    let late = |_| {
        let seconds = limit.as_secs();
        let reason = format!("the FoundationDB cluster gave no {waiting_for} in {seconds} s; `fdbcli` shows its state");
        StoreError::unavailable(reason)
    };
    tokio::time::timeout(limit, answer).await.map_err(late)
}
