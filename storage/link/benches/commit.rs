//! What the link adds to a commit and to a read: the served store over loopback with mutual TLS, beside the embedded
//! store that it serves, called directly.
//!
//! Run with `cargo bench -p steward-storage-link`. Each line is one run: so many tasks, each doing one operation after
//! the other. Server and clients are one process, so the CPU of a line is that of both sides.
//! `STEWARD_BENCH_COMMITS` sets how many commits a run makes.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops where it fails")]

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../tests/link/certificates.rs"]
mod certificates;

use std::sync::Arc;
use std::time::Duration;

use steward_storage::{Isolation, Store};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_storage_link::{ServedConfig, ServedStore, StoreServer};
use steward_types::{Clock, SystemClock};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use certificates::{Authority, SERVER_NAME};

const VALUE: [u8; 200] = [7; 200];

/// What one run took.
struct Run {
    name: String,
    wall: Duration,
    cpu: Duration,
    latencies: Vec<Duration>,
}

impl Run {
    fn print(mut self) {
        self.latencies.sort_unstable();
        let at = |share: f64| self.latencies[((self.latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
        let count = self.latencies.len() as f64;
        println!(
            "{:<44} {:>9.0}/s   p50 {:>8.1} µs   p99 {:>8.1} µs   CPU {:>6.1} µs each",
            self.name,
            count / self.wall.as_secs_f64(),
            at(0.5),
            at(0.99),
            self.cpu.as_secs_f64() * 1e6 / count,
        );
    }
}

/// User and system time of this process, in steps of 10 ms (proc(5), `/proc/self/stat`, fields 14 and 15).
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 =
        behind_name.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

fn key(task: usize, number: usize) -> [u8; 16] {
    // Spread like ids, so that the engine does not see sorted input; below 0xff, where the store's own keys begin.
    let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
    let mut key = [0; 16];
    key[..8].copy_from_slice(&spread.to_be_bytes());
    key[8..].copy_from_slice(&(task as u64).to_be_bytes());
    key
}

async fn measure<F, Fut>(name: String, tasks: usize, each: usize, operation: F)
where
    F: Fn(usize, usize) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send,
{
    let (clock, operation) = (Arc::new(SystemClock::new()), Arc::new(operation));
    let (started, cpu_before) = (clock.monotonic(), cpu_time());
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let (clock, operation) = (Arc::clone(&clock), Arc::clone(&operation));
        running.spawn(async move {
            let mut latencies = Vec::with_capacity(each);
            for number in 0..each {
                let before = clock.monotonic();
                operation(task, number).await;
                latencies.push(clock.monotonic() - before);
            }
            latencies
        });
    }
    let latencies = running.join_all().await.into_iter().flatten().collect();
    Run { name, wall: clock.monotonic() - started, cpu: cpu_time() - cpu_before, latencies }.print();
}

async fn run(store: Arc<dyn Store>, tasks: usize, total: usize) {
    let each = total / tasks;
    let name = |what: &str| format!("{} store, {tasks} tasks, {what}", store.name());
    let own = Arc::clone(&store);
    measure(name("blind commit"), tasks, each, move |task, number| {
        let txn = own.begin();
        async move {
            txn.set(&key(task, number), &VALUE).unwrap();
            txn.commit().await.unwrap();
        }
    })
    .await;
    let own = Arc::clone(&store);
    measure(name("read and commit"), tasks, each, move |task, number| {
        let txn = own.begin();
        async move {
            let key = key(task, number);
            let value = txn.get(&key, Isolation::Serializable).await.unwrap().unwrap();
            txn.set(&key, &value).unwrap();
            txn.commit().await.unwrap();
        }
    })
    .await;
    let own = Arc::clone(&store);
    measure(name("read alone"), tasks, each, move |task, number| {
        let txn = own.begin();
        async move { assert!(txn.get(&key(task, number), Isolation::Snapshot).await.unwrap().is_some()) }
    })
    .await;
}

fn open_store(folder: &TempDir) -> Arc<dyn Store> {
    Arc::new(EmbeddedStore::open(&EmbeddedConfig::new(folder.path()), Arc::new(SystemClock::new())).unwrap())
}

async fn direct_and_served(tasks: usize, total: usize) {
    let folder = TempDir::new().unwrap();
    run(open_store(&folder), tasks, total).await;

    let (folder, authority) = (TempDir::new().unwrap(), Authority::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = StoreServer::new(open_store(&folder), authority.server(), Arc::new(SystemClock::new()));
    let mut serving = JoinSet::new();
    serving.spawn(async move { server.serve(listener, std::future::pending()).await });
    let config = ServedConfig::new(address, SERVER_NAME, authority.client());
    let served = ServedStore::connect(config, Arc::new(SystemClock::new())).await.unwrap();
    run(Arc::new(served), tasks, total).await;
}

fn main() {
    let total = std::env::var("STEWARD_BENCH_COMMITS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    for tasks in [1, 32, 256] {
        let few = if tasks == 1 { total / 4 } else { total };
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.unwrap().block_on(direct_and_served(tasks, few));
    }
}
