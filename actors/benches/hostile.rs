//! What hostile scripts do to other sessions: how long turns of well-behaved sessions take, alone and beside scripts
//! that loop, recurse, fill memory and flood the log without end, in turns within one run. Run with
//! `cargo bench -p steward-actors --bench hostile`; `STEWARD_BENCH_SECONDS` changes how long each round takes, and
//! `STEWARD_BENCH_HOSTILE=endless-loop` attacks with these kinds of scripts alone, separated by commas.
//!
//! A well-behaved turn makes one `http` step, with every commit synced to disk. As a control they also run beside threads
//! that only spin, behind everything else, on every processor: what that costs them is the machine's doing and not ours.

#[path = "shared/node.rs"]
mod node;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::future::{join_all, select};
use steward_actors::session::{SessionRequest, watch};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, SessionId, SystemClock};

use self::node::{Agents, BoxError, Node, Turn, cpu_time, message, turn_end};

const ROUNDS: usize = 5;
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

/// Keeps a processor busy until it is told to stop; everything else goes first.
fn spin(is_over: &AtomicBool) {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: 0 names this thread, and the parameters outlive the call, which only reads them.
    let result = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const parameters) };
    assert_eq!(result, 0, "the control thread could not be put behind everything else");
    while !is_over.load(Ordering::Relaxed) {
        std::hint::spin_loop();
    }
}

/// A round beside a thread a processor that spins.
async fn control(node: &Node, time: Duration) -> Result<(Vec<f64>, Duration), BoxError> {
    let is_over = Arc::new(AtomicBool::new(false));
    let processors = std::thread::available_parallelism()?.get();
    let threads: Vec<_> = (0..processors)
        .map(|_| {
            let is_over = Arc::clone(&is_over);
            std::thread::spawn(move || spin(&is_over))
        })
        .collect();
    let result = round(node, &[], time).await;
    is_over.store(true, Ordering::Relaxed);
    for thread in threads {
        thread.join().map_err(|_| "a control thread panicked")?;
    }
    result
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
async fn round(node: &Node, hostile: &[String], time: Duration) -> Result<(Vec<f64>, Duration), BoxError> {
    let cpu = cpu_time();
    let mut attackers = Vec::new();
    for agent in hostile {
        attackers.push(node.open(agent, None).await?);
    }
    let end = node.clock.monotonic() + time;
    let sessions = Box::pin(join_all((0..STEADY_SESSIONS).map(|_| steady(node, end))));
    let attacks = async {
        match attackers.is_empty() {
            true => std::future::pending().await,
            false => drop(join_all(attackers.iter().map(|&session| attack(node, session))).await),
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
    let only = std::env::var("STEWARD_BENCH_HOSTILE").ok();
    let kinds = HOSTILE.iter().map(|(name, ..)| (*name).to_owned());
    let kinds: Vec<String> =
        kinds.filter(|name| only.as_ref().is_none_or(|only| only.split(',').any(|only| only == name))).collect();
    if kinds.is_empty() {
        return Err(format!("no hostile script is named {only:?}").into());
    }
    round(&node, &[], time / 3).await?;
    println!("{:>14}  {:>6}  {:>9}  {:>9}  {:>9}", "", "turns", "p50 ms", "p99 ms", "CPUs used");
    let mut ratios: [Vec<f64>; 4] = Default::default();
    for _ in 0..ROUNDS {
        let (alone, alone_cpu) = round(&node, &[], time).await?;
        let (spun, spun_cpu) = control(&node, time).await?;
        let (beside, beside_cpu) = round(&node, &kinds, time).await?;
        for (what, times, cpu) in
            [("alone", &alone, alone_cpu), ("beside spins", &spun, spun_cpu), ("beside hostile", &beside, beside_cpu)]
        {
            let cpus = cpu.as_secs_f64() / time.as_secs_f64();
            println!("{what:>14}  {:>6}  {:>9.2}  {:>9.2}  {cpus:>9.2}", times.len(), at(times, 0.5), at(times, 0.99));
        }
        for (ratios, (times, share)) in
            ratios.iter_mut().zip([(&spun, 0.5), (&spun, 0.99), (&beside, 0.5), (&beside, 0.99)])
        {
            ratios.push(at(times, share) / at(&alone, share));
        }
    }
    let medians = ratios.map(|mut ratios| {
        ratios.sort_by(f64::total_cmp);
        ratios[ROUNDS / 2]
    });
    let [spun_p50, spun_p99, beside_p50, beside_p99] = medians;
    println!("medians of {ROUNDS}, against alone: beside spins p50 {spun_p50:.2}, p99 {spun_p99:.2}");
    println!("{:28}beside hostile p50 {beside_p50:.2}, p99 {beside_p99:.2}", "");
    Ok(())
}
