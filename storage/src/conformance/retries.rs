//! The retry loop on a store under contention, and on one that does not say whether it committed.

use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Outcome, SuiteClock};
use crate::faults::UnknownCommits;
use crate::{Isolation, Store, StoreError, StoreExt, Txn};

const TASKS: u64 = 6;
/// Few enough that all the others together commit less often than one retry loop tries: (6 - 1) × 16 < 100, so that no
/// order of wake-ups can use a loop up.
const ROUNDS: u64 = 16;

async fn increment(txn: Txn, key: &[u8]) -> Result<u64, StoreError> {
    let held = txn.get(key, Isolation::Serializable).await?;
    let count = held.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().expect("eight bytes"))) + 1;
    txn.set(key, &count.to_le_bytes())?;
    Ok(count)
}

async fn assert_count(store: &dyn Store, key: &[u8]) -> Outcome {
    let count = super::value(store, key).await?;
    assert_eq!(count.as_deref(), Some(&(TASKS * ROUNDS).to_le_bytes()[..]), "{}", key.escape_ascii());
    Ok(())
}

pub(super) async fn every_increment_counts_once(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                store.run(|txn| async move { increment(txn, b"count").await }).await?;
            }
            Ok::<(), StoreError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a task panicked")?;
    }
    assert_count(&*store, b"count").await
}

pub(super) async fn a_commit_of_unknown_outcome_takes_effect_once(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    let uncertain = Arc::new(UnknownCommits::new(Arc::clone(&store), 7));
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&uncertain);
        tasks.spawn(async move {
            let mut last = 0;
            for round in 0..ROUNDS {
                let marker = format!("marker/{task}/{round}");
                let body = |txn| async move { increment(txn, b"count").await };
                let count = store.run_idempotent(marker.as_bytes(), body).await?;
                assert!(count > last, "a settled attempt returns what its commit stored");
                last = count;
            }
            Ok::<(), StoreError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a task panicked")?;
    }
    assert!(uncertain.lost() > 0 && uncertain.hidden() > 0, "both kinds of unknown outcome happened");
    assert_count(&*store, b"count").await
}
