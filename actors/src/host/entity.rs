//! What a kind of entity implements.

use std::error::Error;
use std::future::Future;

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::context::Context;
use super::id::EntityId;
use super::reply::Reply;
use super::router::Placement;

/// A virtual actor: always there by its kind and id, in memory only while it is used.
///
/// The host calls the methods of one entity one after the other, never at the same time. They must not block
/// the thread; long work goes into [`Context::work`], whose result comes back through [`Entity::on_event`].
pub trait Entity: Send + Sized + 'static {
    /// The name of the kind, unique on a node.
    const KIND: &'static str;

    /// Whether it stays in memory until it is stopped or the node drains, idle or not.
    const RESIDENT: bool = false;

    /// Where its entities live in a cluster.
    const PLACEMENT: Placement = Placement::Shard;

    /// Whether every request may be sent again after a lost answer, because it takes effect once.
    const IDEMPOTENT: bool = false;

    /// What the node gives to all entities of the kind: the store, models and the like.
    type Environment: Clone + Send + Sync + 'static;
    /// What others ask. Serializable, because the asker may be on another node.
    type Request: Serialize + DeserializeOwned + Send + 'static;
    /// What it answers; a domain error is part of it.
    type Response: Serialize + DeserializeOwned + Send + 'static;
    /// What its own workers tell it; never sent from outside.
    type Event: Send + 'static;

    /// Builds the entity from the store. The deadline of `context` is the host's default.
    ///
    /// # Errors
    /// [`Fault::Corrupt`] quarantines it; any other fault is tried again with back-off.
    fn activate(id: EntityId, context: Context<Self>) -> impl Future<Output = Result<Self, Fault>> + Send;

    /// Handles one request. `reply` may be kept and answered later. The deadline of `context` is the request's.
    ///
    /// # Errors
    /// See [`Fault`] for what each does. The reply is answered with it, unless it was answered before.
    fn handle(
        &mut self,
        request: Self::Request,
        reply: Reply<Self::Response>,
        context: &Context<Self>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Handles the result of one of its workers.
    ///
    /// # Errors
    /// See [`Fault`] for what each does.
    fn on_event(
        &mut self,
        event: Self::Event,
        context: &Context<Self>,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// A snapshot for an operator's eyes: no secrets, no more than some kilobytes.
    fn observe(&self) -> serde_json::Value;

    /// Whether nothing is lost when it leaves memory now.
    fn is_idle(&self) -> bool;

    /// About how many bytes a waiting request holds.
    fn size_bytes(_request: &Self::Request) -> usize {
        size_of::<Self::Request>()
    }
}

/// What went wrong in an entity, by what the host does about it.
#[derive(Debug, Error)]
pub enum Fault {
    /// The entity is dropped and built again from the store, after a back-off.
    #[error("transient fault")]
    Transient(#[source] Box<dyn Error + Send + Sync>),
    /// The message is set aside as a dead letter and the entity goes on.
    #[error("poison message")]
    Poison(#[source] Box<dyn Error + Send + Sync>),
    /// The entity's stored state can't be used: it is quarantined until an operator releases it.
    #[error("corrupt state")]
    Corrupt(#[source] Box<dyn Error + Send + Sync>),
    /// This node does not own the entity's shard any more: the entity leaves memory at once.
    #[error("the lease is lost")]
    Fenced,
}

impl Fault {
    /// A fault that a restart may cure.
    pub fn transient(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Transient(cause.into())
    }

    /// A fault of the message.
    pub fn poison(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Poison(cause.into())
    }

    /// A fault of the stored state.
    pub fn corrupt(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Corrupt(cause.into())
    }

    /// The causes in one line, outermost first.
    pub(crate) fn causes(&self) -> String {
        let mut text = String::new();
        let mut cause = self.source();
        while let Some(error) = cause {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&error.to_string());
            cause = error.source();
        }
        if text.is_empty() { self.to_string() } else { text }
    }
}
