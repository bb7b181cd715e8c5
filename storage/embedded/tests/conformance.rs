//! The embedded store runs the conformance suite of the port, and keeps what it acknowledged when it is opened again.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::sync::Arc;

use bytes::Bytes;
use steward_storage::{CommitVersion, Isolation, RangeRead, Store, StoreError, conformance};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, SystemClock};
use tempfile::TempDir;

fn open(config: &EmbeddedConfig) -> Result<EmbeddedStore, StoreError> {
    EmbeddedStore::open(config, Arc::new(SystemClock::new()))
}

async fn put(store: &dyn Store, key: &[u8], value: &[u8]) -> CommitVersion {
    let txn = store.begin();
    txn.set(key, value).unwrap();
    txn.commit().await.unwrap()
}

async fn get(store: &dyn Store, key: &[u8]) -> Option<Bytes> {
    store.begin().get(key, Isolation::Snapshot).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_embedded_store_conforms() {
    let folder = TempDir::new().unwrap();
    let number = std::sync::atomic::AtomicU64::new(0);
    conformance::check(|clock: Arc<dyn Clock>| {
        let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let config = EmbeddedConfig::new(folder.path().join(number.to_string()));
        async move { Arc::new(EmbeddedStore::open(&config, clock).unwrap()) as Arc<dyn Store> }
    })
    .await;
}

#[tokio::test]
async fn what_was_committed_is_there_after_opening_again_and_versions_go_on() {
    let folder = TempDir::new().unwrap();
    let config = EmbeddedConfig::new(folder.path());
    let mut last = CommitVersion(0);
    for round in 0..5u8 {
        let store = open(&config).unwrap();
        for earlier in 0..round {
            assert_eq!(get(&store, &[b'k', earlier]).await.as_deref(), Some(&[earlier][..]));
        }
        let txn = store.begin();
        txn.set_versionstamped_key(b"log/", b"", &[round]).unwrap();
        txn.set(&[b'k', round], &[round]).unwrap();
        let version = txn.commit().await.unwrap();
        assert!(version > last, "{version:?} after {last:?}");
        last = version;
        if round % 2 == 0 {
            store.close().await.unwrap();
        }
    }
    let store = open(&config).unwrap();
    let log = store.begin().range(RangeRead::prefix(b"log/")).await.unwrap().rows;
    assert_eq!(log.iter().map(|(_, round)| round[0]).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
}

#[tokio::test]
async fn a_second_opening_is_refused_and_names_the_folder() {
    let folder = TempDir::new().unwrap();
    let config = EmbeddedConfig::new(folder.path().join("store"));
    let first = open(&config).unwrap();
    let text = match open(&config) {
        Err(error @ StoreError::Locked { .. }) => error.to_string(),
        other => panic!("the store was opened twice: {other:?}"),
    };
    assert!(text.contains(&config.folder.display().to_string()), "{text}");
    put(&first, b"a", b"1").await;
    drop(first);
    assert_eq!(get(&open(&config).unwrap(), b"a").await.as_deref(), Some(&b"1"[..]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_holds_one_version_while_the_store_serves() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    let store = Arc::new(open(&EmbeddedConfig::new(folder.path().join("a"))).unwrap());
    let value = vec![7; 50_000];
    // Each commit writes both rows of a pair, so half a pair would show a torn backup.
    let pair = |n: u32| (format!("left/{n:05}").into_bytes(), format!("right/{n:05}").into_bytes());
    let write = async |n: u32| {
        let (txn, (left, right)) = (store.begin(), pair(n));
        txn.set(&left, &value).unwrap();
        txn.set(&right, &value).unwrap();
        txn.commit().await.unwrap()
    };
    for n in 0..60 {
        write(n).await;
    }
    let (reports, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let backup = store.backup(&file, move |progress| reports.send(progress).unwrap());
    let (summary, ()) = tokio::join!(backup, async {
        for n in 60..80 {
            write(n).await;
        }
    });
    let summary = summary.unwrap();
    assert!(summary.total.rows >= 120 && summary.total.rows % 2 == 0, "{summary:?}");
    let mut last = None;
    while let Ok(progress) = seen.try_recv() {
        last = Some(progress);
    }
    assert_eq!(last, Some(summary.total));
    assert!(!folder.path().join("backup.partial").exists());

    let config = EmbeddedConfig::new(folder.path().join("b"));
    assert_eq!(EmbeddedStore::restore(&file, &config, |_| {}).unwrap(), summary);
    let restored = open(&config).unwrap();
    for n in 0..u32::try_from(summary.total.rows / 2).unwrap() {
        let (left, right) = pair(n);
        assert_eq!(get(&restored, &left).await.as_deref(), Some(&value[..]));
        assert_eq!(get(&restored, &right).await.as_deref(), Some(&value[..]));
    }
    assert!(put(&restored, b"more", b"1").await > summary.version, "versions go on after those of the backup");
    drop(restored);
    let refused = EmbeddedStore::restore(&file, &config, |_| {}).unwrap_err().to_string();
    assert!(refused.contains("already holds a store"), "{refused}");
}

#[tokio::test]
async fn a_damaged_backup_is_refused_before_anything_is_written() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("backup");
    let store = open(&EmbeddedConfig::new(folder.path().join("a"))).unwrap();
    for n in 0..20u8 {
        put(&store, &[b'k', n], &[n; 40]).await;
    }
    store.backup(&file, |_| {}).await.unwrap();
    let good = std::fs::read(&file).unwrap();
    let config = EmbeddedConfig::new(folder.path().join("b"));
    let check = |damaged: &[u8], how: &str| {
        std::fs::write(&file, damaged).unwrap();
        let refused = EmbeddedStore::restore(&file, &config, |_| {});
        assert!(matches!(refused, Err(StoreError::Corrupt(_))), "{how}: {refused:?}");
        assert!(!config.folder.exists(), "{how}: nothing may be written");
    };
    for at in 0..good.len() {
        let mut damaged = good.clone();
        damaged[at] ^= 0x40;
        check(&damaged, &format!("byte {at} flipped"));
        check(&good[..at], &format!("cut at {at}"));
    }
    check(&[&good[..], b"x"].concat(), "a byte behind the end");
}

#[tokio::test]
async fn a_missing_backup_and_a_refusing_disk_say_what_failed() {
    let folder = TempDir::new().unwrap();
    let config = EmbeddedConfig::new(folder.path().join("a"));
    let missing = EmbeddedStore::restore(&folder.path().join("none"), &config, |_| {}).unwrap_err();
    assert!(missing.to_string().contains("none"), "{missing}");
    let store = open(&config).unwrap();
    let refused = store.backup(&folder.path().join("no/such/folder"), |_| {}).await.unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { source: Some(_), .. }), "{refused:?}");
    std::fs::write(folder.path().join("file"), b"").unwrap();
    let in_a_file = open(&EmbeddedConfig::new(folder.path().join("file"))).unwrap_err();
    assert!(matches!(in_a_file, StoreError::Unavailable { source: Some(_), .. }), "{in_a_file:?}");
}
