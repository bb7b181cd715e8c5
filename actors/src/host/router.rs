//! The way of a request to the node that its entity lives on. A node that is alone delivers everything itself.

use async_trait::async_trait;
use serde_json::Value;

use super::deadline::Deadline;
use super::error::AskJsonError;
use super::id::EntityId;
use super::node::Host;

/// Delivers a request to an entity, wherever it lives. Requests and answers are self-describing, so that they can cross
/// to another node.
#[async_trait]
pub trait Router: Send + Sync {
    /// Delivers `request` and waits for the answer until the deadline.
    ///
    /// # Errors
    /// See [`AskJsonError`]. Dropping the future leaves the message with the entity.
    async fn deliver(
        &self,
        kind: &str,
        id: &EntityId,
        request: Value,
        deadline: Deadline,
    ) -> Result<Value, AskJsonError>;
}

/// Every entity lives here.
#[async_trait]
impl Router for Host {
    async fn deliver(
        &self,
        kind: &str,
        id: &EntityId,
        request: Value,
        deadline: Deadline,
    ) -> Result<Value, AskJsonError> {
        self.ask_json(kind, id, request, deadline).await
    }
}
