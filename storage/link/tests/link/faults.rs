//! Connections cut in the middle of anything: what was acknowledged is there, what was refused is not, and what is
//! idempotent counts once.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use steward_chaos_proxy::Proxy;
use steward_storage::{Isolation, RangeRead, Store, StoreError, StoreExt, Txn};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Entropy, SystemEntropy};
use tempfile::TempDir;
use tokio::task::JoinSet;

use crate::stage::{Stage, clock, get, put, until};

const CUTS: u64 = 40;
const WORKERS: u64 = 6;

async fn increment(txn: &Txn, key: &[u8]) -> Result<u64, StoreError> {
    let held = txn.get(key, Isolation::Serializable).await?;
    let count = held.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())) + 1;
    txn.set(key, &count.to_le_bytes())?;
    Ok(count)
}

/// What the workers know of their commits.
#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    counted: AtomicU64,
    acknowledged: parking_lot::Mutex<BTreeSet<Vec<u8>>>,
    refused: parking_lot::Mutex<BTreeSet<Vec<u8>>>,
    unknown: AtomicU64,
    lost_reads: AtomicU64,
}

/// Counts with idempotent transactions until told to stop.
async fn count(store: Arc<dyn Store>, tally: Arc<Tally>, worker: u64) {
    for number in 0.. {
        if tally.stop.load(Ordering::SeqCst) {
            return;
        }
        let marker = format!("marker/{worker}/{number}");
        let body = |txn: Txn| async move { increment(&txn, b"count").await };
        store.run_idempotent(marker.as_bytes(), body).await.unwrap();
        tally.counted.fetch_add(1, Ordering::SeqCst);
    }
}

/// Commits a row of its own each time, once, and notes what it was told.
async fn mark(store: Arc<dyn Store>, tally: Arc<Tally>, worker: u64) {
    for number in 0u64.. {
        if tally.stop.load(Ordering::SeqCst) {
            return;
        }
        let key = format!("row/{worker}/{number}").into_bytes();
        let txn = store.begin();
        match txn.get(&key, Isolation::Serializable).await {
            Ok(found) => assert_eq!(found, None),
            Err(StoreError::TooOld { .. }) => {
                tally.lost_reads.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            Err(error) => panic!("{error}"),
        }
        txn.set(&key, &[7; 300]).unwrap();
        txn.atomic(b"rows", steward_storage::AtomicOp::Add, 1).unwrap();
        match txn.commit().await {
            Ok(_) => {
                tally.acknowledged.lock().insert(key);
            }
            Err(StoreError::CommitUnknown) => {
                tally.unknown.fetch_add(1, Ordering::SeqCst);
            }
            Err(StoreError::TooOld { .. } | StoreError::Conflict) => {
                tally.refused.lock().insert(key);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn check(direct: &dyn Store, tally: &Tally) {
    let word = |bytes: Option<bytes::Bytes>| u64::from_le_bytes(bytes.unwrap()[..].try_into().unwrap());
    let counted = tally.counted.load(Ordering::SeqCst);
    assert_eq!(word(get(direct, b"count").await.unwrap()), counted, "each counts once");
    let (txn, mut next, mut rows) = (direct.begin(), Some(RangeRead::prefix(b"row/")), BTreeSet::new());
    while let Some(range) = next {
        let page = txn.range(range.clone()).await.unwrap();
        next = range.after(&page);
        rows.extend(page.rows.into_iter().map(|(key, _)| key.to_vec()));
    }
    let missing: Vec<_> = tally.acknowledged.lock().difference(&rows).cloned().collect();
    assert!(missing.is_empty(), "acknowledged and not there: {missing:?}");
    let refused: Vec<_> = tally.refused.lock().intersection(&rows).cloned().collect();
    assert!(refused.is_empty(), "refused and there: {refused:?}");
    assert_eq!(word(get(direct, b"rows").await.unwrap()), rows.len() as u64, "a transaction is there in part");
}

async fn cut_again_and_again(direct: Arc<dyn Store>) {
    let stage = Stage::of(Arc::clone(&direct)).await;
    let proxy = Proxy::to(stage.address).await.unwrap();
    let client: Arc<dyn Store> = Arc::new(stage.client_through(proxy.address()).await);
    let (tally, mut workers) = (Arc::new(Tally::default()), JoinSet::new());
    for worker in 0..WORKERS {
        workers.spawn(count(Arc::clone(&client), Arc::clone(&tally), worker));
        workers.spawn(mark(Arc::clone(&client), Arc::clone(&tally), worker));
    }
    for cut in 1..=CUTS {
        let before = (tally.counted.load(Ordering::SeqCst), tally.acknowledged.lock().len());
        proxy.cut_after(u32::try_from(SystemEntropy.next_u64() % 20_000).unwrap());
        until("a cut", || proxy.cuts() == cut).await;
        let went_on = || tally.counted.load(Ordering::SeqCst) > before.0 && tally.acknowledged.lock().len() > before.1;
        until("both kinds of work go on", went_on).await;
    }
    tally.stop.store(true, Ordering::SeqCst);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    check(&*direct, &tally).await;
    let unknown = tally.unknown.load(Ordering::SeqCst);
    assert!(unknown > 0, "no cut met a commit: the test shows nothing");
    assert!(tally.lost_reads.load(Ordering::SeqCst) > 0, "no cut met a read: the test shows nothing");
    client.close().await.unwrap();
    until("the server frees what it held", || {
        let state = stage.server.state();
        (state.connections, state.transactions, state.watches) == (0, 0, 0)
    })
    .await;
    println!("{CUTS} cuts, {unknown} commits of unknown outcome, {} counted", tally.counted.load(Ordering::SeqCst));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn cut_connections_lose_and_double_nothing_on_a_memory_store() {
    cut_again_and_again(Arc::new(steward_storage::MemoryStore::new())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_and_double_nothing_on_an_embedded_store() {
    let folder = TempDir::new().unwrap();
    let store = EmbeddedStore::open(&EmbeddedConfig::new(folder.path()), clock()).unwrap();
    cut_again_and_again(Arc::new(store)).await;
}

#[tokio::test]
async fn a_transaction_that_read_over_a_lost_connection_is_too_old() {
    let stage = Stage::new().await;
    let proxy = Proxy::to(stage.address).await.unwrap();
    let client = stage.client_through(proxy.address()).await;
    let (reading, writing) = (client.begin(), client.begin());
    reading.get(b"a", Isolation::Serializable).await.unwrap();
    writing.get(b"a", Isolation::Serializable).await.unwrap();
    writing.set(b"a", b"1").unwrap();
    until("the server holds both", || stage.server.state().transactions == 2).await;
    proxy.cut_after(0);
    until("another connection", || client.state().connections == 2).await;
    let too_old = |error: StoreError| assert!(matches!(error, StoreError::TooOld { .. }), "{error:?}");
    too_old(reading.get(b"b", Isolation::Serializable).await.unwrap_err());
    too_old(reading.set(b"b", b"1").unwrap_err());
    too_old(writing.commit().await.unwrap_err());
    until("the server let both go", || stage.server.state().transactions == 0).await;
    assert_eq!(get(&client, b"a").await.unwrap(), None);
}

#[tokio::test]
async fn a_watch_outlives_its_connection() {
    let stage = Stage::new().await;
    let proxy = Proxy::to(stage.address).await.unwrap();
    let (client, other) = (stage.client_through(proxy.address()).await, stage.client().await);
    let txn = client.begin();
    let watch = txn.watch(b"w").unwrap();
    txn.commit().await.unwrap();
    let uncommitted = client.begin();
    let never = uncommitted.watch(b"w").unwrap();
    until("the server has both watches' transactions", || stage.server.state().transactions == 1).await;
    assert_eq!(stage.server.state().watches, 1);
    proxy.cut_after(0);
    until("the connection is lost", || proxy.cuts() == 1).await;
    put(&other, b"w", b"1").await.unwrap();
    watch.await.unwrap();
    assert_eq!(get(&client, b"w").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert!(never.await.is_err(), "its transaction is gone with the connection");
    until("the server dropped the old watch", || stage.server.state().watches == 0).await;
}
