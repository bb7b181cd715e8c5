//! Node-to-node traffic: mutually authenticated links over ractor_cluster, with deadlines, credit and resumption.
//!
//! A *link* to a peer has two *lanes*, control and data, each a *channel* of its own: a TLS connection that is dialled
//! again when it breaks, under sequence numbers that outlive it. Calls to a peer go over connections that this node
//! dialled; calls of a peer come over connections that the peer dialled. ractor_cluster carries batches of frames
//! between the two routers of a lane; who a peer is comes from its certificate alone.

mod accept;
mod answers;
pub mod authority;
mod config;
mod dial;
mod error;
mod frame;
mod handshake;
mod identity;
mod inbound;
mod line;
mod outbound;
mod peers;
mod sessions;
mod shared;
mod transport;
mod validity;
mod wire;

use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use steward_types::{Clock, Entropy, NodeId};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

pub use authority::{AuthorityError, ClusterAuthority, NodeCertificate};
pub use config::{LinkConfig, LinkLimits, LinkTiming, PROTOCOL_VERSIONS, Versions};
pub use dial::{IdentifyError, identify};
pub use error::{CallError, LinkError, REFUSED_PANIC, Refusal};
pub use identity::{IdentityError, LinkIdentity};
pub use peers::{PeerEvent, PeerState};

use outbound::{Outbound, Question};
use shared::{Shared, within};

/// Which of a peer's two connections a call takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Lane {
    /// Small and urgent: membership, leases, moves of shards. It stays fast while the data lane is full.
    Control,
    /// Everything else.
    Data,
}

/// A peer and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PeerAddress {
    /// The peer; its certificate must name it.
    pub node: NodeId,
    /// Where it accepts links.
    pub address: SocketAddr,
}

/// What a node does with the calls of its peers.
#[async_trait]
pub trait Inbound: Send + Sync + 'static {
    /// Answers one call of `from`, the node that the peer's certificate names. The caller stops waiting after
    /// `time_left`; the link does not stop the handler then, and counts the call against the peer's credit until the
    /// handler returns.
    ///
    /// Calls of one peer on one lane are polled for the first time in the order in which it made them, on one task:
    /// what must keep that order happens before the first `await`, and nothing there may block.
    ///
    /// # Errors
    /// A [`Refusal`] reaches the caller as [`CallError::Refused`] or [`CallError::Overloaded`].
    async fn on_call(&self, from: &NodeId, kind: u16, payload: Bytes, time_left: Duration) -> Result<Bytes, Refusal>;
}

/// The links of one node. Cheap to clone; they end when the last clone is dropped, or with [`Links::stop`].
#[derive(Clone)]
pub struct Links {
    shared: Arc<Shared>,
    address: SocketAddr,
    _owner: Arc<Owner>,
}

struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.shut_down();
    }
}

impl Links {
    /// Listens for other nodes and answers their calls through `inbound`.
    ///
    /// # Errors
    /// When the address cannot be listened on, or the certificate is another node's.
    pub async fn start(
        config: LinkConfig,
        inbound: Arc<dyn Inbound>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, LinkError> {
        let certificate = *config.identity.borrow().node();
        if certificate != config.node {
            return Err(LinkError::WrongIdentity { node: config.node, certificate });
        }
        let listen = |source| LinkError::Listen { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let shared = Shared::start(config, inbound, clock, entropy).await?;
        shared.tasks.spawn(accept::accept(shared.clone(), listener));
        Ok(Self { address, _owner: Arc::new(Owner(shared.clone())), shared })
    }

    /// Where this node accepts links.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// This node.
    pub fn node(&self) -> NodeId {
        self.shared.config.node
    }

    /// Calls the peer and waits for its answer, at most for `deadline`. A call is done at most once. `kind` is for the
    /// handler to tell calls apart. Calls of this node to itself go straight to its handler.
    ///
    /// Dropping the future gives the answer up; a call that was sent may still be done.
    ///
    /// # Errors
    /// Each variant of [`CallError`] says whether the call may have been done.
    pub async fn call(
        &self,
        peer: &PeerAddress,
        lane: Lane,
        kind: u16,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let due = self.shared.clock.monotonic().saturating_add(deadline);
        self.ask(peer, lane, Question { id: None, kind, payload, due }).await
    }

    /// As [`Self::call`] for a call that may be repeated: when the link loses it, it is sent again within the deadline
    /// under the same request id, by which the peer recognises it while it remembers the first.
    ///
    /// # Errors
    /// As [`Self::call`]; `Lost` only when the deadline leaves no time to repeat the call.
    pub async fn call_idempotent(
        &self,
        peer: &PeerAddress,
        lane: Lane,
        kind: u16,
        payload: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let due = self.shared.clock.monotonic().saturating_add(deadline);
        let question = Question { id: Some(self.shared.entropy.bytes_16()), kind, payload, due };
        let mut was_lost = false;
        for attempt in 0.. {
            match self.ask(peer, lane, question.clone()).await {
                Err(CallError::Lost { .. }) => was_lost = true,
                Err(CallError::Unreachable { .. }) if was_lost => {}
                result => return result,
            }
            let pause = self.shared.backoff(attempt);
            if self.shared.clock.monotonic().saturating_add(pause) >= due || self.shared.stop.is_cancelled() {
                break;
            }
            self.shared.clock.sleep(pause).await;
        }
        Err(CallError::Lost { node: peer.node })
    }

    /// Keeps both lanes to the peer connected, so that its state is known. A call does the same.
    pub fn connect(&self, peer: &PeerAddress) {
        self.channel(peer, Lane::Control);
        self.channel(peer, Lane::Data);
    }

    /// Ends the connections to a peer that left the cluster. Unfinished calls to it fail.
    pub fn disconnect(&self, node: &NodeId) {
        for lane in [Lane::Control, Lane::Data] {
            if let Some(channel) = self.shared.outbound.lock().remove(&(*node, lane)) {
                channel.end();
            }
        }
        self.shared.peers.forget(node);
    }

    /// How the peer looks from here; `None` when this node has not dialled it, or not yet with success or failure.
    pub fn peer_state(&self, node: &NodeId) -> Option<PeerState> {
        self.shared.peers.state(node)
    }

    /// Changes of the peers' states from now on. A watcher that lags far behind misses some, is told so by the
    /// channel, and reads [`Self::peer_state`] again.
    pub fn peer_events(&self) -> broadcast::Receiver<PeerEvent> {
        self.shared.peers.watch()
    }

    /// Stops accepting and calling, and waits until every task of the links has ended. Unfinished calls fail.
    pub async fn stop(&self) {
        self.shared.shut_down();
        self.shared.tasks.wait().await;
    }

    async fn ask(&self, peer: &PeerAddress, lane: Lane, question: Question) -> Result<Bytes, CallError> {
        let limit = self.shared.config.limits.payload_bytes;
        if question.payload.len() > limit {
            let bytes = question.payload.len() as u64;
            return Err(CallError::TooLarge { what: "call", bytes, limit: limit as u64 });
        }
        if peer.node == self.shared.config.node {
            return self.ask_self(question).await;
        }
        self.channel(peer, lane).ask(question).await
    }

    async fn ask_self(&self, question: Question) -> Result<Bytes, CallError> {
        let node = self.shared.config.node;
        let left = question.due.saturating_sub(self.shared.clock.monotonic());
        let answer = self.shared.handler.on_call(&node, question.kind, question.payload, left);
        match within(&*self.shared.clock, left, answer).await {
            Some(Ok(answer)) => Ok(answer),
            Some(Err(Refusal::Refused { code, message })) => Err(CallError::Refused { node, code, message }),
            Some(Err(Refusal::Overloaded { retry_after })) => Err(CallError::Overloaded { node, retry_after }),
            None => Err(CallError::DeadlineExceeded { node }),
        }
    }

    fn channel(&self, peer: &PeerAddress, lane: Lane) -> Arc<Outbound> {
        let mut channels = self.shared.outbound.lock();
        match channels.entry((peer.node, lane)) {
            Entry::Occupied(entry) => {
                entry.get().move_to(peer.address);
                entry.get().clone()
            }
            Entry::Vacant(entry) => {
                let channel = Outbound::new(self.shared.clone(), peer.clone(), lane);
                self.shared.tasks.spawn(channel.clone().run());
                entry.insert(channel).clone()
            }
        }
    }
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("node", &self.node()).field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
