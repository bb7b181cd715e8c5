//! The host's way to entities on other nodes: the owner of their shard is looked up, asked over the link, and looked up
//! again when it turns out to be another.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, select};
use steward_actors::host::{AskError, Deadline, RemoteRequest, Routed, Router};
use steward_types::Clock;
use steward_types::limits::{
    MOVED_ANSWER_TIME, OVERLOAD_RETRY_AFTER, REMOTE_TELLS_AT_ONCE, REMOTE_TELLS_MAX, ROUTE_PAUSE_MAX, ROUTE_PAUSE_MIN,
};
use tokio::sync::mpsc;

use crate::link::{CallError, Lane, Links, PeerAddress};
use crate::shard::{Owner, ShardMap};

/// The kind of call that carries a request to an entity.
pub(crate) const ENTITY_CALL: u16 = 1;
/// The code of a refusal whose message is an [`AskError`] in JSON.
pub(crate) const ASK_REFUSED: u16 = 1;

/// Routes by the shard map over the links.
#[derive(Clone)]
pub struct Route {
    map: ShardMap,
    links: Links,
    clock: Arc<dyn Clock>,
    tells: mpsc::Sender<RemoteRequest>,
}

/// What to do after a try that brought no answer.
enum Failed {
    /// Nothing was done, or doing it again does no harm.
    Again(AskError),
    /// It is over.
    For(AskError),
}

impl Route {
    /// A router, and what carries out its tells: to be run for as long as the node lives.
    pub fn new(map: ShardMap, links: Links, clock: Arc<dyn Clock>) -> (Self, impl Future<Output = ()> + Send) {
        let (tells, told) = mpsc::channel(REMOTE_TELLS_MAX);
        let route = Self { map, links, clock, tells };
        // The tasks hold no sender, so that they end with the last router.
        let (map, links, clock) = (route.map.clone(), route.links.clone(), Arc::clone(&route.clock));
        (route, carry_tells(map, links, clock, told))
    }

    /// One try. The owner that is asked may lose the shard meanwhile, without a word if it is paused.
    async fn try_owner(
        &self,
        owner: Owner,
        request: &RemoteRequest,
        body: Bytes,
        left: Duration,
    ) -> Result<Bytes, Failed> {
        let unreachable = |cause: String, sent| AskError::Unreachable { node: owner.node.to_string(), cause, sent };
        let Some(address) = resolve(&owner.address).await else {
            return Err(Failed::Again(unreachable(format!("its address {:?} leads nowhere", owner.address), false)));
        };
        let peer = PeerAddress { node: owner.node, address };
        let call = std::pin::pin!(async {
            if request.idempotent {
                self.links.call_idempotent(&peer, Lane::Data, ENTITY_CALL, body, left).await
            } else {
                self.links.call(&peer, Lane::Data, ENTITY_CALL, body, left).await
            }
        });
        match select(call, std::pin::pin!(self.taken_from(&owner, request))).await {
            Either::Left((Ok(answer), _)) => Ok(answer),
            Either::Left((Err(error), _)) => Err(self.on_error(error, request, unreachable)),
            Either::Right(((), _)) => {
                let lost = unreachable("its shard has another owner meanwhile".to_owned(), true);
                Err(if request.idempotent { Failed::Again(lost) } else { Failed::For(lost) })
            }
        }
    }

    /// Returns once the shard is another's and `owner` is not worth waiting for. Who gave it away has answered, or turned
    /// away, all that came before, and the map may know of it sooner: only what must not be made twice waits for that, as
    /// one that was paused says nothing.
    async fn taken_from(&self, owner: &Owner, request: &RemoteRequest) {
        self.owner_changed(request.shard, owner).await;
        if !request.idempotent {
            self.clock.sleep(MOVED_ANSWER_TIME).await;
        }
    }

    fn on_error(
        &self,
        error: CallError,
        request: &RemoteRequest,
        unreachable: impl Fn(String, bool) -> AskError,
    ) -> Failed {
        let cause = error.to_string();
        match error {
            CallError::Unreachable { .. } => Failed::Again(unreachable(cause, false)),
            CallError::Lost { .. } if request.idempotent => Failed::Again(unreachable(cause, true)),
            CallError::Lost { .. } => Failed::For(unreachable(cause, true)),
            CallError::DeadlineExceeded { .. } => Failed::For(AskError::DeadlineExceeded),
            CallError::Overloaded { retry_after, .. } => Failed::For(AskError::Overloaded { retry_after }),
            CallError::TooLarge { bytes, limit, .. } => {
                let size = |bytes| usize::try_from(bytes).unwrap_or(usize::MAX);
                Failed::For(AskError::TooLarge { bytes: size(bytes), limit: size(limit) })
            }
            CallError::VersionMismatch { .. } => Failed::For(unreachable(cause, false)),
            CallError::Refused { code, message, .. } => match serde_json::from_slice::<AskError>(&message) {
                // Nothing was done there: the shard is on its way, or this node's map is old.
                Ok(refusal @ (AskError::Elsewhere { .. } | AskError::Draining)) => Failed::Again(refusal),
                Ok(refusal @ (AskError::Fenced | AskError::Stopped)) if request.idempotent => Failed::Again(refusal),
                Ok(refusal) if code == ASK_REFUSED => Failed::For(refusal),
                _ => Failed::For(unreachable(cause, true)),
            },
        }
    }

    /// Returns once the shard has another owner than `owner`.
    async fn owner_changed(&self, shard: u32, owner: &Owner) {
        loop {
            let generation = self.map.generation();
            let now = self.map.owner(shard);
            if now.is_some_and(|now| (now.node, now.incarnation) != (owner.node, owner.incarnation)) {
                return;
            }
            self.map.changed_since(generation).await;
        }
    }
}

#[async_trait]
impl Router for Route {
    fn is_here(&self, shard: u32) -> bool {
        self.map.mine(shard).is_some()
    }

    async fn ask(&self, request: RemoteRequest, deadline: Deadline) -> Result<Routed, AskError> {
        let body = serde_json::to_vec(&request).map(Bytes::from);
        let body = body.map_err(|error| AskError::Poison { cause: error.to_string() })?;
        let mut pause = ROUTE_PAUSE_MIN;
        let mut last = AskError::Elsewhere { shard: request.shard };
        loop {
            let generation = self.map.generation();
            if self.is_here(request.shard) {
                return Ok(Routed::Here);
            }
            let left = deadline.remaining(self.clock.as_ref());
            if left.is_zero() {
                // What stood in the way says more than that time is up.
                return Err(last);
            }
            // This node may own it in the store and not serve it yet, or not any more.
            let owner = self.map.owner(request.shard).filter(|owner| owner.node != self.map.node());
            if let Some(owner) = owner {
                match self.try_owner(owner, &request, body.clone(), left).await {
                    Ok(answer) => return Ok(Routed::Answer(answer)),
                    Err(Failed::For(error)) => return Err(error),
                    Err(Failed::Again(error)) => last = error,
                }
            }
            let left = deadline.remaining(self.clock.as_ref());
            let changed = std::pin::pin!(self.map.changed_since(generation));
            if let Either::Right(_) = select(changed, self.clock.sleep(pause.min(left))).await {
                // An unreadable store shows itself in the next try, or in the deadline.
                let _ = self.map.refresh().await;
                pause = (pause * 2).min(ROUTE_PAUSE_MAX);
            }
        }
    }

    fn tell(&self, request: RemoteRequest) -> Result<(), AskError> {
        self.tells.try_send(request).map_err(|_| AskError::Overloaded { retry_after: OVERLOAD_RETRY_AFTER })
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("node", &self.map.node()).finish_non_exhaustive()
    }
}

async fn carry_tells(map: ShardMap, links: Links, clock: Arc<dyn Clock>, told: mpsc::Receiver<RemoteRequest>) {
    // Its own sender is never used.
    let (tells, _) = mpsc::channel(1);
    let route = Route { map, links, clock, tells };
    let requests = futures::stream::unfold(told, |mut told| async move { told.recv().await.map(|next| (next, told)) });
    let route = &route;
    requests
        .for_each_concurrent(REMOTE_TELLS_AT_ONCE, |request| async move {
            let (kind, id) = (request.kind.clone(), request.id.clone());
            let deadline = Deadline::after(route.clock.as_ref(), steward_types::limits::CALL_TIME_DEFAULT);
            if let Err(error) = route.ask(request, deadline).await {
                tracing::debug!(kind, %id, %error, "a message to another node is lost");
            }
        })
        .await;
}

/// The address of a name and port, or of an IP address and port.
pub(crate) async fn resolve(address: &str) -> Option<SocketAddr> {
    match address.parse() {
        Ok(address) => Some(address),
        Err(_) => tokio::net::lookup_host(address).await.ok()?.next(),
    }
}
