//! What a durable step costs: turns of 1, 3 and 9 steps on the embedded store with every commit synced to disk, at
//! concurrency 1 and 32, and how long a cold session takes to its first reply. Run with
//! `cargo bench -p steward-actors --bench session`.
//!
//! A step is an `http` call with a hold, a settlement, a receipt and events; the server is in the process and answers
//! at once, so that only Steward is measured. A step that may be done `again` after a crash needs one commit, one that
//! must be done at most `once` needs two. `STEWARD_BENCH_SECONDS` changes how long a run takes; each run is repeated and
//! the median printed.

#[path = "shared/node.rs"]
mod node;

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use steward_actors::session::watch;
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, SystemClock};

use self::node::{Agents, BoxError, Node, Turn, cpu_time, message, turn_end};

const RUNS: usize = 3;
/// What a turn does: whether its effects may be done again, and how many there are.
const KINDS: [(&str, u32); 7] =
    [("again", 0), ("again", 1), ("again", 3), ("again", 9), ("once", 1), ("once", 3), ("once", 9)];

/// One agent for each kind of turn, named by it.
fn agents() -> Result<Agents, BoxError> {
    let mut agents = Agents::default();
    for (effect, steps) in KINDS {
        let script =
            format!("fn on_message(msg) {{ for i in 0..{steps} {{ http(\"POST\", \"http://x/\" + i); }} reply(1); }}");
        let manifest = format!("[http]\nallow = [\"http://x/\"]\nidempotent = {}\n", effect == "again");
        agents.add(&format!("{effect}-{steps}"), script, &manifest)?;
    }
    Ok(agents)
}

/// Makes turns in one session, one after the other, until `end` by the monotonic clock. Returns how many.
async fn converse(node: &Node, agent: &str, end: Duration) -> Result<u64, BoxError> {
    let session = node.open(agent, None).await?;
    let mut events = Box::pin(watch(Arc::clone(&node.store), session, 1));
    let mut turns = 0;
    while node.clock.monotonic() < end {
        node.send(session, message(turns)).await?;
        if turn_end(&mut events).await? != Turn::Finished {
            return Err("a turn failed".into());
        }
        turns += 1;
    }
    Ok(turns)
}

/// One run's figures.
struct Figures {
    cpu_ms_a_turn: f64,
    turns_a_second: f64,
}

async fn run(node: &Node, agent: &str, concurrency: usize, time: Duration) -> Result<Figures, BoxError> {
    let (cpu, started) = (cpu_time(), node.clock.monotonic());
    let sessions = (0..concurrency).map(|_| converse(node, agent, started + time));
    let done: Vec<_> = stream::iter(sessions).buffer_unordered(concurrency).collect().await;
    let turns = done.into_iter().sum::<Result<u64, _>>()? as f64;
    let wall = node.clock.monotonic().saturating_sub(started);
    Ok(Figures {
        cpu_ms_a_turn: cpu_time().saturating_sub(cpu).as_secs_f64() * 1_000.0 / turns,
        turns_a_second: turns / wall.as_secs_f64(),
    })
}

/// From the request to open with a first message to the end of its turn, for sessions that nobody has heard of.
async fn cold(node: &Node, count: usize) -> Result<Duration, BoxError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = node.clock.monotonic();
        let session = node.open("again-0", Some(message(0))).await?;
        turn_end(&mut Box::pin(watch(Arc::clone(&node.store), session, 1))).await?;
        times.push(node.clock.monotonic().saturating_sub(started));
    }
    times.sort();
    Ok(times[count / 2])
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let seconds = std::env::var("STEWARD_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2);
    let only = std::env::var("STEWARD_BENCH_ONLY").unwrap_or_default();
    let time = Duration::from_secs(seconds);
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = EmbeddedStore::open(&EmbeddedConfig::new(folder.path().join("store")), Arc::clone(&clock))?;
    let node = Node::start(Arc::new(store), clock, agents()?).await?;
    println!(
        "{:>6}  {:>5}  {:>11}  {:>15}  {:>15}  {:>12}",
        "effect", "steps", "concurrency", "CPU ms a turn", "CPU ms a step", "turns/s"
    );
    for concurrency in [1, 32] {
        let mut base = 0.0;
        for (effect, steps) in KINDS {
            if !format!("{effect} {steps} {concurrency}").contains(&only) {
                continue;
            }
            let mut runs = Vec::with_capacity(RUNS);
            for _ in 0..RUNS {
                runs.push(run(&node, &format!("{effect}-{steps}"), concurrency, time).await?);
            }
            let cpu = median(runs.iter().map(|run| run.cpu_ms_a_turn).collect());
            let rate = median(runs.iter().map(|run| run.turns_a_second).collect());
            if steps == 0 {
                base = cpu;
            }
            let step = if steps == 0 { 0.0 } else { (cpu - base) / f64::from(steps) };
            println!("{effect:>6}  {steps:>5}  {concurrency:>11}  {cpu:>15.3}  {step:>15.3}  {rate:>12.0}");
        }
    }
    println!("cold session, first message to the end of its turn: p50 {:?}", cold(&node, 200).await?);
    Ok(())
}
