//! What is said when the store cannot be opened. None of these needs FoundationDB: the tests never load its library.

#![expect(clippy::unwrap_used, reason = "a test says what is wrong by failing")]

use std::path::Path;
use std::sync::Arc;

use steward_storage_fdb::{FdbConfig, FdbOpenError, FdbStore};
use steward_types::SystemClock;
use tempfile::TempDir;

fn refusal(config: &FdbConfig) -> FdbOpenError {
    FdbStore::open(config, Arc::new(SystemClock::new())).expect_err("nothing of this can be opened")
}

fn cluster_file(folder: &TempDir, text: &str) -> std::path::PathBuf {
    let path = folder.path().join("fdb.cluster");
    std::fs::write(&path, text).unwrap();
    path
}

fn valid(folder: &TempDir, library: &Path) -> FdbConfig {
    let file = cluster_file(folder, "test:test@127.0.0.1:4500");
    FdbConfig { library: Some(library.to_owned()), ..FdbConfig::new(file) }
}

#[test]
fn a_missing_cluster_file_is_named_with_what_to_do() {
    let folder = TempDir::new().unwrap();
    let config = FdbConfig::new(folder.path().join("none.cluster"));
    let error = refusal(&config);
    assert!(matches!(error, FdbOpenError::ClusterFileUnreadable { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("none.cluster") && said.contains("copy it from a machine of the cluster"), "{said}");
}

#[test]
fn a_malformed_cluster_file_is_named_with_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    for (text, problem) in [("", "empty"), ("127.0.0.1:4500", "no `@`"), ("a:b@127.0.0.1", "address and a port")] {
        let said = refusal(&FdbConfig::new(cluster_file(&folder, text))).to_string();
        assert!(said.contains("fdb.cluster") && said.contains(problem), "{said}");
    }
}

#[test]
fn a_missing_library_is_named_with_what_to_install() {
    let folder = TempDir::new().unwrap();
    let error = refusal(&valid(&folder, Path::new("/nowhere/libfdb_c.so")));
    assert!(matches!(error, FdbOpenError::LibraryMissing { .. }), "{error:?}");
    let said = error.to_string();
    assert!(said.contains("/nowhere/libfdb_c.so") && said.contains("FDB_CLIENT_LIBRARY"), "{said}");
}

#[test]
fn a_file_that_is_no_library_is_named() {
    let folder = TempDir::new().unwrap();
    let text = folder.path().join("libfdb_c.so");
    std::fs::write(&text, "no library").unwrap();
    let error = refusal(&valid(&folder, &text));
    assert!(matches!(error, FdbOpenError::LibraryMissing { .. }), "{error:?}");
    let other = refusal(&valid(&folder, Path::new("libm.so.6")));
    assert!(matches!(other, FdbOpenError::LibraryUnfit { .. }), "{other:?}");
    assert!(other.to_string().contains("libm.so.6") && other.to_string().contains("7.3"), "{other}");
}

#[test]
fn a_prefix_that_is_too_long_or_not_the_users_is_refused() {
    let folder = TempDir::new().unwrap();
    let file = cluster_file(&folder, "test:test@127.0.0.1:4500");
    for prefix in [vec![1; 101], vec![0xff, b'x']] {
        let error = refusal(&FdbConfig { prefix, ..FdbConfig::new(&file) });
        assert!(matches!(error, FdbOpenError::Prefix { .. }), "{error:?}");
    }
}

#[test]
fn a_tag_that_foundationdb_would_refuse_is_refused_at_once() {
    let folder = TempDir::new().unwrap();
    let tag = Some("t".repeat(256));
    let error = refusal(&FdbConfig { tag, ..FdbConfig::new(cluster_file(&folder, "test:test@127.0.0.1:4500")) });
    assert!(matches!(error, FdbOpenError::Tag { bytes: 256, limit: 255 }), "{error:?}");
}
