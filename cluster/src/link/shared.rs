//! What the tasks of one node's links have in common.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{Actor, ActorRef};
use ractor_cluster::NodeServerMessage;
use steward_types::{Clock, Entropy, NodeId};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::Answers;
use super::config::LinkConfig;
use super::error::LinkError;
use super::inbound::InboundChannel;
use super::outbound::Outbound;
use super::peers::Peers;
use super::sessions::{Batch, Connection, Opening, Openings, Router, Routes, SessionHost};
use super::transport::Transport;
use super::{Inbound, Lane};

/// The parts of one node's links.
pub(super) struct Shared {
    pub config: LinkConfig,
    pub handler: Arc<dyn Inbound>,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    pub peers: Peers,
    pub outbound: Mutex<HashMap<(NodeId, Lane), Arc<Outbound>>>,
    pub inbound: Mutex<HashMap<(NodeId, Lane), Arc<InboundChannel>>>,
    pub answers: Answers,
    pub tasks: TaskTracker,
    pub stop: CancellationToken,
    host: ActorRef<NodeServerMessage>,
    openings: Openings,
    control: LaneRouter,
    data: LaneRouter,
}

struct LaneRouter {
    actor: ActorRef<Batch>,
    routes: Routes,
}

impl LaneRouter {
    async fn start() -> Result<Self, LinkError> {
        let routes = Routes::default();
        let (actor, _) = Actor::spawn(None, Router, routes.clone()).await.map_err(LinkError::Actor)?;
        Ok(Self { actor, routes })
    }
}

impl Shared {
    /// Starts the actors.
    pub async fn start(
        config: LinkConfig,
        handler: Arc<dyn Inbound>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Arc<Self>, LinkError> {
        let openings = Openings::default();
        let (host, _) = Actor::spawn(None, SessionHost, openings.clone()).await.map_err(LinkError::Actor)?;
        let (control, data) = (LaneRouter::start().await?, LaneRouter::start().await?);
        Ok(Arc::new(Self {
            config,
            handler,
            clock,
            entropy,
            peers: Peers::new(),
            outbound: Mutex::default(),
            inbound: Mutex::default(),
            answers: Answers::default(),
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            host,
            openings,
            control,
            data,
        }))
    }

    /// Where batches of a lane are sorted to their connections.
    pub fn routes(&self, lane: Lane) -> &Routes {
        &self.router(lane).routes
    }

    /// Number of the actor that other nodes reach on a lane.
    pub fn router_number(&self, lane: Lane) -> u64 {
        self.router(lane).actor.get_id().pid()
    }

    fn router(&self, lane: Lane) -> &LaneRouter {
        match lane {
            Lane::Control => &self.control,
            Lane::Data => &self.data,
        }
    }

    /// Gives an authenticated stream to ractor_cluster and waits until the peer's router can be reached over it.
    /// `None` when the connection broke before.
    pub async fn open(&self, transport: Transport, is_server: bool, cookie: String, router: u64) -> Option<Connection> {
        let (ready, connection) = oneshot::channel();
        let close = transport.close.clone();
        self.openings.announce(transport.label.clone(), Opening { cookie, router, close: close.clone(), ready });
        let opened = NodeServerMessage::ConnectionOpenedExternal { stream: Box::new(transport), is_server };
        self.host.cast(opened).ok()?;
        tokio::select! {
            connection = connection => connection.ok(),
            () = close.cancelled() => None,
        }
    }

    /// A random wait before the given attempt, counted from 0.
    pub fn backoff(&self, attempt: u32) -> Duration {
        let timing = &self.config.timing;
        let bound = timing.backoff_min.saturating_mul(1 << attempt.min(16)).min(timing.backoff_max);
        let micros = u64::try_from(bound.as_micros()).unwrap_or(u64::MAX).max(1);
        Duration::from_micros(self.entropy.next_u64() % micros)
    }

    /// Tells every task and actor to end.
    pub fn shut_down(&self) {
        self.stop.cancel();
        self.outbound.lock().drain().for_each(|(_, channel)| channel.end());
        self.inbound.lock().clear();
        self.host.stop(None);
        self.control.actor.stop(None);
        self.data.actor.stop(None);
        self.tasks.close();
    }
}

/// The future's output, or `None` when `limit` passes first.
pub(super) async fn within<F: Future>(clock: &dyn Clock, limit: Duration, future: F) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(limit) => None,
    }
}
