//! What a durable step costs on each store: the same turns on the embedded store, on the served store over loopback with
//! mutual TLS, and on FoundationDB, in one run. Run with `cargo bench -p steward-actors --bench stores`.
//!
//! FoundationDB takes part where `FDB_SERVER` names a `fdbserver` to start here (`FDB_CLIENT_LIBRARY` its client
//! library). A step is an `http` call as in the `session` benchmark, one that is done at most once, so two commits. The
//! served store and its client are one process, so its CPU is that of both; FoundationDB's server is another process,
//! whose CPU is not counted. `STEWARD_BENCH_SECONDS` changes how long a run takes; each is repeated and the median printed.

#[path = "shared/node.rs"]
mod node;

#[expect(dead_code, clippy::unwrap_used, reason = "the served store's tests use more of it, and unwrap as tests do")]
#[path = "../../storage/link/tests/link/certificates.rs"]
mod certificates;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use steward_actors::session::watch;
use steward_storage::Store;
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_storage_fdb::devcluster::{DevCluster, SERVER_VARIABLE};
use steward_storage_fdb::{FdbConfig, FdbStore};
use steward_storage_link::{ServedConfig, ServedStore, StoreServer};
use steward_types::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::certificates::{Authority, SERVER_NAME};
use self::node::{Agents, BoxError, Node, Turn, cpu_time, message, turn_end};

const RUNS: usize = 3;
const STEPS: [u32; 3] = [0, 1, 9];

fn agents() -> Result<Agents, BoxError> {
    let mut agents = Agents::default();
    for steps in STEPS {
        let script =
            format!("fn on_message(msg) {{ for i in 0..{steps} {{ http(\"POST\", \"http://x/\" + i); }} reply(1); }}");
        agents.add(&format!("once-{steps}"), script, "[http]\nallow = [\"http://x/\"]\nidempotent = false\n")?;
    }
    Ok(agents)
}

/// Makes turns in one session, one after the other, until `end` by the monotonic clock. Returns how long each took.
async fn converse(node: &Node, agent: &str, end: Duration) -> Result<Vec<Duration>, BoxError> {
    let session = node.open(agent, None).await?;
    let mut events = Box::pin(watch(Arc::clone(&node.store), session, 1));
    let mut turns = Vec::new();
    while node.clock.monotonic() < end {
        let started = node.clock.monotonic();
        node.send(session, message(turns.len() as u64)).await?;
        if turn_end(&mut events).await? != Turn::Finished {
            return Err("a turn failed".into());
        }
        turns.push(node.clock.monotonic().saturating_sub(started));
    }
    Ok(turns)
}

/// One run's figures.
struct Figures {
    turns_a_second: f64,
    median_ms: f64,
    p99_ms: f64,
    cpu_ms_a_turn: f64,
}

async fn run(node: &Node, agent: &str, concurrency: usize, time: Duration) -> Result<Figures, BoxError> {
    let (cpu, started) = (cpu_time(), node.clock.monotonic());
    let sessions = (0..concurrency).map(|_| converse(node, agent, started + time));
    let done: Vec<_> = stream::iter(sessions).buffer_unordered(concurrency).collect().await;
    let mut turns = done.into_iter().collect::<Result<Vec<_>, _>>()?.concat();
    turns.sort_unstable();
    let count = turns.len() as f64;
    let at = |share: f64| turns[((turns.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3;
    Ok(Figures {
        turns_a_second: count / node.clock.monotonic().saturating_sub(started).as_secs_f64(),
        median_ms: at(0.5),
        p99_ms: at(0.99),
        cpu_ms_a_turn: cpu_time().saturating_sub(cpu).as_secs_f64() * 1e3 / count,
    })
}

/// The turns on one store, a line for each kind.
#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
async fn measure(store: Arc<dyn Store>, clock: &Arc<dyn Clock>, time: Duration) -> Result<(), BoxError> {
    let name = store.name();
    let node = Node::start(store, Arc::clone(clock), agents()?).await?;
    for concurrency in [1, 32] {
        for steps in STEPS {
            let mut runs = Vec::with_capacity(RUNS);
            for _ in 0..RUNS {
                runs.push(run(&node, &format!("once-{steps}"), concurrency, time).await?);
            }
            runs.sort_by(|a, b| a.turns_a_second.total_cmp(&b.turns_a_second));
            let Figures { turns_a_second, median_ms, p99_ms, cpu_ms_a_turn } = &runs[RUNS / 2];
            println!(
                "{name:>12}  {steps:>5}  {concurrency:>8}  {turns_a_second:>8.0}  {median_ms:>8.2}  {p99_ms:>8.2}  \
                 {cpu_ms_a_turn:>13.3}"
            );
        }
    }
    Ok(())
}

fn embedded(folder: &Path, clock: &Arc<dyn Clock>) -> Result<Arc<dyn Store>, BoxError> {
    Ok(Arc::new(EmbeddedStore::open(&EmbeddedConfig::new(folder), Arc::clone(clock))?))
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let seconds = std::env::var("STEWARD_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let time = Duration::from_secs(seconds);
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    println!(
        "{:>12}  {:>5}  {:>8}  {:>8}  {:>8}  {:>8}  {:>13}",
        "store", "steps", "sessions", "turns/s", "p50 ms", "p99 ms", "CPU ms a turn"
    );
    measure(embedded(&folder.path().join("embedded"), &clock)?, &clock, time).await?;

    let (authority, listener) = (Authority::new(), TcpListener::bind("127.0.0.1:0").await?);
    let address = listener.local_addr()?.to_string();
    let server = embedded(&folder.path().join("served"), &clock)?;
    let server = StoreServer::new(server, authority.server(), Arc::clone(&clock));
    let mut serving = JoinSet::new();
    serving.spawn(async move { server.serve(listener, std::future::pending()).await });
    let config = ServedConfig::new(address, SERVER_NAME, authority.client());
    measure(Arc::new(ServedStore::connect(config, Arc::clone(&clock)).await?), &clock, time).await?;

    let Some(fdbserver) = DevCluster::server_of_environment() else {
        println!("foundationdb skipped: {SERVER_VARIABLE} is not set");
        return Ok(());
    };
    let cluster = DevCluster::start(&fdbserver, &folder.path().join("foundationdb"), 1).await?;
    let store = FdbStore::open(&FdbConfig::new(cluster.cluster_file()), Arc::clone(&clock))?;
    println!("foundationdb is {}, one process on this machine", store.client_version());
    measure(Arc::new(store), &clock, time).await?;
    Ok(cluster.stop().await?)
}
