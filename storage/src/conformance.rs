//! The conformance suite: what every store must do, as code that a driver's tests run.
//!
//! A driver calls [`check`] with a function that opens an empty store on the given clock. The cases panic when the
//! store is wrong, naming what they expected. They use no wall clock and wait for nothing but the store.

mod conflicts;
pub mod history;
mod limits;
mod order;
mod retries;
mod rows;
mod watches;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use steward_types::{Clock, Timestamp};

use crate::{Store, StoreError};

/// What a case says: an error is as wrong as a panic.
pub type Outcome = Result<(), StoreError>;

/// A case takes an empty store and the clock that the store stands on.
pub type Case = fn(Arc<dyn Store>, Arc<SuiteClock>) -> Pin<Box<dyn Future<Output = Outcome> + Send>>;

macro_rules! cases {
    ($($module:ident :: $case:ident),* $(,)?) => {
        &[$((stringify!($case), |store, clock| Box::pin($module::$case(store, clock)))),*]
    };
}

/// All cases with their names.
pub const CASES: &[(&str, Case)] = cases![
    rows::a_transaction_reads_its_own_writes,
    rows::a_range_read_pages_both_ways,
    rows::a_range_read_is_bounded_in_rows_and_bytes,
    rows::a_snapshot_does_not_see_later_commits,
    conflicts::a_changed_read_conflicts,
    conflicts::a_phantom_conflicts,
    conflicts::a_limited_range_read_does_not_conflict_behind_its_last_row,
    conflicts::a_snapshot_read_does_not_conflict,
    conflicts::blind_writes_do_not_conflict,
    conflicts::explicit_ranges_conflict,
    conflicts::a_cleared_range_conflicts_with_its_readers,
    order::atomic_operations_do_not_conflict,
    order::an_atomic_operation_conflicts_with_a_reader,
    order::versionstamped_keys_sort_in_commit_order,
    order::a_versionstamped_row_conflicts_with_a_range_that_it_enters,
    watches::a_watch_resolves_when_its_key_changes,
    watches::a_watch_sees_a_change_before_its_commit,
    watches::a_watch_compares_with_its_own_write,
    watches::a_watch_fails_when_nothing_can_resolve_it,
    watches::watches_are_bounded,
    limits::sizes_are_limited_with_clear_errors,
    limits::a_transaction_is_too_old_after_five_seconds,
    limits::an_ended_transaction_takes_no_calls,
    limits::a_closed_store_is_unavailable,
    retries::every_increment_counts_once,
    retries::a_commit_of_unknown_outcome_takes_effect_once,
    history::random_histories_are_strictly_serializable,
];

/// Runs all cases, each on a store of its own, and closes the stores.
///
/// # Panics
/// When the store is wrong.
pub async fn check<F, Fut>(open: F)
where
    F: Fn(Arc<dyn Clock>) -> Fut,
    Fut: Future<Output = Arc<dyn Store>>,
{
    for (name, case) in CASES {
        let clock = Arc::new(SuiteClock::default());
        let store = open(Arc::clone(&clock) as Arc<dyn Clock>).await;
        tracing::debug!(case = name, store = store.name(), "conformance");
        if let Err(error) = case(Arc::clone(&store), clock).await {
            panic!("case {name} on the {} store: {error}", store.name());
        }
        store.close().await.unwrap_or_else(|error| panic!("closing after {name}: {error}"));
    }
}

/// A clock that stands still unless a case moves it, and on which sleeping only yields.
#[derive(Debug, Default)]
pub struct SuiteClock {
    millis: AtomicU64,
}

impl SuiteClock {
    /// Moves the clock on.
    pub fn advance(&self, duration: Duration) {
        self.millis.fetch_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

#[async_trait]
impl Clock for SuiteClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.millis.load(Ordering::SeqCst))
    }

    async fn sleep(&self, _duration: Duration) {
        tokio::task::yield_now().await;
    }
}

/// Writes rows in a transaction of their own.
async fn put(store: &dyn Store, rows: &[(&[u8], &[u8])]) -> Outcome {
    let txn = store.begin();
    for (key, value) in rows {
        txn.set(key, value)?;
    }
    txn.commit().await.map(drop)
}

/// The value of a key in a transaction of its own.
async fn value(store: &dyn Store, key: &[u8]) -> Result<Option<bytes::Bytes>, StoreError> {
    store.begin().get(key, crate::Isolation::Snapshot).await
}

/// Asserts that a commit failed by conflict.
async fn assert_conflict(txn: &crate::Txn, what: &str) {
    let outcome = txn.commit().await;
    assert!(matches!(outcome, Err(StoreError::Conflict)), "{what}: a conflict was expected, not {outcome:?}");
}
