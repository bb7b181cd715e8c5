//! The load: sessions that send one message after the other, follow each turn through every death of the node, and
//! note what they saw.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use futures::StreamExt as _;
use serde_json::Value;
use steward::client::Client;
use steward_api::proto::v1;
use steward_api::proto::v1::SessionEventKind as Kind;
use steward_types::{Clock as _, SystemClock};

use crate::pulse::Pulse;

/// Longest wait for any one turn, all deaths of the node in it included. A turn that takes longer is stuck. Generous,
/// because on a machine that is busy otherwise a node may die many times before it gets to a given session.
const TURN_TIME_MAX: Duration = Duration::from_secs(600);
/// Longest wait for an answer before another node is asked.
const CALL_TIME_MAX: Duration = Duration::from_secs(20);
/// Longest silence of a stream of events before another node is asked for it: its node may stand still.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// The pause before a call that found no node is made again.
const RETRY_TIME: Duration = Duration::from_millis(20);

/// Clients of every node with one key: a call goes to the next when a node does not answer.
pub struct Clients {
    all: Vec<Client>,
    at: AtomicUsize,
}

impl Clients {
    /// Begins with the client at `first`, counted around.
    pub fn new(all: Vec<Client>, first: usize) -> Self {
        Self { all, at: AtomicUsize::new(first) }
    }

    fn current(&self) -> &Client {
        &self.all[self.at.load(Ordering::Relaxed) % self.all.len()]
    }

    fn turn_away(&self) {
        self.at.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all sessions share.
#[derive(Debug)]
pub struct Load {
    /// The agent's name.
    pub agent: String,
    /// The outside service.
    pub service: String,
    /// Messages sent so far; the next one's number.
    pub numbers: AtomicU64,
    /// Turns that have started and not ended, as seen by their watchers.
    pub in_flight: AtomicUsize,
    /// Events seen.
    pub events: AtomicU64,
    /// Hears of each turn that ended.
    pub pulse: Arc<Pulse>,
}

/// What one turn showed.
#[derive(Debug, Clone)]
pub struct Turn {
    /// The message's number.
    pub number: u64,
    /// The replies, as the script gave them.
    pub replies: Vec<Value>,
    /// What the turn cost, in micro-units.
    pub micros: u64,
}

/// One session's history.
#[derive(Debug, Clone)]
pub struct History {
    /// The session.
    pub session: String,
    /// Its turns.
    pub turns: Vec<Turn>,
}

/// Opens a session and sends it messages, at least `messages` and until `enough`; ends it.
///
/// # Errors
/// What did not go as promised: a turn that failed or is stuck, an event that is missing or came twice.
pub async fn session(
    client: Clients,
    load: Arc<Load>,
    key: String,
    messages: u32,
    enough: Arc<std::sync::atomic::AtomicBool>,
) -> anyhow::Result<History> {
    let open = v1::OpenSessionRequest { agent: load.agent.clone(), idempotency_key: key.clone(), ..Default::default() };
    let opened = retry(&client, |client| {
        let open = open.clone();
        async move { client.sessions().open(open).await }
    })
    .await?;
    let mut history = History { session: opened.id, turns: Vec::new() };
    let mut next = 1;
    load.pulse.begin(&key);
    while history.turns.len() < messages as usize || !enough.load(Ordering::SeqCst) {
        let number = load.numbers.fetch_add(1, Ordering::SeqCst);
        let data = serde_json::json!({ "service": load.service, "number": number });
        let request = v1::SendRequest {
            session: history.session.clone(),
            message: Some(v1::Message { text: String::new(), data_json: data.to_string() }),
            idempotency_key: format!("{key}-{number}"),
        };
        let sent = retry(&client, |client| {
            let request = request.clone();
            async move { client.sessions().send(request).await }
        })
        .await?;
        let turn = follow(&client, &load, &history.session, sent.turn, number, &mut next);
        let turn = tokio::time::timeout(TURN_TIME_MAX, turn).await;
        let stuck = || format!("{} is stuck in turn {} (message {number})", history.session, sent.turn);
        history.turns.push(turn.with_context(stuck)??);
        load.pulse.beat(&key);
    }
    load.pulse.end(&key);
    let end = v1::EndSessionRequest { session: history.session.clone(), reason: "done".to_owned() };
    retry(&client, |client| {
        let end = end.clone();
        async move { client.sessions().end(end).await }
    })
    .await?;
    Ok(history)
}

/// Follows the events from `next` on until the turn has ended; answers its questions.
async fn follow(
    client: &Clients,
    load: &Load,
    session: &str,
    turn: u64,
    number: u64,
    next: &mut u64,
) -> anyhow::Result<Turn> {
    let flight = InFlight::new(&load.in_flight);
    let mut seen = Turn { number, replies: Vec::new(), micros: 0 };
    loop {
        let request = v1::WatchSessionRequest {
            session: session.to_owned(),
            from_sequence: *next,
            without_deltas: false,
            stop_at_end: false,
        };
        let mut events = retry(client, |client| {
            let request = request.clone();
            async move { client.sessions().watch(request).await }
        })
        .await?;
        while let Ok(Some(Ok(event))) = tokio::time::timeout(SILENCE_MAX, events.next()).await {
            ensure!(event.sequence == *next, "{session}: event {} came where {next} was due", event.sequence);
            *next += 1;
            load.events.fetch_add(1, Ordering::Relaxed);
            match event.kind() {
                Kind::ApprovalRequested => approve(client, event.name).await?,
                Kind::Reply => seen.replies.push(reply_of(&event.data_json, &event.text)),
                Kind::TurnFinished if event.turn == turn => {
                    drop(flight);
                    seen.micros = event.micros;
                    return Ok(seen);
                }
                Kind::TurnFailed | Kind::TurnCancelled => {
                    let failure = event.failure.unwrap_or_default();
                    bail!("{session}: turn {turn} failed: {} {}", failure.reason, failure.message);
                }
                Kind::Ended => bail!("{session} ended in turn {turn}"),
                _ => {}
            }
        }
        client.turn_away();
    }
}

fn reply_of(data_json: &str, text: &str) -> Value {
    serde_json::from_str(if data_json.is_empty() { text } else { data_json }).unwrap_or_else(|_| text.into())
}

async fn approve(client: &Clients, id: String) -> anyhow::Result<()> {
    let decide = v1::DecideApprovalRequest {
        id,
        approved: true,
        comment: "the workload".to_owned(),
        answer_json: String::new(),
    };
    retry(client, |client| {
        let decide = decide.clone();
        async move { client.approvals().decide(decide).await }
    })
    .await
    .map(|_| ())
}

/// Calls again until there is a node that answers; another error than that is final.
///
/// # Errors
/// The final error, or that no node answered in time.
pub async fn retry<T, F>(clients: &Clients, call: impl Fn(Client) -> F) -> anyhow::Result<T>
where
    F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
{
    let clock = SystemClock::new();
    loop {
        // A paused node takes a call and never answers.
        let answer = tokio::time::timeout(CALL_TIME_MAX, call(clients.current().clone())).await;
        match answer.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("the node did not answer"))) {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) if is_node_gone(&status) && clock.monotonic() < TURN_TIME_MAX => {
                clients.turn_away();
                clock.sleep(RETRY_TIME).await;
            }
            Err(status) => bail!(steward::client::explain(&status)),
        }
    }
}

/// Whether a call failed since the node died under it, is starting, or is busy: it may be made again.
fn is_node_gone(status: &tonic::Status) -> bool {
    let broken = status.details().is_empty()
        && matches!(status.code(), tonic::Code::Unknown | tonic::Code::Cancelled | tonic::Code::Internal);
    let is_busy = |reason: String| matches!(reason.as_str(), "MAILBOX_FULL" | "NODE_BUSY");
    broken
        || steward::client::reason(status).is_some_and(is_busy)
        || matches!(status.code(), tonic::Code::Unavailable | tonic::Code::DeadlineExceeded)
}

struct InFlight<'a>(&'a AtomicUsize);

impl<'a> InFlight<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
