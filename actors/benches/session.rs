//! What a durable step costs: turns of 1, 3 and 9 steps on the embedded store with every commit synced to disk, at
//! concurrency 1 and 32, and how long a cold session takes to its first reply. Run with
//! `cargo bench -p steward-actors --bench session`.
//!
//! A step is an `http` call with a hold, a settlement, a receipt and events; the server is in the process and answers
//! at once, so that only Steward is measured. `STEWARD_BENCH_TURNS` changes how many turns a run makes; each run is
//! repeated and the median printed.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, stream};
use serde_json::json;
use steward_actors::budget::{LedgerError, Period, open_project};
use steward_actors::host::{EntityId, Host, HostBuilder};
use steward_actors::lease::SoleLease;
use steward_actors::memory::Memories;
use steward_actors::model::LoadedModels;
use steward_actors::session::{
    EventBody, Loaded, Open, ProgramError, Programs, ScriptThreads, Send, Services, Session, SessionEnvironment,
    SessionRequest, SessionResponse, watch,
};
use steward_adapters::{HttpOutcome, HttpRequest, HttpResponse, HttpTool};
use steward_scripting::{Bundle, Manifest, Program};
use steward_storage::{Store, StoreExt};
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{AgentId, Clock, ProjectId, SessionId, SystemClock, SystemEntropy};

type BoxError = Box<dyn Error + std::marker::Send + Sync>;

const RUNS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

/// A server that answers at once.
#[derive(Debug)]
struct Instant;

#[async_trait]
impl HttpTool for Instant {
    async fn send(&self, _: HttpRequest) -> HttpOutcome {
        HttpOutcome::Answered(HttpResponse { status: 200, headers: BTreeMap::new(), body: Bytes::from_static(b"ok") })
    }
}

/// One agent for each count of steps, named by it.
#[derive(Debug)]
struct Agents(BTreeMap<String, Arc<Loaded>>);

impl Agents {
    fn new() -> Result<Self, BoxError> {
        let mut agents = BTreeMap::new();
        for steps in [0, 1, 3, 9] {
            let script = format!(
                "fn on_message(msg) {{ for i in 0..{steps} {{ http(\"POST\", \"http://x/\" + i); }} reply(1); }}"
            );
            let program = Program::check(&Bundle::new(script)).map_err(|found| format!("{found:?}"))?;
            let manifest = Manifest::parse(&format!("name = \"steps-{steps}\"\n[http]\nallow = [\"http://x/\"]\n"))?;
            agents.insert(format!("steps-{steps}"), Arc::new(Loaded { program, manifest }));
        }
        Ok(Self(agents))
    }
}

#[async_trait]
impl Programs for Agents {
    async fn current(&self, _: &ProjectId, _: &AgentId, _: SessionId) -> Result<u64, ProgramError> {
        Ok(1)
    }

    async fn load(&self, _: &ProjectId, agent: &AgentId, _: u64) -> Result<Arc<Loaded>, ProgramError> {
        let code = steward_types::ErrorCode::AgentNotFound;
        self.0.get(agent.as_str()).cloned().ok_or_else(|| ProgramError { code, message: agent.to_string() })
    }
}

#[derive(Clone)]
struct Node {
    host: Host,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    project: ProjectId,
}

impl Node {
    async fn start(store: Arc<dyn Store>, clock: Arc<dyn Clock>) -> Result<Self, BoxError> {
        let project: ProjectId = "bench".parse()?;
        let (opened, now) = (&project, clock.now());
        store
            .run(|txn| async move { open_project(&txn, opened, None, Period::None, now).await })
            .await
            .map_err(|error: LedgerError| error.to_string())?;
        let lease = SoleLease::take(&*store).await?;
        let environment = SessionEnvironment::new(Services {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            entropy: Arc::new(SystemEntropy),
            programs: Arc::new(Agents::new()?),
            models: Arc::new(LoadedModels::default()),
            memories: Memories::new(Arc::clone(&store)),
            http: Arc::new(Instant),
            scripts: ScriptThreads::default(),
        });
        let builder = HostBuilder::new(Arc::clone(&clock), Arc::new(lease)).register::<Session>(environment);
        let host = builder.start().await.map_err(|error| error.to_string())?;
        Ok(Self { host, store, clock, project })
    }

    async fn ask(&self, session: SessionId, request: SessionRequest) -> Result<SessionResponse, BoxError> {
        let deadline = self.host.deadline(PATIENCE);
        match self.host.ask::<Session>(&EntityId::from(&session), request, deadline).await? {
            SessionResponse::Refused(refusal) => Err(Box::new(refusal)),
            response => Ok(response),
        }
    }

    fn request(&self, steps: u32, message: Option<Send>) -> Result<SessionRequest, BoxError> {
        Ok(SessionRequest::Open(Open {
            project: self.project.clone(),
            agent: format!("steps-{steps}").parse()?,
            ceiling: None,
            version: None,
            label: String::new(),
            parent: None,
            depth: 0,
            message,
        }))
    }

    /// Makes `turns` turns in one session, one after the other.
    async fn converse(&self, session: SessionId, steps: u32, turns: u64) -> Result<(), BoxError> {
        self.ask(session, self.request(steps, None)?).await?;
        let mut events = Box::pin(watch(Arc::clone(&self.store), session, 1));
        for turn in 0..turns {
            self.ask(session, SessionRequest::Send(message(turn))).await?;
            while let Some(event) = events.next().await {
                match event?.body {
                    EventBody::TurnFinished { .. } => break,
                    EventBody::TurnFailed { failure, .. } => return Err(failure.message.into()),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}

fn message(turn: u64) -> Send {
    Send { key: turn.to_string(), message: json!({ "text": "go" }) }
}

/// One run's figures.
struct Figures {
    cpu_ms_a_turn: f64,
    turns_a_second: f64,
}

async fn run(node: &Node, steps: u32, concurrency: usize, turns: u64) -> Result<Figures, BoxError> {
    let each = (turns / concurrency as u64).max(1);
    let (cpu, started) = (cpu_time(), node.clock.monotonic());
    let sessions = (0..concurrency).map(|_| async {
        let session = SessionId::generate(&*node.clock, &SystemEntropy);
        node.converse(session, steps, each).await
    });
    let done: Vec<_> = stream::iter(sessions).buffer_unordered(concurrency).collect().await;
    done.into_iter().collect::<Result<Vec<()>, _>>()?;
    let wall = node.clock.monotonic().saturating_sub(started);
    let turns = (each * concurrency as u64) as f64;
    Ok(Figures {
        cpu_ms_a_turn: cpu_time().saturating_sub(cpu).as_secs_f64() * 1_000.0 / turns,
        turns_a_second: turns / wall.as_secs_f64(),
    })
}

/// From the request to open with a first message to the end of its turn, for sessions that nobody has heard of.
async fn cold(node: &Node, count: usize) -> Result<Duration, BoxError> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let session = SessionId::generate(&*node.clock, &SystemEntropy);
        let started = node.clock.monotonic();
        node.ask(session, node.request(0, Some(message(0)))?).await?;
        let mut events = Box::pin(watch(Arc::clone(&node.store), session, 1));
        while let Some(event) = events.next().await {
            if matches!(event?.body, EventBody::TurnFinished { .. }) {
                break;
            }
        }
        times.push(node.clock.monotonic().saturating_sub(started));
    }
    times.sort();
    Ok(times[count / 2])
}

/// The CPU time of this process, from Linux's `/proc/self/stat`, whose ticks are a hundredth of a second.
fn cpu_time() -> Duration {
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    Duration::from_millis(ticks().unwrap_or(0) * 10)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

#[expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let turns = std::env::var("STEWARD_BENCH_TURNS").ok().and_then(|text| text.parse().ok()).unwrap_or(640);
    let folder = tempfile::tempdir()?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let store = EmbeddedStore::open(&EmbeddedConfig::new(folder.path().join("store")), Arc::clone(&clock))?;
    let node = Node::start(Arc::new(store), clock).await?;
    println!(
        "{:>5}  {:>11}  {:>15}  {:>15}  {:>12}",
        "steps", "concurrency", "CPU ms a turn", "CPU ms a step", "turns/s"
    );
    for concurrency in [1, 32] {
        let mut base = 0.0;
        for steps in [0, 1, 3, 9] {
            let mut runs = Vec::with_capacity(RUNS);
            for _ in 0..RUNS {
                runs.push(run(&node, steps, concurrency, turns).await?);
            }
            let cpu = median(runs.iter().map(|run| run.cpu_ms_a_turn).collect());
            let rate = median(runs.iter().map(|run| run.turns_a_second).collect());
            if steps == 0 {
                base = cpu;
            }
            let step = if steps == 0 { 0.0 } else { (cpu - base) / f64::from(steps) };
            println!("{steps:>5}  {concurrency:>11}  {cpu:>15.3}  {step:>15.3}  {rate:>12.0}");
        }
    }
    println!("cold session, first message to the end of its turn: p50 {:?}", cold(&node, 200).await?);
    Ok(())
}
