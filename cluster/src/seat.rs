//! A node's seat in its cluster: links, membership and routing, made before the node's host and tied to it after.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use steward_actors::host::{AskError, AskJsonError, Deadline, Host, RemoteRequest, Router};
use steward_actors::lease::Lease;
use steward_actors::service::{Failure, Members, NodeAnswer, NodeQuery, Steward};
use steward_storage::Store;
use steward_types::limits::RECOVERY_SHARDS_PAUSE;
use steward_types::{Clock, Entropy, ErrorCode, NodeId};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::introduction::{INTRODUCTION_CALL, Introduce, introduce};
use crate::link::{Inbound, LinkConfig, LinkError, Links, Refusal};
use crate::member::{Cluster, ClusterConfig, ClusterError, ShardHooks};
use crate::members::{self, ClusterMembers, NODE_CALL};
use crate::models::{Desk, MODEL_CALL};
use crate::route::{ASK_REFUSED, ENTITY_CALL, Route};
use crate::shard::ShardMap;

/// Why a node could not take its seat.
#[derive(Debug, Error)]
pub enum SeatError {
    /// Its links could not be started.
    #[error("the links to other nodes could not be started")]
    Link(#[from] LinkError),
    /// It could not be registered.
    #[error("the cluster could not be joined")]
    Cluster(#[from] ClusterError),
}

/// One node's part of a cluster, ready for its host. Dropping it stops its tasks, as a crash would.
pub struct Seat {
    cluster: Cluster,
    links: Links,
    route: Arc<Route>,
    door: Arc<Door>,
    members: Arc<ClusterMembers>,
    clock: Arc<dyn Clock>,
    tasks: Mutex<JoinSet<()>>,
}

impl Seat {
    /// Starts the links, registers the node in the store, and begins to take shards once [`serve`](Self::serve) is
    /// called. `config.identity.link_address` may be empty: the address that the links listen on is taken then.
    ///
    /// # Errors
    /// See [`SeatError`]. Dropping the future may leave a member behind that others soon take for dead.
    pub async fn take(
        mut config: ClusterConfig,
        links: LinkConfig,
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, SeatError> {
        let door = Arc::new(Door {
            steward: OnceLock::new(),
            models: OnceLock::new(),
            introduce: OnceLock::new(),
            opened: Notify::new(),
            clock: Arc::clone(&clock),
        });
        let inbound = Arc::clone(&door) as Arc<dyn Inbound>;
        let identity = links.identity.clone();
        let links = Links::start(links, inbound, Arc::clone(&clock), Arc::clone(&entropy)).await?;
        if config.identity.link_address.is_empty() {
            config.identity.link_address = links.address().to_string();
        }
        let hooks = Arc::clone(&door) as Arc<dyn ShardHooks>;
        let cluster = Cluster::join(config, store, Arc::clone(&clock), entropy, hooks).await?;
        let members = Arc::new(ClusterMembers::new(&cluster, links.clone(), identity));
        let (route, tells) = Route::new(cluster.map().clone(), links.clone(), Arc::clone(&clock));
        let mut tasks = JoinSet::new();
        tasks.spawn(tells);
        Ok(Self { cluster, links, route: Arc::new(route), door, members, clock, tasks: Mutex::new(tasks) })
    }

    /// Under what the node's entities write.
    pub fn lease(&self) -> Arc<dyn Lease> {
        Arc::new(self.cluster.lease())
    }

    /// The way to other nodes' entities.
    pub fn router(&self) -> Arc<dyn Router> {
        Arc::clone(&self.route) as _
    }

    /// The cluster's nodes, for the façade.
    pub fn members(&self) -> Arc<dyn Members> {
        Arc::clone(&self.members) as _
    }

    /// This node.
    pub fn id(&self) -> NodeId {
        self.cluster.id()
    }

    /// Members, shards and their moves.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The links to other nodes.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// Opens the node to its shards and to other nodes' calls, once, and from then on wakes what works by itself in
    /// each shard that comes.
    pub fn serve(&self, steward: &Steward) {
        self.door.open(steward.clone());
        let (map, clock, steward) = (self.cluster.map().clone(), Arc::clone(&self.clock), steward.clone());
        self.tasks.lock().spawn(recover_what_comes(map, clock, steward));
    }

    /// Answers nodes that want to join and know only this one, once.
    pub fn introduce(&self, introduce: Introduce) {
        assert!(self.door.introduce.set(introduce).is_ok(), "a node says once how it introduces others");
    }

    /// Lets other nodes ask this one about its models, once.
    pub(crate) fn serve_models(&self, desk: Arc<Desk>) {
        assert!(self.door.models.set(desk).is_ok(), "a node serves its models once");
    }

    /// Hands every shard to other nodes, each once its entities have finished what they have in hand.
    ///
    /// # Errors
    /// When some are left after `within`, and the store's.
    pub async fn drain(&self, within: Duration) -> Result<(), ClusterError> {
        self.cluster.drain(within).await
    }

    /// Leaves the cluster and ends the links. What the node still holds is taken over at once.
    ///
    /// # Errors
    /// The store's: others then take the node for dead and take over a little later.
    pub async fn leave(&self) -> Result<(), ClusterError> {
        let left = self.cluster.leave().await;
        self.links.stop().await;
        left
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seat").field("node", &self.id()).finish_non_exhaustive()
    }
}

/// What others reach of the node: its façade and its models, once there are some.
struct Door {
    steward: OnceLock<Steward>,
    models: OnceLock<Arc<Desk>>,
    introduce: OnceLock<Introduce>,
    opened: Notify,
    clock: Arc<dyn Clock>,
}

impl Door {
    fn open(&self, steward: Steward) {
        assert!(self.steward.set(steward).is_ok(), "a node serves once");
        self.opened.notify_waiters();
    }

    async fn host(&self) -> &Host {
        loop {
            let opened = self.opened.notified();
            if let Some(steward) = self.steward.get() {
                return steward.host();
            }
            opened.await;
        }
    }
}

impl fmt::Debug for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Door").field("open", &self.steward.get().is_some()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Inbound for Door {
    async fn on_call(&self, from: &NodeId, kind: u16, payload: Bytes, time_left: Duration) -> Result<Bytes, Refusal> {
        let deadline = Deadline::after(self.clock.as_ref(), time_left);
        match (kind, self.models.get()) {
            (ENTITY_CALL, _) => self.on_entity_call(from, &payload, deadline).await,
            (NODE_CALL, _) => members::reply(self.on_node_call(from, &payload, deadline).await),
            (INTRODUCTION_CALL, _) => introduce(self.introduce.get()),
            (MODEL_CALL, Some(models)) => models.answer(*from, &payload).await,
            _ => Err(refusal(&AskError::UnknownKind { kind: format!("call {kind} of {from}"), known: Vec::new() })),
        }
    }
}

impl Door {
    async fn on_entity_call(&self, from: &NodeId, payload: &[u8], deadline: Deadline) -> Result<Bytes, Refusal> {
        let request: RemoteRequest = match serde_json::from_slice(payload) {
            Ok(request) => request,
            Err(error) => return Err(refusal(&AskError::Poison { cause: format!("the call of {from}: {error}") })),
        };
        let Some(steward) = self.steward.get() else {
            return Err(refusal(&AskError::Elsewhere { shard: request.shard }));
        };
        steward.host().receive(request, deadline).await.map_err(|error| match error {
            AskJsonError::Ask(error) => refusal(&error),
            error => refusal(&AskError::Poison { cause: error.to_string() }),
        })
    }

    async fn on_node_call(&self, from: &NodeId, payload: &[u8], deadline: Deadline) -> Result<NodeAnswer, Failure> {
        let unreadable = |error| Failure::field("query", format!("the question of {from} can't be read: {error}"));
        let query: NodeQuery = serde_json::from_slice(payload).map_err(unreadable)?;
        let starting = || Failure::new(ErrorCode::NodeDraining, "this node is starting");
        self.steward.get().ok_or_else(starting)?.answer(query, deadline).await
    }
}

fn refusal(error: &AskError) -> Refusal {
    let message = serde_json::to_vec(error).unwrap_or_default().into();
    Refusal::Refused { code: ASK_REFUSED, message }
}

#[async_trait]
impl ShardHooks for Door {
    async fn acquired(&self, shards: &[u32]) {
        let host = self.host().await;
        for shard in shards {
            // Nothing is live of a shard that comes, but what was stopped a moment ago and is not gone yet.
            host.release_shard(*shard, host.deadline_default()).await;
        }
    }

    async fn release(&self, shard: u32, within: Duration) {
        let host = self.host().await;
        let cut_off = host.release_shard(shard, host.deadline(within)).await;
        if cut_off > 0 {
            tracing::warn!(shard, cut_off, "entities of a shard that moves did not finish in time");
        }
    }

    fn lost(&self, shards: &[u32]) {
        if let Some(steward) = self.steward.get() {
            steward.host().stop_shards(&HashSet::from_iter(shards.iter().copied()));
        }
    }
}

/// Whenever shards have come to this node, wakes what works by itself in them. One pass serves all that came before it.
async fn recover_what_comes(map: ShardMap, clock: Arc<dyn Clock>, steward: Steward) {
    let mut before: HashSet<u32> = HashSet::new();
    loop {
        let generation = map.generation();
        let now: HashSet<u32> = (0..map.count()).filter(|shard| map.mine(*shard).is_some()).collect();
        let came = !now.is_subset(&before);
        if came && let Err(error) = steward.recover_shards().await {
            tracing::warn!(%error, "what works by itself in new shards was not woken; again soon");
            clock.sleep(RECOVERY_SHARDS_PAUSE).await;
            continue;
        }
        before = now;
        if came {
            // Shards come in batches; a moment's wait makes one pass of many.
            clock.sleep(RECOVERY_SHARDS_PAUSE).await;
        }
        map.changed_since(generation).await;
    }
}
