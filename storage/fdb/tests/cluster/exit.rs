//! The end of a process that used FoundationDB's client, whose network thread must end before the library's globals.

use std::process::Command;
use std::sync::Arc;

use steward_storage::{Isolation, Store, StoreError};
use steward_storage_fdb::{FdbConfig, FdbStore};
use steward_types::SystemClock;
use tempfile::TempDir;

use crate::server::shared;

/// Set in the process that this test starts: its own program, with this test alone.
const IN_CHILD: &str = "STEWARD_FDB_TEST_CHILD";
const NAME: &str = "exit::a_process_that_asked_a_dead_cluster_ends_well";

#[tokio::test]
async fn a_process_that_asked_a_dead_cluster_ends_well() {
    if std::env::var_os(IN_CHILD).is_some() {
        return ask_a_dead_cluster().await;
    }
    let Some(_) = shared("a_process_that_asked_a_dead_cluster_ends_well") else { return };
    let mut child = Command::new(std::env::current_exe().unwrap());
    let ended = child.args(["--exact", NAME]).env(IN_CHILD, "1").output().unwrap();
    assert!(ended.status.success(), "{}: {}", ended.status, String::from_utf8_lossy(&ended.stderr));
}

async fn ask_a_dead_cluster() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("fdb.cluster");
    // Nobody listens on port 1.
    std::fs::write(&file, "nobody:nobody@127.0.0.1:1").unwrap();
    let store = FdbStore::open(&FdbConfig::new(file), Arc::new(SystemClock::new())).unwrap();
    let answer = store.begin().get(b"k", Isolation::Snapshot).await;
    assert!(matches!(answer, Err(StoreError::Unavailable { .. })), "{answer:?}");
}
