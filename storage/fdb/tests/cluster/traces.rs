//! What is configured for finding faults takes effect: the client's trace files name each transaction.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use steward_storage::Store;
use steward_storage_fdb::{FdbConfig, FdbStore};
use steward_types::SystemClock;
use tempfile::TempDir;

use crate::server::shared;

/// Set in the process that this test starts, with the folder for its trace files: a process has one, for its first store.
const TRACE_FOLDER: &str = "STEWARD_FDB_TEST_TRACES";
/// The cluster file for that process.
const CLUSTER_FILE: &str = "STEWARD_FDB_TEST_CLUSTER";
const NAME: &str = "traces::logged_transactions_stand_in_the_trace_files";
const TRANSACTIONS: usize = 3;

#[tokio::test]
async fn logged_transactions_stand_in_the_trace_files() {
    if let Some(folder) = std::env::var_os(TRACE_FOLDER) {
        return commit_some(folder.into()).await;
    }
    let Some(cluster) = shared("logged_transactions_stand_in_the_trace_files") else { return };
    let folder = TempDir::new().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", NAME]).env(TRACE_FOLDER, folder.path()).env(CLUSTER_FILE, cluster.file());
    let ended = child.output().unwrap();
    assert!(ended.status.success(), "{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr));
    let traces = traces(folder.path());
    for number in 0..TRANSACTIONS {
        let name = format!("\"steward-{number}\"");
        let logged = traces.lines().any(|line| line.contains("TransactionTrace_Commit") && line.contains(&name));
        assert!(logged, "no commit of {name} in the trace files");
    }
}

/// Everything in a folder's files.
fn traces(folder: &Path) -> String {
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
}

async fn commit_some(trace_folder: PathBuf) {
    let config = FdbConfig {
        tag: Some("traced".to_owned()),
        trace_folder: Some(trace_folder),
        log_transactions: true,
        ..FdbConfig::new(std::env::var_os(CLUSTER_FILE).unwrap()).named("test/traces")
    };
    let store = FdbStore::open(&config, Arc::new(SystemClock::new())).unwrap();
    for _ in 0..TRANSACTIONS {
        let txn = store.begin();
        txn.set(b"k", b"v").unwrap();
        txn.commit().await.unwrap();
    }
    store.close().await.unwrap();
    drop(store);
    // What is still in memory is written when the network thread ends.
    steward_storage_fdb::client::stop();
}
