//! Damaged files of the store's folder are refused as corrupt, or nothing is missing; no byte of them makes the
//! program panic.
//!
//! Left out are the engine's manifests (`v0`, `v1`, …), whose damaged lengths it believes and allocates (lsm-tree
//! 3.1.10), and cutting the journal, which cannot be told from a crash: what was behind the cut is gone.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use steward_storage::{RangeRead, Store, StoreError};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Entropy, SeededEntropy, SystemClock};
use tempfile::TempDir;

const ROWS: usize = 200;

fn open(folder: &Path) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(&EmbeddedConfig::new(folder), Arc::new(SystemClock::new()))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() { found.extend(files(&entry)) } else { found.push(entry) }
    }
    found.sort();
    found
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}

async fn use_store(folder: &Path) -> Result<usize, StoreError> {
    let store = open(folder)?;
    let rows = store.begin().range(RangeRead::prefix(b"k")).await?.rows.len();
    let txn = store.begin();
    txn.set(b"more", b"1")?;
    txn.commit().await?;
    Ok(rows)
}

#[test]
fn a_damaged_folder_is_refused_or_survived() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let home = TempDir::new().unwrap();
    let good = home.path().join("good");
    runtime.block_on(async {
        let store = open(&good).unwrap();
        for n in 0..ROWS as u32 {
            let txn = store.begin();
            txn.set(&[&b"k"[..], &n.to_be_bytes()].concat(), &[7; 100]).unwrap();
            txn.commit().await.unwrap();
        }
        store.close().await.unwrap();
    });
    let (entropy, mut refused) = (SeededEntropy::new(3), 0);
    for file in files(&good).iter().filter(|file| !is_manifest(file)) {
        let name = file.strip_prefix(&good).unwrap();
        let bytes = std::fs::read(file).unwrap();
        let used = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        for _ in 0..if used == 0 { 0 } else { 5 } {
            let at = usize::try_from(entropy.next_u64() % used as u64).unwrap();
            let damaged = home.path().join("damaged");
            copy(&good, &damaged);
            let mut changed = bytes.clone();
            changed[at] ^= 0x55;
            std::fs::write(damaged.join(name), changed).unwrap();
            let what = format!("{} damaged at byte {at} of {used}", name.display());
            match catch_unwind(AssertUnwindSafe(|| runtime.block_on(use_store(&damaged)))) {
                Ok(Ok(rows)) => assert_eq!(rows, ROWS, "{what}: rows are missing and nobody said so"),
                Ok(Err(StoreError::Corrupt(_))) => refused += 1,
                Ok(Err(other)) => panic!("{what}: {other:?}"),
                Err(_) => panic!("{what}: the store panicked"),
            }
            std::fs::remove_dir_all(&damaged).unwrap();
        }
    }
    assert!(refused > 10, "only {refused} damages were refused: the test shows nothing");
}

fn is_manifest(file: &Path) -> bool {
    let name = file.file_name().unwrap().to_string_lossy();
    name.strip_prefix('v').is_some_and(|number| number.parse::<u64>().is_ok())
}
