//! The way of a request to the node that its entity lives on. A node that is alone has no router and delivers
//! everything itself.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::deadline::Deadline;
use super::error::{AskError, AskJsonError};
use super::id::EntityId;

/// Takes requests to the entities of other nodes.
#[async_trait]
pub trait Router: Send + Sync + fmt::Debug + 'static {
    /// Whether this node serves a shard now, as far as it knows. A wrong belief costs a round, never safety: each
    /// transaction is fenced.
    fn is_here(&self, shard: u32) -> bool;

    /// Asks the entity on the node that serves its shard, and waits for its answer until the deadline.
    ///
    /// # Errors
    /// See [`AskError`]. Dropping the future leaves open whether the request is handled.
    async fn ask(&self, request: RemoteRequest, deadline: Deadline) -> Result<Routed, AskError>;

    /// Sends a request that nobody waits for; it may be lost with the node or the link.
    ///
    /// # Errors
    /// [`AskError::Overloaded`] when too many wait already.
    fn tell(&self, request: RemoteRequest) -> Result<(), AskError>;
}

/// A request on its way to another node. It describes itself, so that two releases understand each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RemoteRequest {
    /// The entity's shard.
    pub shard: u32,
    /// The entity's kind.
    pub kind: String,
    /// The entity.
    pub id: EntityId,
    /// The request in JSON.
    pub payload: Bytes,
    /// Whether an entity asks, which a draining node still serves.
    pub from_inside: bool,
    /// Whether it may be sent again after a lost answer.
    pub idempotent: bool,
}

/// What came of a request to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Routed {
    /// The entity's answer, in JSON.
    Answer(Bytes),
    /// The shard has come to this node meanwhile: nothing was done.
    Here,
}

/// Where the entities of a kind live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// On the node that holds the lease of the entity's shard.
    Shard,
    /// On every node its own: services of a node, and what hangs on its hardware.
    Node,
}

/// The answer to a remote request, as JSON.
pub(crate) fn read_answer<R: serde::de::DeserializeOwned>(kind: &'static str, answer: &[u8]) -> Result<R, AskError> {
    let cause = |error| format!("the answer of kind {kind:?} from another node can't be read: {error}");
    serde_json::from_slice(answer).map_err(|error| AskError::Poison { cause: cause(error) })
}

/// A request as JSON.
pub(crate) fn write_request<R: Serialize>(kind: &'static str, request: &R) -> Result<Bytes, AskError> {
    let cause = |error| format!("the request to kind {kind:?} can't be written for another node: {error}");
    serde_json::to_vec(request).map(Bytes::from).map_err(|error| AskError::Poison { cause: cause(error) })
}

impl super::node::Host {
    /// Handles a request from another node, if this node serves its shard. Returns the answer in JSON.
    ///
    /// # Errors
    /// [`AskError::Elsewhere`] when the shard is not here (nothing was done), else as for
    /// [`ask_json`](Self::ask_json). Dropping the future leaves the message with the entity.
    pub async fn receive(&self, request: RemoteRequest, deadline: Deadline) -> Result<Bytes, AskJsonError> {
        let RemoteRequest { kind, id, payload, from_inside, .. } = request;
        let kind = self.inner().kind(&kind)?;
        let value: Value =
            serde_json::from_slice(&payload).map_err(|source| AskJsonError::Malformed { kind: kind.name(), source })?;
        let answer = kind.receive(self, &id, value, from_inside, deadline).await?;
        serde_json::to_vec(&answer)
            .map(Bytes::from)
            .map_err(|source| AskJsonError::Unwritable { kind: kind.name(), source })
    }
}
