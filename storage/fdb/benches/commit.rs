//! Durable commits a second on FoundationDB and what they cost this process, beside the embedded store on the same disk.
//!
//! Run with `cargo bench -p steward-storage-fdb` and `FDB_CLUSTER_FILE` (a cluster that may be written to) or
//! `FDB_SERVER` (a `fdbserver` to start here, one process on this machine's disk). Each line is one run: so many tasks,
//! each committing one row of 200 bytes after the other and waiting for each to be secured. `STEWARD_BENCH_COMMITS`
//! sets how many in all. The server's own work is not in the CPU figure.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops where it fails")]

#[expect(dead_code, reason = "the kill tests use the rest")]
#[path = "../tests/cluster/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use steward_storage::{Isolation, Store};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, SystemClock};
use tempfile::TempDir;
use tokio::task::JoinSet;

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
    // Spread like ids, so that neither engine sees sorted input; below 0xff, where the store's own keys begin.
    let spread = (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 1;
    let mut key = [0; 16];
    key[..8].copy_from_slice(&spread.to_be_bytes());
    key[8..].copy_from_slice(&(task as u64).to_be_bytes());
    key
}

async fn measure<F, Fut>(name: String, tasks: usize, each: usize, operation: F) -> Run
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
    Run { name, wall: clock.monotonic() - started, cpu: cpu_time() - cpu_before, latencies }
}

async fn commits(store: &Arc<dyn Store>, tasks: usize, total: usize) {
    let (each, name) = (total / tasks, store.name());
    let run = measure(format!("{name}, {tasks} tasks, blind commit"), tasks, each, {
        let store = Arc::clone(store);
        move |task, number| {
            let txn = store.begin();
            async move {
                txn.set(&key(task, number), &VALUE).unwrap();
                txn.commit().await.unwrap();
            }
        }
    });
    run.await.print();
    let run = measure(format!("{name}, {tasks} tasks, read and commit"), tasks, each, {
        let store = Arc::clone(store);
        move |task, number| {
            let txn = store.begin();
            async move {
                let key = key(task, number);
                let value = txn.get(&key, Isolation::Serializable).await.unwrap().unwrap();
                txn.set(&key, &value).unwrap();
                txn.commit().await.unwrap();
            }
        }
    });
    run.await.print();
    let run = measure(format!("{name}, {tasks} tasks, read alone"), tasks, each, {
        let store = Arc::clone(store);
        move |task, number| {
            let txn = store.begin();
            async move { assert!(txn.get(&key(task, number), Isolation::Snapshot).await.unwrap().is_some()) }
        }
    });
    run.await.print();
}

fn main() {
    let Some(cluster) = server::shared("the benchmark") else { return };
    let total = std::env::var("STEWARD_BENCH_COMMITS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    for tasks in [1, 32, 256] {
        let few = if tasks == 1 { total / 8 } else { total };
        let (clock, folder) = (Arc::new(SystemClock::new()), TempDir::new().unwrap());
        let embedded = EmbeddedStore::open(&EmbeddedConfig::new(folder.path().join("store")), clock.clone()).unwrap();
        let stores: [Arc<dyn Store>; 2] =
            [Arc::new(embedded), Arc::new(cluster.store(&format!("bench/{tasks}"), clock))];
        for store in &stores {
            runtime.block_on(commits(store, tasks, few));
        }
    }
}
