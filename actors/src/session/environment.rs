//! What a node gives to its sessions: the store, programs, models, tools, and threads for scripts.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use steward_adapters::HttpTool;
use steward_scripting::{Bundle, Manifest, Program};
use steward_storage::Store;
use steward_types::{AgentId, Clock, Entropy, ErrorCode, ProjectId, SessionId};
use thiserror::Error;

use super::ScriptThreads;
use crate::activity::Activity;
use crate::chain::Chains;
use crate::crowd::Crowd;
use crate::memory::Memories;
use crate::model::Models;

/// Where sessions get their agents from. Versions never change once they are given out.
#[async_trait]
pub trait Programs: Send + Sync + fmt::Debug + 'static {
    /// The version that a new turn of this session takes: the newest, or a canary for its share of sessions.
    async fn current(&self, project: &ProjectId, agent: &AgentId, session: SessionId) -> Result<u64, ProgramError>;

    /// A version, checked and ready to run.
    async fn load(&self, project: &ProjectId, agent: &AgentId, version: u64) -> Result<Arc<Loaded>, ProgramError>;
}

/// One version of an agent, ready to run.
#[derive(Debug)]
pub struct Loaded {
    /// The checked script.
    pub program: Program,
    /// What the agent may do.
    pub manifest: Manifest,
}

impl Loaded {
    /// An agent that does nothing, in the place of one that can't be loaded.
    pub(super) fn none(name: &AgentId) -> Self {
        let program = Program::check(&Bundle::new("fn on_message(message) {}")).expect("an empty script is sound");
        let manifest = Manifest::parse(&format!("name = \"{name}\"")).expect("a manifest needs a name only");
        Self { program, manifest }
    }
}

/// Why an agent's version can't be run.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ProgramError {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
}

/// What a node gives to its sessions. Cheap to clone.
#[derive(Clone)]
pub struct SessionEnvironment(Arc<Services>);

/// The parts of a [`SessionEnvironment`].
#[derive(Debug)]
pub struct Services {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where `uuid` and `random` come from.
    pub entropy: Arc<dyn Entropy>,
    /// The agents.
    pub programs: Arc<dyn Programs>,
    /// The models.
    pub models: Arc<dyn Models>,
    /// What the projects remember.
    pub memories: Memories,
    /// The chains.
    pub chains: Chains,
    /// The `http` function.
    pub http: Arc<dyn HttpTool>,
    /// Threads that scripts run on.
    pub scripts: ScriptThreads,
    /// What the node has done.
    pub activity: Arc<Activity>,
    /// How much it works on at once.
    pub crowd: Arc<Crowd>,
}

impl SessionEnvironment {
    /// Puts the parts together.
    pub fn new(services: Services) -> Self {
        Self(Arc::new(services))
    }
}

impl std::ops::Deref for SessionEnvironment {
    type Target = Services;

    fn deref(&self) -> &Services {
        &self.0
    }
}

impl fmt::Debug for SessionEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionEnvironment").field("store", &self.0.store.name()).finish_non_exhaustive()
    }
}
