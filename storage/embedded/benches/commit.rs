//! Durable commits a second and what they cost, beside the bare engine on the same disk.
//!
//! Run with `cargo bench -p steward-storage-embedded`. Each line is one run: so many tasks, each committing one row of
//! 200 bytes after the other and waiting for each to be secured. `STEWARD_BENCH_COMMITS` sets how many in all.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and stops where it fails")]

use std::sync::Arc;
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
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

fn open_store(folder: &TempDir) -> Arc<EmbeddedStore> {
    Arc::new(EmbeddedStore::open(&EmbeddedConfig::new(folder.path()), Arc::new(SystemClock::new())).unwrap())
}

async fn commits(tasks: usize, total: usize) {
    let folder = TempDir::new().unwrap();
    let store = open_store(&folder);
    let run = measure(format!("embedded store, {tasks} tasks, blind commit"), tasks, total / tasks, {
        let store = Arc::clone(&store);
        move |task, number| {
            let txn = store.begin();
            async move {
                txn.set(&key(task, number), &VALUE).unwrap();
                txn.commit().await.unwrap();
            }
        }
    });
    run.await.print();
    let run = measure(format!("embedded store, {tasks} tasks, read and commit"), tasks, total / tasks, {
        let store = Arc::clone(&store);
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
    let run = measure(format!("embedded store, {tasks} tasks, read alone"), tasks, 4 * total / tasks, {
        let each = total / tasks;
        move |task, number| {
            let txn = store.begin();
            async move { assert!(txn.get(&key(task, number % each), Isolation::Snapshot).await.unwrap().is_some()) }
        }
    });
    run.await.print();
}

async fn engine_alone(tasks: usize, total: usize) {
    let folder = TempDir::new().unwrap();
    let database = Database::builder(folder.path()).manual_journal_persist(true).open().unwrap();
    let rows = database.keyspace("rows", KeyspaceCreateOptions::default).unwrap();
    let write = move |rows: &Keyspace, task, number| {
        rows.insert(key(task, number), VALUE).unwrap();
        database.persist(PersistMode::SyncAll).unwrap();
    };
    let write = Arc::new(write);
    let name = format!("fjall alone, {tasks} tasks, insert and persist");
    let run = measure(name, tasks, total / tasks, move |task, number| {
        let (rows, write) = (rows.clone(), Arc::clone(&write));
        // Blocks its thread as the engine does; the runtime below has a thread a task.
        async move { write(&rows, task, number) }
    });
    run.await.print();
}

fn main() {
    let total = std::env::var("STEWARD_BENCH_COMMITS").ok().and_then(|text| text.parse().ok()).unwrap_or(20_000);
    for tasks in [1, 32, 256] {
        let few = if tasks == 1 { total / 4 } else { total };
        let many_threads = tokio::runtime::Builder::new_multi_thread().worker_threads(tasks).enable_all().build();
        many_threads.unwrap().block_on(engine_alone(tasks, few));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        runtime.unwrap().block_on(commits(tasks, few));
    }
}
