//! A FoundationDB server of the tests' own, on a free port of loopback and a folder that goes with it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use foundationdb::options::TransactionOption;
use foundationdb::{Database, Transaction};
use steward_storage_fdb::{FdbConfig, FdbStore, client};
use steward_types::{Clock, SystemClock};
use tempfile::TempDir;

/// A running `fdbserver`. It is killed when this is dropped.
pub struct Server {
    binary: PathBuf,
    folder: TempDir,
    port: u16,
    process: Child,
}

impl Server {
    /// Starts the server that `FDB_SERVER` names, with an empty database on disk.
    pub fn start() -> Option<Self> {
        let binary = PathBuf::from(std::env::var_os("FDB_SERVER")?);
        let folder = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        std::fs::write(folder.path().join("fdb.cluster"), format!("steward:test@127.0.0.1:{port}")).unwrap();
        let process = spawn(&binary, folder.path(), port);
        let server = Self { binary, folder, port, process };
        client::start(None, None).unwrap();
        configure(&server.cluster_file());
        Some(server)
    }

    pub fn cluster_file(&self) -> PathBuf {
        self.folder.path().join("fdb.cluster")
    }

    /// Kills the server as the system does when it has no memory left, and starts it again on what it had written.
    pub fn kill_and_restart(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        self.process = spawn(&self.binary, self.folder.path(), self.port);
    }

    /// Stops the server in the middle of whatever it does, for `how_long`.
    pub async fn pause(&self, clock: &dyn Clock, how_long: std::time::Duration) {
        self.signal(libc::SIGSTOP);
        clock.sleep(how_long).await;
        self.signal(libc::SIGCONT);
    }

    fn signal(&self, signal: i32) {
        let id = i32::try_from(self.process.id()).unwrap();
        // SAFETY: the process is a child of this one and not waited for yet, so the id is its own.
        assert_eq!(unsafe { libc::kill(id, signal) }, 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn spawn(binary: &Path, folder: &Path, port: u16) -> Child {
    let mut command = Command::new(binary);
    command.arg("-p").arg(format!("127.0.0.1:{port}")).arg("-C").arg(folder.join("fdb.cluster"));
    command.arg("-d").arg(folder.join("data")).arg("-L").arg(folder.join("logs"));
    std::fs::create_dir_all(folder.join("logs")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn().unwrap()
}

/// What `fdbcli --exec "configure new single ssd"` writes, so that no `fdbcli` is needed (FoundationDB's
/// `ManagementAPI`: storage and log engine 2 are the B-tree on disk).
const SETTINGS: &[(&[u8], &[u8])] = &[
    (b"\xff/conf/initialized", b"1"),
    (b"\xff/conf/log_replicas", b"1"),
    (b"\xff/conf/log_anti_quorum", b"0"),
    (b"\xff/conf/log_engine", b"2"),
    (b"\xff/conf/storage_replicas", b"1"),
    (b"\xff/conf/storage_engine", b"2"),
    (b"\xff/init_id", b"0123456789abcdef0123456789abcdef"),
    (b"\xff/moveKeysLock/Owner", b"0123456789abcdef"),
];

/// Makes the new server's database, and returns once it serves.
fn configure(cluster_file: &Path) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let database = Database::new(cluster_file.to_str()).unwrap();
        let mut transaction = database.create_trx().unwrap();
        loop {
            write_settings(&transaction);
            match transaction.commit().await {
                Ok(_) => break,
                // It is made already, by a try of ours whose answer was lost.
                Err(error) if [NOT_COMMITTED, TRANSACTION_TOO_OLD].contains(&error.code()) => break,
                Err(error) => transaction = error.on_error().await.unwrap(),
            }
        }
        let mut transaction = database.create_trx().unwrap();
        while let Err(error) = transaction.get(b"any", true).await {
            transaction = transaction.on_error(error).await.unwrap();
        }
    });
}

const NOT_COMMITTED: i32 = 1020;
const TRANSACTION_TOO_OLD: i32 = 1007;

fn write_settings(transaction: &Transaction) {
    for option in [
        TransactionOption::AccessSystemKeys,
        TransactionOption::PrioritySystemImmediate,
        TransactionOption::LockAware,
        TransactionOption::UseProvisionalProxies,
        TransactionOption::InitializeNewDatabase,
    ] {
        transaction.set_option(option).unwrap();
    }
    for (key, value) in SETTINGS {
        transaction.set(key, value);
    }
}

/// The cluster that the tests share.
pub struct Shared {
    cluster_file: PathBuf,
}

/// The shared server, if it is the tests' own.
static SERVER: Mutex<Option<Server>> = Mutex::new(None);

/// Ends the shared server with the process.
extern "C" fn end_server() {
    drop(SERVER.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// The shared cluster, or `None` after saying that `test` is skipped.
pub fn shared(test: &str) -> Option<&'static Shared> {
    static SHARED: OnceLock<Option<Shared>> = OnceLock::new();
    let shared = SHARED.get_or_init(|| {
        if let Some(cluster_file) = std::env::var_os("FDB_CLUSTER_FILE") {
            return Some(Shared { cluster_file: cluster_file.into() });
        }
        // On a thread of its own: the caller may be in a runtime already.
        let server = std::thread::spawn(Server::start).join().unwrap()?;
        let cluster_file = server.cluster_file();
        *SERVER.lock().unwrap() = Some(server);
        // SAFETY: `end_server` is a function of this program that takes nothing and does not unwind.
        unsafe { libc::atexit(end_server) };
        Some(Shared { cluster_file })
    });
    if shared.is_none() {
        println!("{test} skipped: FDB_CLUSTER_FILE is not set");
    }
    shared.as_ref()
}

impl Shared {
    /// An empty store under a prefix of its own, which no other run used.
    pub fn store(&self, name: &str, clock: Arc<dyn Clock>) -> FdbStore {
        let now = SystemClock::new().now().as_millis();
        let config = FdbConfig::new(&self.cluster_file).named(&format!("test/{name}/{}/{now}", std::process::id()));
        FdbStore::open(&config, clock).unwrap()
    }
}
