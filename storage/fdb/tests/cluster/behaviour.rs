//! What is FoundationDB's own: the prefix, the client's status, the real five seconds, dropped commits.

use std::sync::Arc;
use std::time::Duration;

use steward_storage::{Isolation, RangeRead, Store, StoreError, StoreExt};
use steward_types::limits::TRANSACTION_TIME_MAX;
use steward_types::{Clock, SystemClock};

use crate::server::shared;

fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

#[tokio::test]
async fn stores_with_other_prefixes_do_not_see_each_other() {
    let Some(cluster) = shared("stores_with_other_prefixes_do_not_see_each_other") else { return };
    let (first, second) = (cluster.store("prefix/a", clock()), cluster.store("prefix/b", clock()));
    for store in [&first, &second] {
        let txn = store.begin();
        txn.set(b"k", b"v").unwrap();
        txn.set(b"\xfe\xff", b"last").unwrap();
        txn.commit().await.unwrap();
    }
    let clearing = first.begin();
    clearing.clear_range(b"", b"\xff").unwrap();
    clearing.commit().await.unwrap();
    let all = RangeRead::new(*b"", *b"\xff");
    assert!(first.begin().range(all.clone()).await.unwrap().rows.is_empty());
    let left = second.begin().range(all).await.unwrap().rows;
    let keys: Vec<&[u8]> = left.iter().map(|(key, _)| &key[..]).collect();
    assert_eq!(keys, [&b"k"[..], b"\xfe\xff"], "the prefix is no part of a key");
}

#[tokio::test]
async fn the_client_tells_its_state() {
    let Some(cluster) = shared("the_client_tells_its_state") else { return };
    let store = cluster.store("status", clock());
    store.begin().get(b"k", Isolation::Snapshot).await.unwrap();
    let status = store.client_status().await.unwrap();
    assert_eq!(status["Healthy"], true, "{status}");
    assert!(store.busyness().await.unwrap() >= 0.0);
    // What is sampled says the same, once it has been looked at.
    let looked = async {
        loop {
            match store.condition().filter(|condition| condition.healthy && condition.connections > 0) {
                Some(condition) => break condition,
                None => tokio::task::yield_now().await,
            }
        }
    };
    let condition = tokio::time::timeout(Duration::from_secs(60), looked).await.expect("the client is looked at");
    assert_eq!((condition.connections_failed, condition.version.as_str()), (0, store.client_version()));
    assert!(store.client_version().starts_with(|c: char| c.is_ascii_digit()), "{}", store.client_version());
}

#[tokio::test]
async fn a_transaction_of_real_age_is_too_old() {
    let Some(cluster) = shared("a_transaction_of_real_age_is_too_old") else { return };
    // On a clock that stands still, so that it is FoundationDB that says so.
    let still = Arc::new(steward_storage::conformance::SuiteClock::default());
    let store = cluster.store("age", still);
    let txn = store.begin();
    txn.get(b"k", Isolation::Serializable).await.unwrap();
    // This long a wait is what is tested: FoundationDB forgets the version.
    SystemClock::new().sleep(TRANSACTION_TIME_MAX + Duration::from_secs(3)).await;
    txn.set(b"k", b"v").unwrap();
    let refused = txn.commit().await.unwrap_err();
    assert!(matches!(refused, StoreError::TooOld { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_runs_after_a_dropped_commit_sees_its_end() {
    let Some(cluster) = shared("what_runs_after_a_dropped_commit_sees_its_end") else { return };
    let store = cluster.store("dropped", clock());
    let mut happened = 0;
    for round in 0..50u32 {
        let txn = store.begin();
        txn.set(b"blind", &round.to_le_bytes()).unwrap();
        {
            let mut commit = Box::pin(txn.commit());
            // Polled until it is sent and no further.
            for _ in 0..3 {
                let _ = futures::poll!(&mut commit);
            }
        }
        let first = store.begin().get(b"blind", Isolation::Snapshot).await.unwrap();
        let body = |txn: steward_storage::Txn| async move { txn.set(b"next", b"1") };
        store.run(body).await.unwrap();
        let second = store.begin().get(b"blind", Isolation::Snapshot).await.unwrap();
        assert_eq!(first, second, "a dropped commit took effect after a later transaction had read");
        happened += u32::from(first.as_deref() == Some(&round.to_le_bytes()[..]));
    }
    assert!(happened > 0, "no dropped commit happened: the test shows nothing");
}
