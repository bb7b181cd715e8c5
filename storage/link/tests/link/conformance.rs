//! The served store runs the conformance suite of the port, whatever store is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use steward_storage::{MemoryStore, Store, conformance};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::Clock;
use tempfile::TempDir;

use crate::stage::Stage;

async fn check(open: impl Fn(Arc<dyn Clock>) -> Arc<dyn Store>) {
    let stages = Mutex::new(Vec::new());
    conformance::check(|clock| {
        // The served store's transactions age by the suite's clock; the link itself lives in real time.
        let (stored, stages) = (open(clock), &stages);
        async move {
            let stage = Stage::of(stored).await;
            let client = stage.client().await;
            stages.lock().push(stage);
            Arc::new(client) as Arc<dyn Store>
        }
    })
    .await;
    assert_eq!(stages.lock().len(), conformance::CASES.len());
    for stage in stages.into_inner() {
        assert_eq!(stage.server.state().refused, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_served_memory_store_conforms() {
    check(|clock| Arc::new(MemoryStore::with_clock(clock))).await;
}

#[tokio::test]
async fn a_served_memory_store_conforms_on_one_thread() {
    check(|clock| Arc::new(MemoryStore::with_clock(clock))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_served_embedded_store_conforms() {
    let (folder, number) = (TempDir::new().unwrap(), AtomicU64::new(0));
    check(|clock| {
        let number = number.fetch_add(1, Ordering::Relaxed);
        let config = EmbeddedConfig::new(folder.path().join(number.to_string()));
        Arc::new(EmbeddedStore::open(&config, clock).unwrap())
    })
    .await;
}
