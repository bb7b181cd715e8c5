//! The actors of a node's links: a router for each lane, the only actors that a peer can reach, and the host of
//! ractor_cluster's node sessions.
//!
//! The host stands in for ractor_cluster's `NodeServer`, which always opens a plain TCP listener, has one cookie for all
//! peers and keeps one connection a peer. The host opens no port, gives each session a cookie of its own from the TLS
//! connection's keying material, and takes as many sessions a peer as there are lanes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use ractor::message::{BoxedDowncastErr, SerializedMessage};
use ractor::{Actor, ActorCell, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::node::{NodeConnectionMode, SessionCheckReply};
use ractor_cluster::{ClusterBidiStream, NetworkStream, NodeServerMessage, NodeSession, NodeSessionMessage};
use steward_types::limits::{LINK_INBOX_BATCHES_MAX, LINK_WIRE_BYTES_MAX};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::frame::{Tag, tag_of};

/// Sessions of all links in the process draw their number here: a remote actor's id is made of it and is process-wide.
static NEXT_SESSION: AtomicU64 = AtomicU64::new(1);

/// A batch on its way to the router of another node.
pub(super) struct Batch(Vec<u8>);

impl ractor::Message for Batch {
    fn serializable() -> bool {
        true
    }

    fn serialize(self) -> Result<SerializedMessage, BoxedDowncastErr> {
        Ok(cast(self.0))
    }

    /// Never an error, which would kill the router: what is no batch becomes an empty one and finds no connection.
    fn deserialize(message: SerializedMessage) -> Result<Self, BoxedDowncastErr> {
        match message {
            SerializedMessage::Cast { args, .. } => Ok(Self(args)),
            _ => Ok(Self(Vec::new())),
        }
    }
}

fn cast(args: Vec<u8>) -> SerializedMessage {
    SerializedMessage::Cast { variant: String::new(), args, metadata: None }
}

/// Where the batches of each connection go, by the tag that the peer was given for it.
#[derive(Clone, Default)]
pub(super) struct Routes(Arc<Mutex<HashMap<Tag, Route>>>);

struct Route {
    inbox: mpsc::Sender<Vec<u8>>,
    close: CancellationToken,
}

impl Routes {
    /// A route that ends when the returned guard is dropped.
    pub fn open(&self, tag: Tag, close: CancellationToken) -> Inbox {
        let (inbox, batches) = mpsc::channel(LINK_INBOX_BATCHES_MAX);
        self.0.lock().insert(tag, Route { inbox, close });
        Inbox { batches, routes: self.clone(), tag }
    }

    fn deliver(&self, batch: Vec<u8>) {
        let routes = self.0.lock();
        let Some(route) = tag_of(&batch).and_then(|tag| routes.get(&tag)) else { return };
        if route.inbox.try_send(batch).is_err() {
            route.close.cancel();
        }
    }
}

/// The batches that arrive on one connection.
pub(super) struct Inbox {
    pub batches: mpsc::Receiver<Vec<u8>>,
    routes: Routes,
    tag: Tag,
}

impl Inbox {
    /// What the peer writes at the start of each batch for this inbox.
    pub fn tag(&self) -> Tag {
        self.tag
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.routes.0.lock().remove(&self.tag);
    }
}

/// The actor of one lane that other nodes can reach. It only sorts batches to their connections.
pub(super) struct Router;

impl Actor for Router {
    type Msg = Batch;
    type State = Routes;
    type Arguments = Routes;

    async fn pre_start(&self, _: ActorRef<Batch>, routes: Routes) -> Result<Routes, ActorProcessingErr> {
        Ok(routes)
    }

    async fn handle(&self, _: ActorRef<Batch>, batch: Batch, routes: &mut Routes) -> Result<(), ActorProcessingErr> {
        routes.deliver(batch.0);
        Ok(())
    }
}

/// The way to the router of a peer over one connection.
pub(super) struct Connection {
    router: ActorCell,
    pub close: CancellationToken,
}

impl Connection {
    /// Hands a batch to ractor_cluster; a connection that takes none is closed.
    pub fn send(&self, batch: Vec<u8>) {
        if self.router.send_serialized(cast(batch)).is_err() {
            self.close.cancel();
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close.cancel();
    }
}

/// What a session needs beside its stream.
pub(super) struct Opening {
    pub cookie: String,
    /// Number of the router's actor at the peer.
    pub router: u64,
    pub close: CancellationToken,
    pub ready: oneshot::Sender<Connection>,
}

/// Sessions that are about to be opened, by their stream's label.
#[derive(Clone, Default)]
pub(super) struct Openings(Arc<Mutex<HashMap<String, Opening>>>);

impl Openings {
    /// Announces the session of the stream that will come under this label.
    pub fn announce(&self, label: String, opening: Opening) {
        self.0.lock().insert(label, opening);
    }
}

/// The actor that owns the node sessions.
pub(super) struct SessionHost;

/// The sessions of a host and whom to tell when one is ready.
pub(super) struct Sessions {
    openings: Openings,
    live: HashMap<ActorId, Live>,
}

struct Live {
    session: ActorRef<NodeSessionMessage>,
    number: u64,
    router: u64,
    close: CancellationToken,
    ready: Option<oneshot::Sender<Connection>>,
}

impl Actor for SessionHost {
    type Msg = NodeServerMessage;
    type State = Sessions;
    type Arguments = Openings;

    async fn pre_start(
        &self,
        _: ActorRef<NodeServerMessage>,
        openings: Openings,
    ) -> Result<Sessions, ActorProcessingErr> {
        Ok(Sessions { openings, live: HashMap::new() })
    }

    async fn handle(
        &self,
        myself: ActorRef<NodeServerMessage>,
        message: NodeServerMessage,
        state: &mut Sessions,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            NodeServerMessage::ConnectionOpenedExternal { stream, is_server } => {
                state.open(&myself, stream, is_server).await;
            }
            NodeServerMessage::ConnectionReady(session) => state.ready(session),
            NodeServerMessage::CheckSession { reply, .. } => {
                let _ = reply.send(SessionCheckReply::NoOtherConnection);
            }
            NodeServerMessage::GetSessions(reply) => {
                let _ = reply.send(HashMap::new());
            }
            // The host opens no port, so that no plain connection can be given to it.
            NodeServerMessage::ConnectionOpened { .. } => {}
            _ => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _: ActorRef<NodeServerMessage>,
        event: SupervisionEvent,
        state: &mut Sessions,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorTerminated(actor, ..) | SupervisionEvent::ActorFailed(actor, _) => {
                state.ended(actor.get_id());
            }
            _ => {}
        }
        Ok(())
    }

    async fn post_stop(&self, _: ActorRef<NodeServerMessage>, state: &mut Sessions) -> Result<(), ActorProcessingErr> {
        state.live.values().for_each(|live| live.close.cancel());
        Ok(())
    }
}

impl Sessions {
    async fn open(&mut self, host: &ActorRef<NodeServerMessage>, stream: Box<dyn ClusterBidiStream>, is_server: bool) {
        let label = stream.peer_label().unwrap_or_default();
        let Some(opening) = self.openings.0.lock().remove(&label) else { return };
        let number = NEXT_SESSION.fetch_add(1, Ordering::Relaxed);
        let Ok(name) = prost::Message::decode(session_name(&label).as_slice()) else { return };
        let session =
            NodeSession::new(number, is_server, opening.cookie, host.clone(), name, NodeConnectionMode::Isolated)
                .with_max_inbound_frame_size(LINK_WIRE_BYTES_MAX);
        let (reader, writer) = stream.split();
        let stream =
            NetworkStream::External { peer_label: Some(label.clone()), local_label: Some(label), reader, writer };
        // A session that does not start drops its stream, which closes the connection.
        if let Ok((session, _)) = Actor::spawn_linked(None, session, stream, host.get_cell()).await {
            let live = Live {
                session: session.clone(),
                number,
                router: opening.router,
                close: opening.close,
                ready: Some(opening.ready),
            };
            self.live.insert(session.get_id(), live);
        }
    }

    /// Both ends have told each other of their routers: the peer's stands among the session's children.
    fn ready(&mut self, session: ActorId) {
        let Some(live) = self.live.get_mut(&session) else { return };
        let Some(ready) = live.ready.take() else { return };
        let router = ActorId::Remote { node_id: live.number, pid: live.router };
        let found = live.session.get_cell().get_children().into_iter().find(|child| child.get_id() == router);
        match found {
            Some(router) => {
                // Whoever opened the session may have given up; the connection then closes as it is dropped.
                let _ = ready.send(Connection { router, close: live.close.clone() });
            }
            None => live.close.cancel(),
        }
    }

    fn ended(&mut self, session: ActorId) {
        if let Some(live) = self.live.remove(&session) {
            live.close.cancel();
        }
    }
}

/// ractor_cluster's name message, whose type it does not export, in protobuf: a name that differs at both ends of a
/// connection, and the version of its protocol.
fn session_name(label: &str) -> Vec<u8> {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Flags {
        #[prost(uint32, tag = "1")]
        version: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    struct Name {
        #[prost(string, tag = "1")]
        name: String,
        #[prost(message, optional, tag = "2")]
        flags: Option<Flags>,
        #[prost(string, tag = "3")]
        connection_string: String,
    }
    let name = Name { name: label.to_owned(), flags: Some(Flags { version: 1 }), connection_string: label.to_owned() };
    prost::Message::encode_to_vec(&name)
}
