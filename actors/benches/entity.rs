//! What the entity host costs: CPU time of a call against a bare ractor actor, and memory of entities at rest and live.
//!
//! `cargo bench -p steward-actors --bench entity`. Figures are medians of rounds that take turns in one process; CPU time
//! is that of all threads, read from /proc, so it needs Linux.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::sync::Arc;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use steward_actors::host::{Context, Entity, EntityId, Fault, Host, HostBuilder, HostLimits, Reply};
use steward_actors::lease::Unleased;
use steward_types::SystemClock;

const ROUNDS: usize = 9;
const CALLS: usize = 100_000;
const RESIDENT: usize = 100_000;
const ADDRESSABLE: usize = 1_000_000;

/// An entity that adds.
struct Adder(u64);

impl Entity for Adder {
    const KIND: &'static str = "adder";
    type Environment = ();
    type Request = u64;
    type Response = u64;
    type Event = ();

    async fn activate(_: EntityId, _: Context<Self>) -> Result<Self, Fault> {
        Ok(Self(0))
    }

    async fn handle(&mut self, more: u64, reply: Reply<u64>, _: &Context<Self>) -> Result<(), Fault> {
        self.0 += more;
        reply.send(self.0);
        Ok(())
    }

    async fn on_event(&mut self, (): (), _: &Context<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn observe(&self) -> serde_json::Value {
        self.0.into()
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// The same as a bare ractor actor.
struct RawAdder;

struct RawAdd(u64, Option<RpcReplyPort<u64>>);

impl ractor::Message for RawAdd {}

impl Actor for RawAdder {
    type Msg = RawAdd;
    type State = u64;
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<RawAdd>, (): ()) -> Result<u64, ActorProcessingErr> {
        Ok(0)
    }

    async fn handle(&self, _: ActorRef<RawAdd>, add: RawAdd, total: &mut u64) -> Result<(), ActorProcessingErr> {
        *total += add.0;
        if let Some(reply) = add.1 {
            let _ = reply.send(*total);
        }
        Ok(())
    }
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(calls());
    runtime.block_on(memory());
}

async fn host(limits: HostLimits) -> Host {
    let builder = HostBuilder::new(Arc::new(SystemClock::new()), Arc::new(Unleased)).limits(limits);
    builder.register::<Adder>(()).start().await.expect("a host")
}

async fn calls() {
    let host = host(HostLimits { mailbox_messages_max: CALLS, ..HostLimits::default() }).await;
    let (raw, _) = RawAdder::spawn(None, RawAdder, ()).await.expect("an actor");
    let id = EntityId::singleton();
    let mut figures: [Vec<f64>; 5] = Default::default();
    for _ in 0..ROUNDS {
        figures[0].push(raw_calls(&raw, None).await);
        figures[1].push(raw_calls(&raw, Some(Duration::from_secs(10))).await);
        figures[2].push(entity_asks(&host, &id).await);
        figures[3].push(raw_tells(&raw).await);
        figures[4].push(entity_tells(&host, &id).await);
    }
    let names = ["ractor call", "ractor call with a timeout", "entity ask", "ractor cast", "entity tell"];
    println!("{:<28} {:>14}", "", "CPU µs each");
    for (name, figures) in names.into_iter().zip(&mut figures) {
        println!("{name:<28} {:>14.3}", median(figures));
    }
}

async fn raw_calls(raw: &ActorRef<RawAdd>, timeout: Option<Duration>) -> f64 {
    let before = cpu_ns();
    for _ in 0..CALLS {
        let called = raw.call(|reply| RawAdd(1, Some(reply)), timeout).await;
        assert!(called.expect("it lives").is_success());
    }
    micros_each(before)
}

async fn entity_asks(host: &Host, id: &EntityId) -> f64 {
    let before = cpu_ns();
    for _ in 0..CALLS {
        host.ask::<Adder>(id, 1, host.deadline_default()).await.expect("an answer");
    }
    micros_each(before)
}

async fn raw_tells(raw: &ActorRef<RawAdd>) -> f64 {
    let before = cpu_ns();
    for _ in 0..CALLS - 1 {
        raw.cast(RawAdd(1, None)).expect("it lives");
    }
    let called = raw.call(|reply| RawAdd(1, Some(reply)), None).await;
    assert!(called.expect("it lives").is_success());
    micros_each(before)
}

async fn entity_tells(host: &Host, id: &EntityId) -> f64 {
    let before = cpu_ns();
    for _ in 0..CALLS - 1 {
        host.tell::<Adder>(id, 1).expect("room");
    }
    host.ask::<Adder>(id, 1, host.deadline_default()).await.expect("an answer");
    micros_each(before)
}

async fn memory() {
    let limits = HostLimits { live_entities_max: RESIDENT, ..HostLimits::default() };
    let resident = host(limits).await;
    let before = resident_bytes();
    let cpu = cpu_ns();
    for number in 0..RESIDENT {
        ask_one(&resident, number).await;
    }
    let each = resident_bytes().saturating_sub(before) / RESIDENT;
    let activation = (cpu_ns() - cpu) as f64 / 1e3 / RESIDENT as f64;
    println!("{:<28} {each:>14} bytes each", "100 000 resident entities");
    println!("{:<28} {activation:>14.3} CPU µs each", "activation and first answer");
    let report = resident.drain().await;
    assert!(report.left.is_empty());

    let few = host(HostLimits { live_entities_max: 1_000, ..HostLimits::default() }).await;
    for number in 0..10_000 {
        ask_one(&few, number).await;
    }
    let before = resident_bytes();
    for number in 0..ADDRESSABLE {
        ask_one(&few, number).await;
    }
    let grown = resident_bytes().saturating_sub(before) as f64 / ADDRESSABLE as f64;
    println!("{:<28} {grown:>14.3} bytes each", "1 000 000 entities at rest");
    println!("{:<28} {:>14} live", "", few.live_entities());
    few.drain().await;
}

async fn ask_one(host: &Host, number: usize) {
    let id = EntityId::new(format!("session-{number}")).expect("an id");
    host.ask::<Adder>(&id, 1, host.deadline_default()).await.expect("an answer");
}

fn micros_each(before_ns: u64) -> f64 {
    (cpu_ns() - before_ns) as f64 / 1e3 / CALLS as f64
}

fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// CPU time of all threads of this process, in nanoseconds.
fn cpu_ns() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").expect("Linux");
    let on_cpu = |thread: std::io::Result<std::fs::DirEntry>| {
        let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    };
    threads.filter_map(on_cpu).sum()
}

/// Resident memory of this process, in bytes.
fn resident_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.expect("a number of pages") * 4096
}
