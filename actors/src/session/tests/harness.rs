//! A node small enough for a test: a host with sessions and timers, agents given as sources, and an outside world that
//! counts what is done to it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use parking_lot::Mutex;
use serde_json::{Value, json};
use steward_adapters::{HttpOutcome, HttpRequest, HttpResponse, HttpTool};
use steward_inference::{Model, ScriptedModel};
use steward_scripting::{Bundle, Manifest, Program};
use steward_storage::{Store, StoreExt};
use steward_types::{AgentId, Clock, ErrorCode, Micros, ProjectId, SeededEntropy, SessionId, SystemClock};

use crate::activity::Activity;
use crate::budget::{Period, ledger};
use crate::chain::{ChainActor, ChainEnvironment, ChainRequest, Chains};
use crate::crowd::{Crowd, CrowdLimits};
use crate::host::{EntityId, Host, HostBuilder};
use crate::lease::SoleLease;
use crate::memory::Memories;
use crate::model::LoadedModels;
use crate::receipt_log::LogIdentity;
use crate::session::*;
use crate::timer::{Timers, TimersEnvironment, Waker};

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// The outside world: counts requests by idempotency key.
#[derive(Debug, Default)]
pub(super) struct World {
    pub effects: Mutex<BTreeMap<String, u32>>,
}

#[async_trait]
impl HttpTool for World {
    async fn send(&self, request: HttpRequest) -> HttpOutcome {
        *self.effects.lock().entry(request.idempotency_key).or_default() += 1;
        let body = Bytes::from(json!({ "ok": true, "url": request.url }).to_string());
        HttpOutcome::Answered(HttpResponse { status: 200, headers: BTreeMap::new(), body })
    }
}

/// Agents by name; their version is always 1.
#[derive(Debug, Default)]
pub(super) struct Agents(Mutex<BTreeMap<String, Arc<Loaded>>>);

impl Agents {
    pub(super) fn add(&self, name: &str, script: &str) {
        self.add_with(name, script, "");
    }

    /// The same with more in its manifest.
    pub(super) fn add_with(&self, name: &str, script: &str, more: &str) {
        let program = Program::check(&Bundle::new(script)).unwrap();
        let manifest = format!(
            "name = \"{name}\"\n[models]\nchat = \"echo\"\nembed = \"echo\"\n[http]\nallow = [\"http://world/\"]\n{more}"
        );
        let manifest = Manifest::parse(&manifest).unwrap();
        self.0.lock().insert(name.to_owned(), Arc::new(Loaded { program, manifest }));
    }

    fn find(&self, agent: &AgentId) -> Result<Arc<Loaded>, ProgramError> {
        let missing = || ProgramError { code: ErrorCode::AgentNotFound, message: format!("there is no agent {agent}") };
        self.0.lock().get(agent.as_str()).cloned().ok_or_else(missing)
    }
}

#[async_trait]
impl Programs for Agents {
    async fn current(&self, _: &ProjectId, agent: &AgentId, _: SessionId) -> Result<u64, ProgramError> {
        self.find(agent).map(|_| 1)
    }

    async fn load(&self, _: &ProjectId, agent: &AgentId, _: u64) -> Result<Arc<Loaded>, ProgramError> {
        self.find(agent)
    }
}

/// What outlives a node: its disk, the outside world, and its agents.
#[derive(Debug, Clone)]
pub(super) struct Outside {
    pub store: Arc<dyn Store>,
    pub world: Arc<World>,
    pub agents: Arc<Agents>,
    pub clock: Arc<dyn Clock>,
    pub models: Arc<LoadedModels>,
    pub chains: Chains,
    pub crowd: CrowdLimits,
}

impl Outside {
    pub(super) async fn new() -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let store: Arc<dyn Store> = Arc::new(steward_storage::MemoryStore::with_clock(Arc::clone(&clock)));
        let model: Arc<dyn Model> = ScriptedModel::echo("echo".parse().unwrap())
            .answering("count", "one two three four five six seven eight nine ten")
            .into_model();
        let outside = Self {
            store,
            world: Arc::default(),
            agents: Arc::default(),
            clock,
            models: Arc::new(LoadedModels::from_iter([model])),
            chains: Chains::default(),
            crowd: CrowdLimits::default(),
        };
        outside.give_budget(None).await;
        outside
    }

    /// Gives the project a budget, with this limit.
    pub(super) async fn give_budget(&self, limit: Option<Micros>) {
        let (project, now) = (project(), self.clock.now());
        let project = &project;
        self.store
            .run(|txn| async move {
                ledger::open_project(&txn, project, limit, Period::None, now).await?;
                ledger::set_limit(&txn, project, limit, Period::None, now).await
            })
            .await
            .unwrap();
    }

    pub(super) async fn start(&self) -> Node {
        self.try_start_on(Arc::clone(&self.store)).await.unwrap()
    }

    /// A node on another view of the same disk; none when that fails at once.
    pub(super) async fn try_start_on(&self, store: Arc<dyn Store>) -> Option<Node> {
        self.start_with(store, Arc::clone(&self.world) as _).await
    }

    /// A node whose store dies at its `commits`th commit, and whether it came to the end of `converse` before that.
    pub(super) async fn live_until(
        &self,
        commits: i64,
        death: crate::dying_store::Death,
        converse: impl AsyncFnOnce(&Node) -> bool,
    ) -> (Option<Node>, bool) {
        crate::dying_store::live_until(
            &self.store,
            commits,
            death,
            async |store| self.try_start_on(store).await,
            converse,
        )
        .await
    }

    /// A node with another outside world.
    pub(super) async fn start_with(&self, store: Arc<dyn Store>, http: Arc<dyn HttpTool>) -> Option<Node> {
        let lease = SoleLease::take(&*store).await.ok()?;
        let timers = TimersEnvironment { store: Arc::clone(&store), activity: Arc::default() };
        let (waker, activity) = (timers.clone(), Arc::clone(&timers.activity));
        let crowd = Arc::new(Crowd::new(Arc::clone(&self.clock), self.crowd));
        let environment = SessionEnvironment::new(Services {
            store: Arc::clone(&store),
            clock: Arc::clone(&self.clock),
            entropy: Arc::new(SeededEntropy::new(1)),
            programs: Arc::clone(&self.agents) as Arc<dyn Programs>,
            models: Arc::clone(&self.models) as _,
            memories: Memories::new(Arc::clone(&store)),
            chains: Arc::clone(&self.chains),
            http,
            scripts: ScriptThreads::default(),
            activity: Arc::clone(&timers.activity),
            crowd: Arc::clone(&crowd),
        });
        let identity = Arc::new(LogIdentity::new("steward.example".to_owned(), [7; 32]).unwrap());
        let chains = ChainEnvironment { store: Arc::clone(&store), identity, chains: Arc::clone(&self.chains) };
        let host = HostBuilder::new(Arc::clone(&self.clock), Arc::new(lease))
            .register::<Session>(environment)
            .register::<Timers>(timers)
            .register::<ChainActor>(chains)
            .start()
            .await
            .unwrap();
        Timers::start(&host).unwrap();
        for chain in self.chains.keys() {
            host.tell::<ChainActor>(&EntityId::new(chain).unwrap(), ChainRequest::Wake).unwrap();
        }
        let waker = Arc::new(Waker::new(host.clone(), waker, Arc::clone(&self.clock)));
        Some(Node { host, store: Arc::clone(&self.store), waker, activity, crowd })
    }
}

/// A node that runs.
#[derive(Clone)]
pub(super) struct Node {
    pub host: Host,
    pub store: Arc<dyn Store>,
    pub waker: Arc<Waker>,
    pub activity: Arc<Activity>,
    pub crowd: Arc<Crowd>,
}

impl Node {
    pub(super) async fn ask(&self, session: SessionId, request: SessionRequest) -> SessionResponse {
        let deadline = self.host.deadline(PATIENCE);
        self.host.ask::<Session>(&EntityId::from(&session), request, deadline).await.unwrap()
    }

    pub(super) async fn open(&self, session: SessionId, agent: &str) -> SessionResponse {
        self.ask(session, SessionRequest::Open(open(agent))).await
    }

    pub(super) async fn send(&self, session: SessionId, text: &str) -> Accepted {
        let message = Send { key: text.to_owned(), message: json!({ "text": text }) };
        match self.ask(session, SessionRequest::Send(message)).await {
            SessionResponse::Accepted(accepted) => accepted,
            other => panic!("not accepted: {other:?}"),
        }
    }

    pub(super) async fn decide(&self, approval: &ApprovalId, approved: bool) -> SessionResponse {
        let decide = Decide {
            approval: approval.clone(),
            approved,
            answer: Value::Null,
            comment: Some("as you like".to_owned()),
            decided_by: "alice".to_owned(),
        };
        self.ask(approval.session, SessionRequest::Decide(decide)).await
    }

    /// The events up to and with the first that `last` says is enough.
    pub(super) async fn events_until(
        &self,
        session: SessionId,
        last: impl Fn(&EventBody) -> bool,
    ) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        let mut stream = Box::pin(watch(Arc::clone(&self.store), session, 1));
        let gather = async {
            while let Some(event) = stream.next().await {
                let event = event.unwrap();
                let enough = last(&event.body);
                events.push(event);
                if enough {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, gather).await.unwrap_or_else(|_| panic!("only these came: {events:#?}"));
        events
    }

    /// The events up to the end of this turn.
    pub(super) async fn turn(&self, session: SessionId, turn: u64) -> Vec<SessionEvent> {
        let events = self.events_until_event(session, move |event| event.turn == turn && ends_turn(&event.body)).await;
        events.into_iter().filter(|event| event.turn == turn).collect()
    }

    async fn events_until_event(&self, session: SessionId, last: impl Fn(&SessionEvent) -> bool) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        let mut stream = Box::pin(watch(Arc::clone(&self.store), session, 1));
        let gather = async {
            while let Some(event) = stream.next().await {
                let event = event.unwrap();
                let enough = last(&event);
                events.push(event);
                if enough {
                    break;
                }
            }
        };
        tokio::time::timeout(PATIENCE, gather).await.unwrap_or_else(|_| panic!("only these came: {events:#?}"));
        events
    }
}

pub(super) fn ends_turn(body: &EventBody) -> bool {
    matches!(body, EventBody::TurnFinished { .. } | EventBody::TurnFailed { .. } | EventBody::TurnCancelled { .. })
}

pub(super) fn session(number: u8) -> SessionId {
    SessionId::from_bytes([number; 16])
}

pub(super) fn project() -> ProjectId {
    "acme".parse().unwrap()
}

pub(super) fn open(agent: &str) -> Open {
    Open {
        project: project(),
        agent: agent.parse().unwrap(),
        ceiling: None,
        version: None,
        label: String::new(),
        parent: None,
        depth: 0,
        message: None,
    }
}

/// The replies among events.
pub(super) fn replies(events: &[SessionEvent]) -> Vec<Value> {
    let reply = |event: &SessionEvent| match &event.body {
        EventBody::Reply { value } => Some(value.clone()),
        _ => None,
    };
    events.iter().filter_map(reply).collect()
}

/// The approval that events ask for.
pub(super) fn approval_of(events: &[SessionEvent]) -> ApprovalId {
    let asked = events.iter().find_map(|event| match &event.body {
        EventBody::ApprovalRequested { approval, .. } => Some(approval.clone()),
        _ => None,
    });
    asked.unwrap()
}
