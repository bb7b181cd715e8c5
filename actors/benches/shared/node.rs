//! What the benchmarks of sessions share: a node on the embedded store whose agents are given as sources, an outside
//! world that answers at once, and the CPU time of this process.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use mimalloc::MiMalloc;
use serde_json::json;
use steward_actors::budget::{LedgerError, Period, open_project};
use steward_actors::crowd::{Crowd, CrowdLimits};
use steward_actors::host::{EntityId, Host, HostBuilder};
use steward_actors::lease::SoleLease;
use steward_actors::memory::Memories;
use steward_actors::model::LoadedModels;
use steward_actors::session::{
    EventBody, Loaded, Open, ProgramError, Programs, ReadError, ScriptThreads, Send, Services, Session,
    SessionEnvironment, SessionEvent, SessionRequest, SessionResponse,
};
use steward_adapters::{HttpOutcome, HttpRequest, HttpResponse, HttpTool};
use steward_scripting::{Bundle, Manifest, MeteredAllocator, Program};
use steward_storage::{Store, StoreExt};
use steward_types::{AgentId, Clock, ProjectId, SessionId, SystemEntropy};

pub type BoxError = Box<dyn Error + std::marker::Send + Sync>;

/// What the `steward` binary runs with.
#[global_allocator]
static ALLOCATOR: MeteredAllocator<MiMalloc> = MeteredAllocator(MiMalloc);

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

/// Agents by name.
#[derive(Debug, Default)]
pub struct Agents(BTreeMap<String, Arc<Loaded>>);

impl Agents {
    /// Adds an agent; `manifest` follows its name there.
    pub fn add(&mut self, name: &str, script: impl Into<String>, manifest: &str) -> Result<(), BoxError> {
        let program = Program::check(&Bundle::new(script)).map_err(|found| format!("{name}: {found:?}"))?;
        let manifest = Manifest::parse(&format!("name = \"{name}\"\n{manifest}"))?;
        self.0.insert(name.to_owned(), Arc::new(Loaded { program, manifest }));
        Ok(())
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

/// How a turn ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    Finished,
    Failed,
}

#[derive(Clone)]
pub struct Node {
    pub store: Arc<dyn Store>,
    pub clock: Arc<dyn Clock>,
    host: Host,
    project: ProjectId,
}

impl Node {
    pub async fn start(store: Arc<dyn Store>, clock: Arc<dyn Clock>, agents: Agents) -> Result<Self, BoxError> {
        let project: ProjectId = "bench".parse()?;
        let (opened, now) = (&project, clock.now());
        store
            .run(|txn| async move { open_project(&txn, opened, None, Period::None, now).await })
            .await
            .map_err(|error: LedgerError| error.to_string())?;
        let lease = SoleLease::take(&*store).await?;
        let crowd = Arc::new(Crowd::new(Arc::clone(&clock), CrowdLimits::default()));
        let environment = SessionEnvironment::new(Services {
            crowd,
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            entropy: Arc::new(SystemEntropy),
            programs: Arc::new(agents),
            models: Arc::new(LoadedModels::default()),
            memories: Memories::new(Arc::clone(&store)),
            chains: Arc::default(),
            http: Arc::new(Instant),
            scripts: ScriptThreads::default(),
            activity: Arc::default(),
        });
        let builder = HostBuilder::new(Arc::clone(&clock), Arc::new(lease)).register::<Session>(environment);
        let host = builder.start().await.map_err(|error| error.to_string())?;
        Ok(Self { host, store, clock, project })
    }

    /// Asks a session; a refusal is an error.
    pub async fn ask(&self, session: SessionId, request: SessionRequest) -> Result<SessionResponse, BoxError> {
        let deadline = self.host.deadline(PATIENCE);
        match self.host.ask::<Session>(&EntityId::from(&session), request, deadline).await? {
            SessionResponse::Refused(refusal) => Err(Box::new(refusal)),
            response => Ok(response),
        }
    }

    /// Opens a new session, with a first message or without.
    pub async fn open(&self, agent: &str, message: Option<Send>) -> Result<SessionId, BoxError> {
        let session = SessionId::generate(&*self.clock, &SystemEntropy);
        let open = Open {
            project: self.project.clone(),
            agent: agent.parse()?,
            ceiling: None,
            version: None,
            label: String::new(),
            parent: None,
            depth: 0,
            message,
        };
        self.ask(session, SessionRequest::Open(open)).await?;
        Ok(session)
    }

    pub async fn send(&self, session: SessionId, message: Send) -> Result<(), BoxError> {
        self.ask(session, SessionRequest::Send(message)).await.map(drop)
    }
}

/// The session's message number `turn`.
pub fn message(turn: u64) -> Send {
    Send { key: turn.to_string(), message: json!({ "text": "go" }) }
}

/// Waits for the end of the next turn in a session's events.
pub async fn turn_end(
    events: &mut (impl Stream<Item = Result<SessionEvent, ReadError>> + Unpin),
) -> Result<Turn, BoxError> {
    while let Some(event) = events.next().await {
        match event?.body {
            EventBody::TurnFinished { .. } => return Ok(Turn::Finished),
            EventBody::TurnFailed { .. } => return Ok(Turn::Failed),
            _ => {}
        }
    }
    Err("the session ended before its turn".into())
}

/// The CPU time of this process, from Linux's `/proc/self/stat`, whose ticks are a hundredth of a second.
pub fn cpu_time() -> Duration {
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    };
    Duration::from_millis(ticks().unwrap_or(0) * 10)
}
