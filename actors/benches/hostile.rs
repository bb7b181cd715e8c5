//! What hostile scripts do to other sessions: how long turns of well-behaved sessions take, alone and beside scripts
//! that loop, recurse, fill memory and flood the log without end, in turns within one run. Run with
//! `cargo bench -p steward-actors --bench hostile`; `STEWARD_BENCH_SECONDS` changes how long each round takes.
//!
//! A well-behaved turn makes one `http` step, with every commit synced to disk.

#[path = "shared/node.rs"]
mod node;

use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select};
use steward_actors::session::{SessionRequest, watch};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, SessionId, SystemClock};

use self::node::{Agents, BoxError, Node, Turn, cpu_time, message, turn_end};

const ROUNDS: usize = 3;
const STEADY_SESSIONS: usize = 8;
/// Between two messages of a well-behaved session.
const PAUSE: Duration = Duration::from_millis(40);

/// Scripts that mean harm, and what their manifests add.
const HOSTILE: [(&str, &str, &str); 8] = [
    ("endless-loop", "fn on_message(msg) { loop { } }", ""),
    ("endless-steps", "fn on_message(msg) { loop { now(); } }", ""),
    ("endless-recursion", "fn f(n) { f(n + 1) } fn on_message(msg) { f(0) }", ""),
    (
        "exponential-recursion",
        "fn f(n) { if n > 40 { 1 } else { f(n + 1) + f(n + 1) } } fn on_message(msg) { f(0) }",
        "",
    ),
    ("memory-bomb", "fn on_message(msg) { let s = \"x\"; loop { s += s; } }", ""),
    ("array-in-itself", "fn on_message(msg) { let a = []; loop { a.push(a); } }", ""),
    (
        "ten-megabytes-of-replies",
        "fn on_message(msg) { let s = \"\"; s.pad(80_000, 'x'); for i in 0..130 { reply(s); } }",
        "",
    ),
    ("caught-again", "fn on_message(msg) { loop { try { loop { } } catch { } } }", ""),
];

/// Sends messages with a pause between them until `end`; gives how long each turn took, in milliseconds.
async fn steady(node: &Node, end: Duration) -> Result<Vec<f64>, BoxError> {
    let session = node.open("steady", None).await?;
    let mut events = Box::pin(watch(Arc::clone(&node.store), session, 1));
    let mut times = Vec::new();
    while node.clock.monotonic() < end {
        let sent = node.clock.monotonic();
        node.send(session, message(times.len() as u64)).await?;
        if turn_end(&mut events).await? != Turn::Finished {
            return Err("a well-behaved turn failed".into());
        }
        times.push(node.clock.monotonic().saturating_sub(sent).as_secs_f64() * 1_000.0);
        node.clock.sleep(PAUSE).await;
    }
    Ok(times)
}

/// Attacks until it is dropped: each turn is followed by the next.
async fn attack(node: &Node, session: SessionId) -> Result<(), BoxError> {
    let mut events = Box::pin(watch(Arc::clone(&node.store), session, 1));
    for turn in 0.. {
        node.send(session, message(turn)).await?;
        turn_end(&mut events).await?;
    }
    Ok(())
}

/// The latencies of all well-behaved turns of a round, sorted, and the CPU that the round took.
async fn round(node: &Node, hostile: bool, time: Duration) -> Result<(Vec<f64>, Duration), BoxError> {
    let cpu = cpu_time();
    let mut attackers = Vec::new();
    for (agent, ..) in HOSTILE.iter().filter(|_| hostile) {
        attackers.push(node.open(agent, None).await?);
    }
    let end = node.clock.monotonic() + time;
    let sessions = Box::pin(join_all((0..STEADY_SESSIONS).map(|_| steady(node, end))));
    let attacks = async {
        match hostile {
            true => drop(join_all(attackers.iter().map(|&session| attack(node, session))).await),
            false => std::future::pending().await,
        }
    };
    let times = match select(sessions, Box::pin(attacks)).await {
        futures::future::Either::Left((times, _)) => times,
        futures::future::Either::Right(_) => return Err("the attacks ended".into()),
    };
    for session in attackers {
        node.ask(session, SessionRequest::End { reason: "the round is over".to_owned() }).await?;
    }
    let mut all: Vec<f64> = times.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
    all.sort_by(f64::total_cmp);
    Ok((all, cpu_time().saturating_sub(cpu)))
}

fn at(sorted: &[f64], share: f64) -> f64 {
    sorted.get((sorted.len() as f64 * share) as usize).copied().unwrap_or(0.0)
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let seconds = std::env::var("STEWARD_BENCH_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(6);
    let time = Duration::from_secs(seconds);
    let mut agents = Agents::default();
    let steady = "fn on_message(msg) { http(\"POST\", \"http://x/\"); reply(1); }";
    agents.add("steady", steady, "[http]\nallow = [\"http://x/\"]\n")?;
    for (name, script, manifest) in HOSTILE {
        agents.add(name, script, manifest)?;
    }
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = EmbeddedStore::open(&EmbeddedConfig::new(folder.path().join("store")), Arc::clone(&clock))?;
    let node = Node::start(Arc::new(store), clock, agents).await?;
    round(&node, false, time / 3).await?;
    println!("{:>14}  {:>6}  {:>9}  {:>9}  {:>9}", "", "turns", "p50 ms", "p99 ms", "CPUs used");
    let (mut ratios_p50, mut ratios_p99) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (alone, alone_cpu) = round(&node, false, time).await?;
        let (beside, beside_cpu) = round(&node, true, time).await?;
        for (what, times, cpu) in [("alone", &alone, alone_cpu), ("beside hostile", &beside, beside_cpu)] {
            let cpus = cpu.as_secs_f64() / time.as_secs_f64();
            println!("{what:>14}  {:>6}  {:>9.2}  {:>9.2}  {cpus:>9.2}", times.len(), at(times, 0.5), at(times, 0.99));
        }
        ratios_p50.push(at(&beside, 0.5) / at(&alone, 0.5));
        ratios_p99.push(at(&beside, 0.99) / at(&alone, 0.99));
    }
    ratios_p50.sort_by(f64::total_cmp);
    ratios_p99.sort_by(f64::total_cmp);
    println!(
        "beside / alone, medians of {ROUNDS}: p50 {:.2}, p99 {:.2}",
        ratios_p50[ROUNDS / 2],
        ratios_p99[ROUNDS / 2]
    );
    Ok(())
}
