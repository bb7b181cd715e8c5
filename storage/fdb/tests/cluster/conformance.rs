//! The driver runs the conformance suite of the port.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use steward_storage::{RangeRead, Store, conformance};
use steward_types::{Clock, SystemClock};

use crate::server::shared;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_foundationdb_store_conforms() {
    let Some(cluster) = shared("the_foundationdb_store_conforms") else { return };
    let number = AtomicU64::new(0);
    conformance::check(|clock: Arc<dyn Clock>| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let store = cluster.store(&format!("conformance/{number}"), clock);
        async move {
            assert!(store.begin().range(RangeRead::prefix(b"")).await.unwrap().rows.is_empty());
            Arc::new(store) as Arc<dyn Store>
        }
    })
    .await;
}

#[tokio::test]
async fn the_foundationdb_store_conforms_on_one_thread() {
    let Some(cluster) = shared("the_foundationdb_store_conforms_on_one_thread") else { return };
    let number = AtomicU64::new(0);
    conformance::check(|clock: Arc<dyn Clock>| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let store = cluster.store(&format!("one-thread/{number}"), clock);
        async move { Arc::new(store) as Arc<dyn Store> }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn longer_histories_on_the_real_clock_are_strictly_serializable() {
    let Some(cluster) = shared("longer_histories_on_the_real_clock_are_strictly_serializable") else { return };
    let store: Arc<dyn Store> = Arc::new(cluster.store("history", Arc::new(SystemClock::new())));
    let history = conformance::history::generate(&store, 99, 16, 200).await.unwrap();
    let final_rows = conformance::history::Operation::read_all().run(&store.begin()).await.unwrap();
    conformance::history::verify(&history, &final_rows).unwrap();
}
