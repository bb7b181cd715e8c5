//! What is bounded: calls and transactions in hand, watches, and the age of what the server keeps for a client.

use std::sync::Arc;
use std::time::Duration;

use steward_storage::{Isolation, Store, StoreError};
use steward_storage_link::{ServedConfig, ServedStore};
use steward_types::limits::{
    SERVED_CALLS_MAX, SERVED_HEARTBEAT_TIME, SERVED_SILENT_HEARTBEATS_MAX, SERVED_TRANSACTIONS_MAX,
};
use tokio::task::JoinSet;

use crate::gate::GatedStore;
use crate::stage::{Stage, clock, get, put, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_commits_than_may_be_in_hand_wait_and_all_happen() {
    let gated = GatedStore::new();
    let stage = Stage::of(Arc::new(gated.clone())).await;
    let config = ServedConfig { call_time: Duration::from_secs(60), ..stage.config(stage.address) };
    let client = Arc::new(ServedStore::connect(config, clock()).await.unwrap());
    let (total, mut commits) = (3 * SERVED_CALLS_MAX, JoinSet::new());
    for number in 0..total {
        let client = Arc::clone(&client);
        commits.spawn(async move { put(&*client, &number.to_be_bytes(), b"1").await });
    }
    until("as many commits wait in the store as may", || gated.waiting() == SERVED_CALLS_MAX).await;
    assert_eq!(client.state().calls, SERVED_CALLS_MAX);
    // While the server takes no more calls of it, the client still hears that the server lives.
    let clock = clock();
    let later = clock.monotonic() + SERVED_HEARTBEAT_TIME * (SERVED_SILENT_HEARTBEATS_MAX + 4);
    until("a silence longer than a client bears", || clock.monotonic() > later).await;
    assert_eq!((gated.waiting(), client.state().connections), (SERVED_CALLS_MAX, 1));
    gated.open();
    for outcome in commits.join_all().await {
        outcome.unwrap();
    }
    assert_eq!(stage.server.state().commits, total as u64);
    assert_eq!((client.state().calls, client.state().connections), (0, 1));
}

#[tokio::test]
async fn a_commit_that_is_not_answered_in_time_is_of_unknown_outcome() {
    let gated = GatedStore::new();
    let stage = Stage::of(Arc::new(gated.clone())).await;
    let config = ServedConfig { call_time: Duration::from_millis(100), ..stage.config(stage.address) };
    let client = ServedStore::connect(config, clock()).await.unwrap();
    let outcome = put(&client, b"late", b"1").await;
    assert!(matches!(outcome, Err(StoreError::CommitUnknown)), "{outcome:?}");
    assert_eq!((gated.waiting(), client.state().calls), (1, 0));
    gated.open();
    until("it happened after all", || stage.server.state().commits == 1).await;
    assert_eq!(get(&client, b"late").await.unwrap().as_deref(), Some(&b"1"[..]));
}

#[tokio::test]
async fn transactions_that_read_are_bounded_and_their_end_makes_room() {
    let stage = Stage::new().await;
    let config = ServedConfig { call_time: Duration::from_millis(200), ..stage.config(stage.address) };
    let client = ServedStore::connect(config, clock()).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..SERVED_TRANSACTIONS_MAX {
        let txn = client.begin();
        txn.get(b"a", Isolation::Snapshot).await.unwrap();
        open.push(txn);
    }
    let over = get(&client, b"a").await;
    assert!(matches!(over, Err(StoreError::Unavailable { .. })), "{over:?}");
    // A commit that read nothing needs no such place.
    put(&client, b"a", b"1").await.unwrap();
    open.pop();
    assert_eq!(get(&client, b"a").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(client.state().transactions, SERVED_TRANSACTIONS_MAX - 1);
    // The server keeps none of them longer than a transaction may live, though the client does.
    until("the server let them go", || stage.server.state().transactions == 0).await;
    assert!(matches!(open[0].get(b"a", Isolation::Snapshot).await, Err(StoreError::TooOld { .. })));
    drop(open);
    assert_eq!(client.state().transactions, 0);
}

#[tokio::test]
async fn a_watch_that_nobody_waits_for_is_given_up() {
    let stage = Stage::new().await;
    let client = stage.client().await;
    let txn = client.begin();
    let (dropped, kept) = (txn.watch(b"w").unwrap(), txn.watch(b"w").unwrap());
    txn.commit().await.unwrap();
    assert_eq!(stage.server.state().watches, 2);
    drop(dropped);
    until("the server was told", || stage.server.state().watches == 1).await;
    put(&client, b"w", b"1").await.unwrap();
    kept.await.unwrap();
    until("the other is done", || stage.server.state().watches == 0).await;
}

#[tokio::test]
async fn dropping_a_store_ends_its_calls_and_frees_the_server() {
    let gated = GatedStore::new();
    let stage = Stage::of(Arc::new(gated.clone())).await;
    let client = stage.client().await;
    let txn = client.begin();
    txn.get(b"a", Isolation::Serializable).await.unwrap();
    let blind = client.begin();
    blind.set(b"b", b"1").unwrap();
    let mut commit = JoinSet::new();
    commit.spawn(async move { blind.commit().await });
    until("the commit waits in the store", || gated.waiting() == 1).await;
    drop(client);
    let outcome = commit.join_next().await.unwrap().unwrap();
    assert!(matches!(outcome, Err(StoreError::CommitUnknown)), "{outcome:?}");
    assert!(txn.get(b"a", Isolation::Serializable).await.is_err());
    until("the server is free of it", || {
        let state = stage.server.state();
        (state.connections, state.transactions) == (0, 0)
    })
    .await;
}
