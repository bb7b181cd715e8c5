//! Starting a node: the lease, every kind of entity, and the services that stand by themselves.

use std::fmt;
use std::sync::Arc;

use steward_adapters::HttpTool;
use steward_storage::{Store, StoreError};
use steward_types::limits::SHARDS;
use steward_types::{Clock, Entropy};
use thiserror::Error;

use super::{Alone, Anchoring, Failure, Members, ModelCatalog, NoAnchoring, Parts, Steward};
use crate::activity::Activity;
use crate::agent::{Agent, AgentEnvironment, StoredPrograms};
use crate::budget::{Budget, BudgetEnvironment};
use crate::chain::Chains;
use crate::crowd::{Crowd, CrowdLimits};
use crate::device::Device;
use crate::host::{Host, HostBuilder, HostLimits, Router};
use crate::lease::{Lease, SoleLease};
use crate::model::ModelReplica;
use crate::project::{Project, ProjectEnvironment};
use crate::receipt_log::{LogIdentity, ReceiptLog, ReceiptLogEnvironment};
use crate::session::{Programs, ScriptThreads, Services, Session, SessionEnvironment};
use crate::timer::{Timers, TimersEnvironment};
use crate::trigger::{TriggerActor, TriggerEnvironment};

/// Adds kinds to a host before it starts.
pub type RegisterKinds = Box<dyn FnOnce(HostBuilder) -> HostBuilder + Send>;
/// Makes the anchoring over a host that has started.
pub type MakeAnchoring = Box<dyn FnOnce(&Host) -> Arc<dyn Anchoring> + Send>;

/// What a node is started from: the drivers that were chosen for it.
pub struct NodeParts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where keys and ids come from.
    pub entropy: Arc<dyn Entropy>,
    /// The models.
    pub models: Arc<dyn ModelCatalog>,
    /// The `http` function.
    pub http: Arc<dyn HttpTool>,
    /// The chains that sessions may read, and send on as far as they are allowed to, and whose events start sessions.
    pub chains: Chains,
    /// Who signs the receipt logs.
    pub log: Arc<LogIdentity>,
    /// Under what the node writes; none for a node that is alone on its store and takes the lease from any other.
    pub lease: Option<Arc<dyn Lease>>,
    /// The way to other nodes' entities; none for a node that is alone.
    pub router: Option<Arc<dyn Router>>,
    /// The nodes of the cluster; none for a node that is alone.
    pub members: Option<Arc<dyn Members>>,
    /// The host's bounds.
    pub limits: HostLimits,
    /// How much the node works on at once.
    pub crowd: CrowdLimits,
    /// Adds further kinds, such as those of chains.
    pub register: RegisterKinds,
    /// Makes the anchoring over the host that has those kinds.
    pub anchoring: MakeAnchoring,
}

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The store failed.
    #[error("the store could not be read or written")]
    Store(#[from] StoreError),
    /// The supervisors could not be started, which is a bug.
    #[error("the host could not be started: {0}")]
    Host(String),
    /// A service could not be woken.
    #[error("a service could not be started")]
    Service(#[from] Failure),
}

impl NodeParts {
    /// Parts without chains, with the default bounds.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        models: Arc<dyn ModelCatalog>,
        http: Arc<dyn HttpTool>,
        log: Arc<LogIdentity>,
    ) -> Self {
        Self {
            store,
            clock,
            entropy,
            models,
            http,
            chains: Chains::default(),
            log,
            lease: None,
            router: None,
            members: None,
            limits: HostLimits::default(),
            crowd: CrowdLimits::default(),
            register: Box::new(|builder| builder),
            anchoring: Box::new(|_| Arc::new(NoAnchoring)),
        }
    }

    /// Takes the lease from whoever had it, starts the host with every kind, recovers what was in flight, and wakes
    /// what works by itself.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(self) -> Result<Steward, StartError> {
        let Self {
            store,
            clock,
            entropy,
            models,
            http,
            chains,
            log,
            lease,
            router,
            members,
            limits,
            crowd,
            register,
            anchoring,
        } = self;
        let lease = match lease {
            Some(lease) => lease,
            None => Arc::new(SoleLease::take(store.as_ref()).await?),
        };
        let members = members.unwrap_or_else(|| Arc::new(Alone::new(SHARDS, clock.now())));
        let activity = Arc::new(Activity::default());
        let crowd = Arc::new(Crowd::new(Arc::clone(&clock), crowd));
        let programs: Arc<dyn Programs> = Arc::new(StoredPrograms::new(Arc::clone(&store), Arc::clone(&chains)));
        let sessions = SessionEnvironment::new(Services {
            store: Arc::clone(&store),
            clock: Arc::clone(&clock),
            entropy: Arc::clone(&entropy),
            programs: Arc::clone(&programs),
            models: Arc::clone(&models) as _,
            chains: Arc::clone(&chains),
            http,
            memories: crate::memory::Memories::new(Arc::clone(&store)),
            scripts: ScriptThreads::default(),
            activity: Arc::clone(&activity),
            crowd: Arc::clone(&crowd),
        });
        let mut builder = HostBuilder::new(Arc::clone(&clock), lease).limits(limits);
        if let Some(router) = router {
            builder = builder.router(router);
        }
        let triggers = TriggerEnvironment {
            store: Arc::clone(&store),
            entropy: Arc::clone(&entropy),
            chains: Arc::clone(&chains),
        };
        let builder = builder
            .register::<TriggerActor>(triggers)
            .register::<Project>(ProjectEnvironment { store: Arc::clone(&store) })
            .register::<Agent>(AgentEnvironment { store: Arc::clone(&store) })
            .register::<Session>(sessions)
            .register::<Timers>(TimersEnvironment { store: Arc::clone(&store), activity: Arc::clone(&activity) })
            .register::<Device>(Arc::clone(&models) as _)
            .register::<ModelReplica>(Arc::clone(&models) as _)
            .register::<Budget>(BudgetEnvironment { store: Arc::clone(&store) })
            .register::<ReceiptLog>(ReceiptLogEnvironment { store: Arc::clone(&store), identity: Arc::clone(&log) });
        let host = register(builder).start().await.map_err(|error| StartError::Host(error.to_string()))?;
        let anchoring = anchoring(&host);
        let parts =
            Parts { host, store, clock, entropy, models, programs, log, anchoring, chains, members, activity, crowd };
        let steward = Steward::new(parts);
        steward.wake_projects().await?;
        steward.wake_models().await?;
        steward.wake_triggers().await?;
        Timers::start(steward.host()).map_err(Failure::from)?;
        Ok(steward)
    }
}

impl fmt::Debug for NodeParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeParts").field("store", &self.store).finish_non_exhaustive()
    }
}
