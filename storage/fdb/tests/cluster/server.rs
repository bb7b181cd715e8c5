//! The clusters of the tests: the shared one that is named or their own, and those that a test breaks.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use steward_storage_fdb::devcluster::{DevCluster, SERVER_VARIABLE};
use steward_storage_fdb::{FdbConfig, FdbStore};
use steward_types::{Clock, SystemClock};
use tempfile::TempDir;

/// The cluster that the tests share.
pub struct Shared {
    cluster_file: PathBuf,
}

/// The shared cluster, if it is the tests' own, with its folder.
static OWN: Mutex<Option<(DevCluster, TempDir)>> = Mutex::new(None);

/// Ends it with the process.
extern "C" fn end_own() {
    drop(OWN.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// The shared cluster, or `None` after saying that `test` is skipped.
pub fn shared(test: &str) -> Option<&'static Shared> {
    static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        if let Some(cluster_file) = std::env::var_os("FDB_CLUSTER_FILE") {
            return Some(Shared { cluster_file: cluster_file.into() });
        }
        // On a thread of its own: the caller may be in a runtime already.
        std::thread::spawn(start_own).join().unwrap()
    });
    if shared.is_none() {
        println!("{test} skipped: neither FDB_CLUSTER_FILE nor {SERVER_VARIABLE} is set");
    }
    shared.as_ref()
}

fn start_own() -> Option<Shared> {
    let (binary, folder) = (DevCluster::server_of_environment()?, TempDir::new().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let cluster = runtime.block_on(DevCluster::start(&binary, folder.path(), 1)).unwrap();
    let cluster_file = cluster.cluster_file();
    *OWN.lock().unwrap() = Some((cluster, folder));
    // SAFETY: `end_own` is a function of this program that takes nothing and does not unwind.
    unsafe { libc::atexit(end_own) };
    Some(Shared { cluster_file })
}

/// A cluster of so many processes for one test alone, or `None` after saying that `test` is skipped.
pub async fn own_cluster(test: &str, processes: usize) -> Option<(DevCluster, TempDir)> {
    let Some(binary) = DevCluster::server_of_environment() else {
        println!("{test} skipped: {SERVER_VARIABLE} is not set");
        return None;
    };
    let folder = TempDir::new().unwrap();
    let cluster = DevCluster::start(&binary, folder.path(), processes).await.unwrap();
    Some((cluster, folder))
}

impl Shared {
    /// Its cluster file.
    pub fn file(&self) -> &std::path::Path {
        &self.cluster_file
    }

    /// An empty store under a prefix of its own, which no other run used.
    pub fn store(&self, name: &str, clock: Arc<dyn Clock>) -> FdbStore {
        let now = SystemClock::new().now().as_millis();
        let config = FdbConfig::new(&self.cluster_file).named(&format!("test/{name}/{}/{now}", std::process::id()));
        FdbStore::open(&config, clock).unwrap()
    }
}
