//! Commit order: atomic operations and versionstamped keys, which many transactions use at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Outcome, SuiteClock, assert_conflict};
use crate::{AtomicOp, CommitVersion, Isolation, RangeRead, Store, StoreError, key};

const TASKS: u64 = 8;
const ROUNDS: u64 = 40;

pub(super) async fn atomic_operations_do_not_conflict(store: Arc<dyn Store>, _clock: Arc<SuiteClock>) -> Outcome {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            for round in 0..ROUNDS {
                let txn = store.begin();
                txn.atomic(b"sum", AtomicOp::Add, task)?;
                txn.atomic(b"sum", AtomicOp::Add, 1)?;
                txn.atomic(b"most", AtomicOp::Max, task * ROUNDS + round)?;
                // No retry: a conflict would fail the case.
                txn.commit().await?;
            }
            Ok::<(), StoreError>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("a task panicked")?;
    }
    let sum = ROUNDS * TASKS + ROUNDS * (0..TASKS).sum::<u64>();
    assert_eq!(super::value(&*store, b"sum").await?.as_deref(), Some(&sum.to_le_bytes()[..]));
    let most = TASKS * ROUNDS - 1;
    assert_eq!(super::value(&*store, b"most").await?.as_deref(), Some(&most.to_le_bytes()[..]));
    Ok(())
}

pub(super) async fn an_atomic_operation_conflicts_with_a_reader(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    let reader = store.begin();
    reader.get(b"sum", Isolation::Serializable).await?;
    reader.set(b"out", b"1")?;
    let adding = store.begin();
    adding.atomic(b"sum", AtomicOp::Add, 1)?;
    adding.commit().await?;
    assert_conflict(&reader, "the value that was read was added to").await;
    Ok(())
}

pub(super) async fn versionstamped_keys_sort_in_commit_order(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    let mut tasks = JoinSet::new();
    for task in 0..TASKS {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            let mut own = Vec::new();
            for round in 0..ROUNDS {
                let (txn, name) = (store.begin(), format!("{task}-{round}"));
                txn.set_versionstamped_key(b"log/", b"/a", name.as_bytes())?;
                txn.set_versionstamped_key(b"log/", b"/b", name.as_bytes())?;
                own.push((txn.commit().await?, name));
            }
            Ok::<_, StoreError>(own)
        });
    }
    let mut commits: BTreeMap<String, CommitVersion> = BTreeMap::new();
    while let Some(done) = tasks.join_next().await {
        let own = done.expect("a task panicked")?;
        assert!(own.is_sorted_by(|a, b| a.0 < b.0), "one task's commits follow each other");
        commits.extend(own.into_iter().map(|(version, name)| (name, version)));
    }
    let log = store.begin().range(RangeRead::prefix(b"log/")).await?.rows;
    assert_eq!(log.len(), 2 * commits.len(), "both rows of every commit, and no other");
    let mut last = CommitVersion(0);
    for rows in log.chunks(2) {
        let [(first, name), (second, other)] = rows else { panic!("an odd row: {rows:?}") };
        assert!(name == other && first[..14] == second[..14], "a commit's rows stand together: {rows:?}");
        let version = commits[std::str::from_utf8(name).expect("a name of ours")];
        // Commits that a store decides on together may share a version; the ten bytes tell them apart.
        assert!(last <= version, "the log is in commit order");
        assert_eq!(first[4..12], version.0.to_be_bytes(), "the key holds the commit version");
        assert_eq!(first.len(), 4 + 10 + 2);
        last = version;
    }
    let twice = store.begin();
    twice.set_versionstamped_key(b"log/", b"", b"1")?;
    assert!(matches!(twice.set_versionstamped_key(b"log/", b"", b"2"), Err(StoreError::Invalid(_))));
    Ok(())
}

pub(super) async fn a_versionstamped_row_conflicts_with_a_range_that_it_enters(
    store: Arc<dyn Store>,
    _clock: Arc<SuiteClock>,
) -> Outcome {
    let reader = store.begin();
    reader.range(RangeRead::prefix(b"log/")).await?;
    reader.set(b"out", b"1")?;
    let writer = store.begin();
    writer.set_versionstamped_key(b"log/", b"", b"1")?;
    let version = writer.commit().await?;
    assert_conflict(&reader, "a versionstamped row came into the range").await;
    let stamp = version.versionstamp(0).0;
    assert!(key::successor(&stamp)[..] > stamp[..]);
    Ok(())
}
