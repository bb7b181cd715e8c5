//! A disk that takes no more: commits fail with an error that says so, readers keep the last secured state, and what
//! was acknowledged is there when the store is opened again.
//!
//! The test runs its own binary under the shell's limit on the size of files, which stands for a full disk.

#![cfg(unix)]
#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use steward_storage::{Isolation, Store, StoreError};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::SystemClock;
use tempfile::TempDir;

const FOLDER: &str = "STEWARD_FULL_DISK_TEST_FOLDER";
const ROWS_EACH: u32 = 90;
const VALUE_BYTES: usize = 100_000;
/// The engine lays out its journal with 64 MiB at once; one more must do for the store to open.
const FILE_BLOCKS_OF_512_BYTES: u32 = 65 << 11;

fn open(folder: &Path) -> EmbeddedStore {
    EmbeddedStore::open(&EmbeddedConfig::new(folder), Arc::new(SystemClock::new())).unwrap()
}

fn key(commit: u32, row: u32) -> Vec<u8> {
    format!("{commit:04}/{row:04}").into_bytes()
}

async fn write(store: &EmbeddedStore, commit: u32) -> Result<(), StoreError> {
    let txn = store.begin();
    for row in 0..ROWS_EACH {
        // Bytes that do not compress.
        let seed = u64::from(commit * ROWS_EACH + row);
        let mut value = vec![0; VALUE_BYTES];
        steward_types::Entropy::fill(&steward_types::SeededEntropy::new(seed), &mut value);
        txn.set(&key(commit, row), &value)?;
    }
    txn.commit().await.map(drop)
}

async fn has(store: &EmbeddedStore, commit: u32, row: u32) -> bool {
    let value = store.begin().get(&key(commit, row), Isolation::Snapshot).await.unwrap();
    value.is_some_and(|value| value.len() == VALUE_BYTES)
}

#[tokio::test]
#[ignore = "the process that the test below limits"]
async fn the_process_that_fills_its_disk() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(folder.as_ref());
    let mut acknowledged = 0;
    let error = loop {
        match write(&store, acknowledged).await {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100, "the limit was never met");
    };
    assert!(matches!(error, StoreError::CommitUnknown), "{error:?}");
    let next = write(&store, 1_000).await.unwrap_err();
    assert!(matches!(next, StoreError::Unavailable { .. }), "{next:?}");
    assert!(next.to_string().contains(folder.to_str().unwrap()), "{next}");
    for commit in 0..acknowledged {
        assert!(has(&store, commit, 0).await && has(&store, commit, ROWS_EACH - 1).await);
    }
    assert!(!has(&store, acknowledged, 0).await, "what was not secured is not shown");
    assert!(store.close().await.is_err(), "closing says that something was not secured");
    println!("\nacknowledged {acknowledged}\nsaid {next}");
}

#[tokio::test]
async fn a_full_disk_fails_commits_clearly_and_loses_nothing() {
    let folder = TempDir::new().unwrap();
    let script = format!("trap '' XFSZ; ulimit -f {FILE_BLOCKS_OF_512_BYTES}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
    command.args(["--ignored", "--exact", "the_process_that_fills_its_disk", "--nocapture"]);
    let output = command.env(FOLDER, folder.path()).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let acknowledged = said.lines().find_map(|line| line.strip_prefix("acknowledged ")).unwrap();
    let acknowledged: u32 = acknowledged.parse().unwrap();
    assert!(acknowledged > 0, "{said}");
    println!("{said}");

    let store = open(folder.path());
    for commit in 0..acknowledged {
        for row in 0..ROWS_EACH {
            assert!(has(&store, commit, row).await, "row {row} of commit {commit}");
        }
    }
    let half = has(&store, acknowledged, 0).await;
    assert_eq!(half, has(&store, acknowledged, ROWS_EACH - 1).await, "the failed commit is there in part");
    write(&store, 2_000).await.unwrap();
}
