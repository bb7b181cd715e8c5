//! The façade of a node: everything that the edge, the command line's own parts and tests ask of it, as typed async
//! methods. It decides nothing about who may ask; it checks only that what is asked for belongs to the project named.

mod actors;
mod agents;
mod approvals;
mod budgets;
mod chains;
mod direct;
mod doctor;
mod error;
mod growth;
mod idempotency;
mod keys;
mod members;
mod models;
mod modules;
mod operator;
mod projects;
mod query;
mod receipts;
mod replay;
mod sessions;
mod start;
mod store_stats;
mod trace;
mod triggers;
mod why;

use std::fmt;
use std::sync::Arc;

use steward_storage::Store;
use steward_types::{Clock, Entropy, ProjectId, Timestamp};
use tokio::task::JoinSet;

use crate::activity::Activity;
use crate::chain::Chains;
use crate::crowd::Crowd;
use crate::host::{Deadline, Host};
use crate::receipt_log::LogIdentity;
use crate::session::Programs;

pub use actors::{ActorPage, ActorPlace, ActorState};
pub use agents::{AgentView, DeployedAgent};
pub use approvals::{ApprovalFilter, Decision};
pub use budgets::BudgetTree;
pub use direct::{DirectCall, DirectChat, DirectChatEvent, DirectEmbedding, DirectUsage};
pub use doctor::{Diagnosis, Finding, Severity};
pub use error::{Failure, FieldViolation};
pub use growth::ConsistencyView;
pub use keys::{Caller, NewKey};
pub use members::{Alone, ClusterChange, Member, MemberState, Members, ShardPlace, unknown_node};
pub use models::{ModelCatalog, ModelState, ModelView, PlacedReplica, StoredModels};
pub use modules::{ModuleAgent, ModuleView};
pub use operator::Operator;
pub use projects::NewProject;
pub use query::{Gathered, MissingNode, ModelLine, NodeAnswer, NodeQuery, NodeReport};
pub use receipts::{AnchorState, Anchoring, CheckpointView, NoAnchoring, ProofCheck, ReceiptView, unknown_chain};
pub use replay::Replayed;
pub use sessions::{JournalLine, JournalPage, NewSession, SessionFilter, TurnOutcome};
pub use start::{MakeAnchoring, NodeParts, RegisterKinds, StartError};
pub use store_stats::{StorePart, StoreStats};
pub use trace::{Trace, TraceId, TraceLine};
pub use triggers::TriggerView;
pub use why::Why;

/// What a façade is made of.
#[derive(Debug)]
pub struct Parts {
    /// The entities.
    pub host: Host,
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where keys and ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// The models.
    pub models: Arc<dyn ModelCatalog>,
    /// The agents' programs.
    pub programs: Arc<dyn Programs>,
    /// Who signs the receipt logs.
    pub log: Arc<LogIdentity>,
    /// The chains that receipts are anchored on.
    pub anchoring: Arc<dyn Anchoring>,
    /// The chains whose events start sessions.
    pub chains: Chains,
    /// The nodes of the cluster.
    pub members: Arc<dyn Members>,
    /// What the node has done.
    pub activity: Arc<Activity>,
    /// How much it works on at once.
    pub crowd: Arc<Crowd>,
}

/// A node, as its edge sees it. Clones are the same node.
#[derive(Clone)]
pub struct Steward(Arc<Inner>);

struct Inner {
    parts: Parts,
    lanes: crate::budget::Lanes,
    direct_calls: tokio_util::task::TaskTracker,
    started: Timestamp,
    /// Carries out what operators order of breakers, as long as the node lives.
    _following: JoinSet<()>,
}

/// Whose things may be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Those of one project.
    Project(ProjectId),
    /// Those of every project: an operator's.
    Everything,
}

impl Reach {
    /// Whether it covers a project.
    pub fn covers(&self, project: &ProjectId) -> bool {
        match self {
            Self::Project(own) => own == project,
            Self::Everything => true,
        }
    }
}

impl Steward {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let (lanes, direct_calls) = (crate::budget::Lanes::new(), tokio_util::task::TaskTracker::new());
        let started = parts.clock.now();
        let (store, chains, clock) = (Arc::clone(&parts.store), Arc::clone(&parts.chains), Arc::clone(&parts.clock));
        let _following = crate::chain::forced::follow(store, chains, clock);
        Self(Arc::new(Inner { parts, lanes, direct_calls, started, _following }))
    }

    /// Sets the gauges of its chains, its devices and its places to what is so now.
    pub fn show_metrics(&self) {
        let now = self.clock().now();
        self.0.parts.chains.values().for_each(|chain| chain.show_metrics(now));
        crate::device::show_metrics(&self.0.parts.models.devices());
        self.0.parts.crowd.show_metrics();
    }

    /// The entities.
    pub fn host(&self) -> &Host {
        &self.0.parts.host
    }

    /// The store.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.0.parts.store
    }

    /// The time.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.parts.clock
    }

    /// Where keys and ids come from.
    pub fn entropy(&self) -> &dyn Entropy {
        self.0.parts.entropy.as_ref()
    }

    /// Waits until every direct call that has begun is settled. Call it before the store is closed.
    pub async fn settle_direct_calls(&self) {
        self.0.direct_calls.close();
        self.0.direct_calls.wait().await;
    }

    /// The nodes of the cluster.
    pub fn members(&self) -> &dyn Members {
        self.0.parts.members.as_ref()
    }

    /// When this node started.
    pub fn started(&self) -> Timestamp {
        self.0.started
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }

    fn deadline(&self) -> Deadline {
        self.host().deadline_default()
    }
}

impl fmt::Debug for Steward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Steward").field("host", self.host()).finish_non_exhaustive()
    }
}
