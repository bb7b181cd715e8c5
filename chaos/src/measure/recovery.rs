//! Very many sessions that wait for one moment, and a node that is killed just before it: the others take its sessions
//! over and run them all, a bounded number at a time, each once.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::json;
use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock, Timestamp};

use super::overload::resident_kib;
use super::stage::Stage;
use crate::workload::{Clients, retry};

/// The agent whose sessions wait.
const AGENT: &str = "sleeper";
/// Sessions that are opened at once.
const CLIENTS: usize = 32;
/// How long opening one session may take on the average before the moment comes too early.
const OPEN_TIME: Duration = Duration::from_millis(20);
/// Counts the receipts that a node has put into logs. Nothing is paid for before the moment.
const RECEIPTS: &str = "steward_receipts_appended_total";
/// How long before the moment the node is killed.
const AHEAD: Duration = Duration::from_secs(1);
/// How often the survivors are looked at.
const LOOK_TIME: Duration = Duration::from_millis(500);
/// How long nothing may move before the measurement gives up.
const PATIENCE: Duration = Duration::from_secs(180);

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Recovered {
    /// Sessions that waited.
    pub sessions: u64,
    /// How long it took to open them.
    pub opened: Duration,
    /// From the kill to the end of the last turn.
    pub time: Duration,
    /// The most memory that a node that lived on had before the kill, in KiB.
    pub memory_before_kib: u64,
    /// The most that one had afterwards.
    pub memory_after_kib: u64,
    /// The most turns that one had in flight.
    pub turns_in_flight_max: u64,
    /// Turns that were paid for, and receipts.
    pub paid: u64,
    /// Whether each session was paid for once, and the books are exact.
    pub is_exact: bool,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sessions, opened, time, memory_before_kib, memory_after_kib, turns_in_flight_max, paid, is_exact } =
            self;
        let (opened, seconds) = (opened.as_secs_f64(), time.as_secs_f64());
        let rate = *sessions as f64 / seconds;
        let (before, after) = (memory_before_kib / 1024, memory_after_kib / 1024);
        let exact = if *is_exact { "exact" } else { "NOT exact" };
        write!(
            f,
            "{sessions} waiting sessions (opened in {opened:.0} s), one of three nodes killed: all had their turn \
             {seconds:.1} s after the kill ({rate:.0} a second); a survivor's memory {before} MiB before, at most {after} \
             MiB afterwards, at most {turns_in_flight_max} turns in flight; {paid} paid, books {exact}"
        )
    }
}

/// Opens so many sessions, kills a node, and waits until each has had its turn.
///
/// # Errors
/// When a part does not start, the sessions' moment comes before all are open, or nothing moves any more.
pub async fn recovery(
    steward: &Path,
    folder: &Path,
    sessions: u64,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Recovered> {
    let (mut stage, clock) = (Stage::start_with(steward, folder, AGENT, "").await?, SystemClock::new());
    let spare = OPEN_TIME * u32::try_from(sessions).context("too many sessions")? + Duration::from_secs(20);
    let until = clock.now().saturating_add(spare);
    let mut opening =
        futures::stream::iter(1..=sessions).map(|number| open(&stage, number, until)).buffer_unordered(CLIENTS);
    let mut done = 0;
    while let Some(opened) = opening.next().await {
        opened?;
        done += 1;
        progress(done);
    }
    drop(opening);
    let opened = clock.monotonic();
    let left = until.saturating_since(clock.now());
    ensure!(left > AHEAD, "opening {sessions} sessions took {opened:?}, longer than they sleep");
    clock.sleep(left.saturating_sub(AHEAD)).await;

    let memory_before_kib = memory(&stage)?;
    let killed = clock.monotonic();
    stage.fleet.nodes[0].kill().await?;
    let seen = watch(&stage, &clock, sessions, progress).await?;
    let time = clock.monotonic().saturating_sub(killed);
    let audit = stage.clients[1].budgets().audit(v1::AuditRequest::default()).await?.into_inner();
    let paid = audit.steps_settled;
    let is_exact = audit.exact && paid == sessions && audit.receipts == sessions;
    stage.fleet.nodes[0].start_again().await?;
    stage.fleet.stop().await?;
    let Seen { memory_kib, turns_in_flight } = seen;
    Ok(Recovered {
        sessions,
        opened,
        time,
        memory_before_kib,
        memory_after_kib: memory_kib,
        turns_in_flight_max: turns_in_flight,
        paid,
        is_exact,
    })
}

/// Opens a session through one of the nodes and gives it the message, again where a node was too busy to keep its shards.
async fn open(stage: &Stage, number: u64, until: Timestamp) -> anyhow::Result<()> {
    let clients = Clients::new(stage.clients.clone(), usize::try_from(number)? % stage.clients.len());
    let open = v1::OpenSessionRequest {
        agent: AGENT.to_owned(),
        idempotency_key: format!("sleeper-{number}"),
        ..Default::default()
    };
    let opened = retry(&clients, |client| {
        let open = open.clone();
        async move { client.sessions().open(open).await }
    });
    let message = v1::Message { text: String::new(), data_json: json!({ "moment": until.as_millis() }).to_string() };
    let send =
        v1::SendRequest { session: opened.await?.id, message: Some(message), idempotency_key: "moment".to_owned() };
    let sent = retry(&clients, |client| {
        let send = send.clone();
        async move { client.sessions().send(send).await }
    });
    sent.await.map(drop)
}

/// What was seen of the nodes that lived on.
#[derive(Default)]
struct Seen {
    memory_kib: u64,
    turns_in_flight: u64,
}

/// Looks at the survivors until so many sessions have a receipt.
async fn watch(
    stage: &Stage,
    clock: &SystemClock,
    sessions: u64,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Seen> {
    let (mut seen, mut last, mut moved) = (Seen::default(), 0, clock.monotonic());
    while last < sessions {
        clock.sleep(LOOK_TIME).await;
        seen.memory_kib = seen.memory_kib.max(memory(stage)?);
        // A node may be too busy to say how it is: the next look asks again.
        let Ok(nodes) = stage.roots[1].operations().nodes(v1::NodesRequest {}).await else { continue };
        let reports = nodes.into_inner().nodes.into_iter().filter_map(|node| node.report);
        let in_flight = reports.map(|report| report.turns_in_flight).max().unwrap_or_default();
        seen.turns_in_flight = seen.turns_in_flight.max(in_flight);
        let done = stage.counted_from(1, RECEIPTS).await.unwrap_or(last);
        if done > last {
            (last, moved) = (done, clock.monotonic());
            progress(done);
        }
        let still = clock.monotonic().saturating_sub(moved);
        ensure!(still < PATIENCE, "{last} of {sessions} sessions had their turn, and nothing has moved for {still:?}");
    }
    Ok(seen)
}

/// The most memory that one of the nodes has that are not killed.
fn memory(stage: &Stage) -> anyhow::Result<u64> {
    let survivors = stage.fleet.nodes.iter().skip(1).map(|node| resident_kib(node.id()));
    Ok(survivors.collect::<anyhow::Result<Vec<_>>>()?.into_iter().max().unwrap_or_default())
}
