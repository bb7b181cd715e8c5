//! A server process that is killed, and one that is stopped for a while: its clients lose nothing that was
//! acknowledged, and count exactly.
//!
//! The tests run their own binary as the server: the ignored test below, told by environment variables where its store
//! and its certificates are. It says on its standard output at which address it serves.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustls::pki_types::CertificateDer;
use steward_chaos_proxy::Proxy;
use steward_storage::{Isolation, Store, StoreError, StoreExt, Txn};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_storage_link::{ServedConfig, ServedStore, StoreServer};
use steward_types::{Entropy, SystemEntropy};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::certificates::{self, Authority, SERVER_NAME};
use crate::stage::{clock, get, put, until};

const FOLDER: &str = "STEWARD_SERVED_TEST_FOLDER";
/// Names the variable that says how many kills, for a longer run.
const KILLS: &str = "STEWARD_SERVED_TEST_KILLS";
const KILLS_DEFAULT: u64 = 10;
const WORKERS: u64 = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the process that the tests below kill"]
async fn the_process_that_serves() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let read = |name: &str| std::fs::read(Path::new(&folder).join(name)).unwrap();
    let authority = CertificateDer::from(read("authority"));
    let tls = certificates::server(&authority, (CertificateDer::from(read("certificate")), read("key")));
    let store = EmbeddedStore::open(&EmbeddedConfig::new(Path::new(&folder).join("store")), clock()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("\nserving {}", listener.local_addr().unwrap());
    StoreServer::new(Arc::new(store), tls, clock()).serve(listener, std::future::pending()).await.unwrap();
}

/// A server in another process; killed when this is dropped.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--ignored", "--exact", "kill::the_process_that_serves", "--nocapture"]);
        command.env(FOLDER, folder).env("RUST_BACKTRACE", "0");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = lines.find_map(|line| Some(line.strip_prefix("serving ")?.parse().unwrap()));
        Self { address: said.expect("the process serves"), child }
    }

    fn kill(mut self) {
        assert!(self.child.try_wait().unwrap().is_none(), "the process ended by itself");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be killed already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The folder of a server's process, with its certificates.
fn folder(authority: &Authority) -> TempDir {
    let folder = TempDir::new().unwrap();
    let (certificate, key) = authority.identity(SERVER_NAME);
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).unwrap();
    write("authority", authority.certificate());
    write("certificate", &certificate);
    write("key", &key);
    folder
}

#[derive(Default)]
struct Tally {
    stop: AtomicBool,
    counted: AtomicU64,
    attempts: AtomicU64,
    unavailable: AtomicU64,
}

async fn increment(txn: Txn) -> Result<u64, StoreError> {
    let held = txn.get(b"count", Isolation::Serializable).await?;
    let count = held.map_or(0, |bytes| u64::from_le_bytes(bytes[..].try_into().unwrap())) + 1;
    txn.set(b"count", &count.to_le_bytes())?;
    Ok(count)
}

async fn count(store: Arc<dyn Store>, tally: Arc<Tally>, worker: u64) {
    let mut number = 0;
    while !tally.stop.load(Ordering::SeqCst) {
        let marker = format!("marker/{worker}/{number}");
        let body = |txn: Txn| {
            tally.attempts.fetch_add(1, Ordering::SeqCst);
            increment(txn)
        };
        match store.run_idempotent(marker.as_bytes(), body).await {
            Ok(_) => {
                tally.counted.fetch_add(1, Ordering::SeqCst);
                number += 1;
            }
            // Asked again under the same marker, as a caller who does not give up would.
            Err(StoreError::Unavailable { .. }) => {
                tally.unavailable.fetch_add(1, Ordering::SeqCst);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_that_it_acknowledged() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let kills = std::env::var(KILLS).map_or(KILLS_DEFAULT, |text| text.parse().unwrap());
    let mut process = Process::start(folder.path());
    let proxy = Proxy::to(process.address).await.unwrap();
    let config = ServedConfig::new(proxy.address().to_string(), SERVER_NAME, authority.client());
    let client = Arc::new(ServedStore::connect(config, clock()).await.unwrap());
    let (tally, mut workers) = (Arc::new(Tally::default()), JoinSet::new());
    for worker in 0..WORKERS {
        workers.spawn(count(Arc::clone(&client) as Arc<dyn Store>, Arc::clone(&tally), worker));
    }
    for kill in 0..kills {
        let enough = tally.counted.load(Ordering::SeqCst) + 1 + SystemEntropy.next_u64() % 100;
        until("some are counted", || tally.counted.load(Ordering::SeqCst) >= enough).await;
        process.kill();
        until("the client noticed", || client.state().connections > kill + 1 || !client.state().connected).await;
        process = Process::start(folder.path());
        proxy.retarget(process.address);
    }
    let enough = tally.counted.load(Ordering::SeqCst) + 20;
    until("it goes on after the last kill", || tally.counted.load(Ordering::SeqCst) >= enough).await;
    tally.stop.store(true, Ordering::SeqCst);
    while let Some(worker) = workers.join_next().await {
        worker.unwrap();
    }
    let held = get(&*client, b"count").await.unwrap().unwrap();
    let counted = tally.counted.load(Ordering::SeqCst);
    assert_eq!(u64::from_le_bytes(held[..].try_into().unwrap()), counted, "each counts once");
    assert!(client.state().connections > kills, "a kill was not noticed");
    println!("{kills} kills, {counted} counted, {} attempts", tally.attempts.load(Ordering::SeqCst));
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_server_is_noticed_and_used_again() {
    let authority = Authority::new();
    let folder = folder(&authority);
    let process = Process::start(folder.path());
    let config = ServedConfig::new(process.address.to_string(), SERVER_NAME, authority.client());
    let client = ServedStore::connect(config, clock()).await.unwrap();
    put(&client, b"a", b"1").await.unwrap();
    process.signal("-STOP");
    until("the client noticed", || !client.state().connected).await;
    process.signal("-CONT");
    until("the client is back", || client.state().connected).await;
    assert_eq!(get(&client, b"a").await.unwrap().as_deref(), Some(&b"1"[..]));
    put(&client, b"a", b"2").await.unwrap();
}
