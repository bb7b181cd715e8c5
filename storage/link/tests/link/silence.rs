//! A server that says nothing, though its connections stay open, is noticed, and used again when it is back.

use std::sync::Arc;
use std::time::Duration;

use steward_chaos_proxy::{Hold, Proxy};
use steward_storage::{Isolation, Store, StoreError};
use steward_storage_link::{ServedConfig, ServedStore};
use tokio::task::JoinSet;

use crate::stage::{Stage, clock, get, put, until};

async fn check(hold: Hold) {
    let stage = Stage::new().await;
    let proxy = Proxy::to(stage.address).await.unwrap();
    let config = ServedConfig { call_time: Duration::from_millis(500), ..stage.config(proxy.address()) };
    let client = Arc::new(ServedStore::connect(config, clock()).await.unwrap());
    put(&*client, b"a", b"1").await.unwrap();
    proxy.hold(hold);
    until("something is withheld", || proxy.withheld() > 0).await;
    let mut calls = JoinSet::new();
    let (reader, writer) = (Arc::clone(&client), Arc::clone(&client));
    calls.spawn(async move { get(&*reader, b"a").await.map(drop) });
    calls.spawn(async move { put(&*writer, b"b", b"1").await });
    for outcome in calls.join_all().await {
        let honest = matches!(
            outcome,
            Err(StoreError::Unavailable { .. } | StoreError::TooOld { .. } | StoreError::CommitUnknown)
        );
        assert!(honest, "{hold:?}: {outcome:?}");
    }
    until("the silence is noticed", || !client.state().connected).await;
    let unavailable = get(&*client, b"a").await.unwrap_err().to_string();
    assert!(unavailable.contains("no connection"), "{unavailable}");
    proxy.hold(Hold::NONE);
    until("the store is used again", || client.state().connected).await;
    let txn = client.begin();
    assert_eq!(txn.get(b"a", Isolation::Serializable).await.unwrap().as_deref(), Some(&b"1"[..]));
    txn.set(b"a", b"2").unwrap();
    txn.commit().await.unwrap();
    until("one connection is left", || stage.server.state().connections == 1).await;
}

#[tokio::test]
async fn silence_in_both_directions_is_noticed() {
    check(Hold::BOTH).await;
}

#[tokio::test]
async fn silence_towards_the_client_is_noticed() {
    check(Hold::BACK).await;
}

#[tokio::test]
async fn silence_towards_the_server_is_noticed() {
    check(Hold::THERE).await;
}

#[tokio::test]
async fn a_stranger_at_the_address_of_a_stopped_server_is_not_taken_for_it() {
    let (stage, later) = (Stage::new().await, Stage::new().await);
    let proxy = Proxy::to(stage.address).await.unwrap();
    let client = stage.client_through(proxy.address()).await;
    put(&client, b"a", b"1").await.unwrap();
    let Stage { stop, mut tasks, .. } = stage;
    stop.cancel();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    until("the connection is gone", || !client.state().connected).await;
    // Another authority signs for the store there, so it is not taken for the one that went away.
    proxy.retarget(later.address);
    until("the stranger refused the client", || later.server.state().refused > 0).await;
    assert!(!client.state().connected);
}
