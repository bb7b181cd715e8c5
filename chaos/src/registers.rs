//! Append-only registers: sessions that several clients append to and read at once, each call through any node and made
//! once, so that a lost answer leaves its outcome open. What the clients saw is checked for linearizability.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use futures::future::join_all;
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use serde_json::{Value, json};
use steward::client::Client;
use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock};

use crate::linear::{Operation, Outcome, violations};
use crate::pulse::Pulse;
use crate::workload::{Clients, retry};

/// The agent that is a register.
pub const AGENT: &str = "register";
/// Clients of one register.
const CLIENTS: u32 = 3;
/// Appends after which a register is checked and another one begins: each append answers with the whole list.
const APPENDS_MAX: usize = 150;
/// How long a client waits for an answer before it takes the outcome for open and goes on. What it gave up may still
/// stand in the register's queue, so that impatient clients would only make it longer.
const CALL_TIME_MAX: Duration = Duration::from_secs(10);
/// The longest pause of a client between two operations.
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// What the clients of all registers share.
pub struct Shared {
    /// Clients of every node with the key of the registers' project.
    pub clients: Vec<Client>,
    /// Clients of every node with the root key, which may ask any entity.
    pub roots: Vec<Client>,
    /// Hears of each append.
    pub pulse: Arc<Pulse>,
    /// Set when registers may end.
    pub enough: Arc<AtomicBool>,
    /// One clock for all operations.
    pub clock: SystemClock,
}

/// What was done to registers, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Registers.
    pub registers: usize,
    /// Appends that were answered.
    pub appends: usize,
    /// Appends whose outcome stayed open.
    pub unknown: usize,
    /// Reads that were answered.
    pub reads: usize,
    /// What no order of operations explains.
    pub violations: Vec<String>,
}

impl Checked {
    /// Both.
    pub fn and(mut self, other: Self) -> Self {
        self.registers += other.registers;
        self.appends += other.appends;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.violations.extend(other.violations);
        self
    }

    fn of(session: &str, history: &[Operation]) -> Self {
        let count = |is: fn(&Outcome) -> bool| history.iter().filter(|operation| is(&operation.outcome)).count();
        Self {
            registers: 1,
            appends: count(|outcome| matches!(outcome, Outcome::Appended { .. })),
            unknown: count(|outcome| matches!(outcome, Outcome::Unknown { .. })),
            reads: count(|outcome| matches!(outcome, Outcome::Length(_))),
            violations: violations(history).into_iter().map(|found| format!("register {session}: {found}")).collect(),
        }
    }
}

/// Uses one register after the other until there is enough, and checks each.
///
/// # Errors
/// When a register cannot be opened, or a turn failed.
pub async fn registers(shared: Arc<Shared>, name: String, seed: u64) -> anyhow::Result<Checked> {
    let (mut checked, mut random) = (Checked::default(), ChaCha8Rng::seed_from_u64(seed));
    shared.pulse.begin(&name);
    loop {
        let session = open(&shared).await?;
        let history = Mutex::new(Vec::new());
        let clients = (0..CLIENTS).map(|number| {
            let random = ChaCha8Rng::from_rng(&mut random);
            Register { shared: &shared, name: &name, session: &session, number, history: &history }.use_up(random)
        });
        join_all(clients.collect::<Vec<_>>()).await.into_iter().collect::<anyhow::Result<()>>()?;
        let last = Register { shared: &shared, name: &name, session: &session, number: CLIENTS, history: &history };
        last.append_last().await?;
        checked = checked.and(Checked::of(&session, &history.into_inner()));
        if shared.enough.load(Ordering::SeqCst) {
            shared.pulse.end(&name);
            return Ok(checked);
        }
    }
}

async fn open(shared: &Shared) -> anyhow::Result<String> {
    let clients = Clients::new(shared.clients.clone(), 0);
    let open = v1::OpenSessionRequest { agent: AGENT.to_owned(), ..Default::default() };
    let opened = retry(&clients, |client| {
        let open = open.clone();
        async move { client.sessions().open(open).await }
    });
    Ok(opened.await?.id)
}

/// One client of one register.
struct Register<'a> {
    shared: &'a Shared,
    name: &'a str,
    session: &'a str,
    number: u32,
    history: &'a Mutex<Vec<Operation>>,
}

impl Register<'_> {
    async fn use_up(self, mut random: ChaCha8Rng) -> anyhow::Result<()> {
        let is_append = |operation: &&Operation| matches!(operation.outcome, Outcome::Appended { .. });
        for count in 0.. {
            let appends = self.history.lock().iter().filter(is_append).count();
            if appends >= APPENDS_MAX || self.shared.enough.load(Ordering::SeqCst) {
                break;
            }
            let node = random.random_range(0..self.shared.clients.len());
            if random.random_ratio(1, 3) {
                self.read(node).await?;
            } else {
                self.append(node, format!("{}-{count}", self.number)).await?;
            }
            self.shared.clock.sleep(random.random_range(Duration::ZERO..=PAUSE_MAX)).await;
        }
        Ok(())
    }

    /// One more append that is answered, so that what came before shows.
    async fn append_last(&self) -> anyhow::Result<()> {
        for count in 0.. {
            let node = count % self.shared.clients.len();
            if self.append(node, format!("{}-{count}", self.number)).await? {
                break;
            }
            self.shared.clock.sleep(PAUSE_MAX).await;
        }
        Ok(())
    }

    /// Appends through a node. Says whether it was answered.
    async fn append(&self, node: usize, value: String) -> anyhow::Result<bool> {
        let message = v1::Message { text: String::new(), data_json: json!({ "value": value }).to_string() };
        let run =
            v1::RunRequest { session: self.session.to_owned(), message: Some(message), idempotency_key: String::new() };
        let asked = self.shared.clock.monotonic();
        let mut sessions = self.shared.clients[node].sessions();
        let answer = tokio::time::timeout(CALL_TIME_MAX, sessions.run(run)).await;
        let answered = self.shared.clock.monotonic();
        let outcome = match answer {
            Ok(Ok(response)) => {
                let response = response.into_inner();
                if let Some(failure) = response.failure {
                    bail!("register {}: an append failed: {} {}", self.session, failure.reason, failure.message);
                }
                let list = serde_json::from_str(&response.result_json).context("a register's list")?;
                self.shared.pulse.beat(self.name);
                Outcome::Appended { value, list }
            }
            Ok(Err(_)) | Err(_) => Outcome::Unknown { value },
        };
        let is_answered = matches!(outcome, Outcome::Appended { .. });
        self.history.lock().push(Operation { asked, answered, outcome });
        Ok(is_answered)
    }

    /// Asks the register's owner how long the list is, through a node. What is not answered says nothing.
    async fn read(&self, node: usize) -> anyhow::Result<()> {
        let request = v1::Payload { r#type: String::new(), json: "\"Show\"".to_owned() };
        let ask =
            v1::AskActorRequest { kind: "session".to_owned(), id: self.session.to_owned(), request: Some(request) };
        let asked = self.shared.clock.monotonic();
        let mut actors = self.shared.roots[node].actors();
        let answer = tokio::time::timeout(CALL_TIME_MAX, actors.ask(ask)).await;
        let answered = self.shared.clock.monotonic();
        let Ok(Ok(response)) = answer else { return Ok(()) };
        let response = response.into_inner().response.context("an answer has a response")?;
        let outcome = Outcome::Length(length(&response.json)?);
        self.history.lock().push(Operation { asked, answered, outcome });
        Ok(())
    }
}

/// How long a register's list is: as many turns as have ended.
fn length(json: &str) -> anyhow::Result<usize> {
    let response: Value = serde_json::from_str(json)?;
    let view = &response["View"];
    let turn = view["turn"].as_u64().with_context(|| format!("no view of a session: {json}"))?;
    let has_ended = view["turn_state"].get("finished").is_some();
    Ok(usize::try_from(turn)? - usize::from(turn > 0 && !has_ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_in_flight_has_appended_nothing_yet() {
        let check = |turn_state: Value, turn: u64, expected: usize| {
            let view = json!({ "View": { "turn": turn, "turn_state": turn_state } });
            assert_eq!(length(&view.to_string()).unwrap(), expected);
        };
        check(Value::Null, 0, 0);
        check(json!("in_flight"), 3, 2);
        check(json!({ "finished": { "value": [] } }), 3, 3);
        assert!(length("{\"Refused\":{}}").is_err());
    }
}
