//! The models of a cluster: which node has which, and the way from a session to a replica on whatever node.
//!
//! The store says what is offered, what each node has, and where replicas should be (`board`); the plan is a pure
//! function of it (`plan`); each node does its own part (`tend`). Others' replicas are asked over the links (`call`,
//! `desk`); a [`Model`](steward_inference::Model) of this catalog finds one for each request (`routed`) and takes a
//! generation on elsewhere when its node is lost (`relay`). So nobody above knows on which node a model is.

mod affinity;
mod board;
mod call;
mod catalog;
mod desk;
mod plan;
mod relay;
mod remote;
mod replicas;
mod routed;
mod shelf;
mod tend;

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use steward_actors::host::Host;
use steward_inference::{Devices, ModelLoader};
use steward_storage::{Store, StoreError};
use steward_types::{Clock, Entropy, ModelId, NodeId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

pub use board::{Board, DeviceReport, MachineRecord, ReplicaReport, ReplicaState};
pub use plan::{Missing, Plan, needed_bytes, plan};

pub(crate) use call::MODEL_CALL;
pub(crate) use desk::Desk;

use crate::link::Links;
use crate::member::NodeState;
use crate::seat::Seat;
use crate::shard::ShardMap;

/// What a node's models are made of.
pub struct ModelParts {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where names of generations come from.
    pub entropy: Arc<dyn Entropy>,
    /// Opens models; finds their files on this node.
    pub loader: Arc<dyn ModelLoader>,
    /// Where models may be, and the memory that they may take there.
    pub devices: Devices,
}

/// The models of a cluster, as one of its nodes offers them. Dropping it stops what it does by itself.
pub struct ClusterModels {
    shared: Arc<Shared>,
    tasks: Mutex<JoinSet<()>>,
}

/// What the parts of one node have in common.
struct Shared {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    map: ShardMap,
    links: Links,
    shelf: Arc<shelf::Shelf>,
    desk: Arc<Desk>,
    board: watch::Sender<Arc<Board>>,
    /// When the board was read, by the monotonic clock.
    read_at: Mutex<Duration>,
    kick: Notify,
    affinity: affinity::Affinity,
    loads: replicas::Loads,
    /// Cancellations on their way.
    farewells: TaskTracker,
    host: OnceLock<Host>,
}

impl ClusterModels {
    /// Begins to tell other nodes of this one's devices, to load what it should have, and to serve it to them.
    ///
    /// # Errors
    /// The store's, when the models cannot be read.
    pub async fn start(seat: &Seat, parts: ModelParts) -> Result<Arc<Self>, StoreError> {
        let ModelParts { store, clock, entropy, loader, devices } = parts;
        let shelf = Arc::new(shelf::Shelf::new(loader, devices));
        let desk = Arc::new(Desk::new(Arc::clone(&shelf), Arc::clone(&clock)));
        let shared = Arc::new(Shared {
            map: seat.cluster().map().clone(),
            links: seat.links().clone(),
            desk: Arc::clone(&desk),
            board: watch::Sender::default(),
            read_at: Mutex::default(),
            kick: Notify::new(),
            affinity: affinity::Affinity::default(),
            loads: replicas::Loads::default(),
            farewells: TaskTracker::new(),
            host: OnceLock::new(),
            store,
            clock,
            entropy,
            shelf,
        });
        shared.refresh().await?;
        seat.serve_models(desk);
        let mut tasks = JoinSet::new();
        tasks.spawn(tend::run(Arc::clone(&shared)));
        Ok(Arc::new(Self { shared, tasks: Mutex::new(tasks) }))
    }

    /// Lets operators see the models and devices of this node as entities of its host.
    pub fn show_on(&self, host: &Host) {
        if self.shared.host.set(host.clone()).is_ok() {
            self.shared.kick.notify_one();
        }
    }

    /// Models and machines as last read.
    pub fn board(&self) -> Arc<Board> {
        self.shared.board()
    }

    /// Returns once the board is as the caller wants it; the caller bounds the wait.
    pub async fn until(&self, condition: impl Fn(&Board) -> bool) -> Arc<Board> {
        let mut board = self.shared.board.subscribe();
        // An error needs the sender gone, which this handle keeps.
        match board.wait_for(|board| condition(board)).await {
            Ok(board) => Arc::clone(&board),
            Err(_) => self.board(),
        }
    }

    /// Returns once this node, which drains, has nothing left that others need: each of its replicas is ready
    /// elsewhere, or there is nowhere else, and no generation runs here for another node. The caller bounds the wait.
    pub async fn drained(&self) {
        let me = self.shared.map.node();
        self.until(|board| {
            let mut others = board.all_living().filter(|(member, _)| member.id != me);
            if !others.any(|(member, _)| member.state == NodeState::Up) {
                return true;
            }
            let plan = plan(board);
            let has_one = |(model, replicas): (&ModelId, &Vec<crate::placement::Replica>)| {
                replicas.iter().any(|replica| replica.node == me) && !plan.missing.contains_key(model)
            };
            !board.placed.iter().any(has_one) && !plan.placed.iter().any(has_one)
        })
        .await;
        self.shared.desk.emptied().await;
    }

    /// Generations that run here for other nodes.
    pub fn serving(&self) -> usize {
        self.shared.desk.count()
    }

    /// Stops what it does by itself. What runs for others ends with the links.
    pub async fn stop(&self) {
        let mut tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.shutdown().await;
        self.shared.farewells.close();
        self.shared.farewells.wait().await;
    }
}

impl Shared {
    fn board(&self) -> Arc<Board> {
        Arc::clone(&self.board.borrow())
    }

    fn me(&self) -> NodeId {
        self.map.node()
    }

    /// Reads the board again, now.
    async fn refresh(&self) -> Result<Arc<Board>, StoreError> {
        let txn = self.store.begin();
        let board = Board::load(&txn).await?;
        txn.commit().await?;
        Ok(self.publish(board))
    }

    /// Makes a board known unless a newer one is known already.
    fn publish(&self, board: Board) -> Arc<Board> {
        *self.read_at.lock() = self.clock.monotonic();
        self.board.send_if_modified(|known| {
            let is_news = board.version >= known.version && **known != board;
            if is_news {
                *known = Arc::new(board);
            }
            is_news
        });
        self.board()
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("node", &self.me()).finish_non_exhaustive()
    }
}

impl fmt::Debug for ClusterModels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let board = self.board();
        f.debug_struct("ClusterModels").field("version", &board.version).field("models", &board.offers.len()).finish()
    }
}

impl fmt::Debug for ModelParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ModelParts").field("store", &self.store).field("loader", &self.loader).finish_non_exhaustive()
    }
}
