//! What an entity can reach: its id, its environment, the host, and workers that belong to it.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use parking_lot::Mutex;
use steward_types::Clock;
use tokio::task::{AbortHandle, JoinSet};

use super::deadline::Deadline;
use super::directory::Kind;
use super::entity::Entity;
use super::error::AskError;
use super::id::EntityId;
use super::mailbox::{CellMessage, Mailbox};
use super::node::Host;
use crate::lease::{Fence, Lease};

/// What an entity can reach. A clone may go into a worker; it keeps the deadline of the message it was cloned in.
pub struct Context<E: Entity> {
    activation: Arc<Activation<E>>,
    deadline: Deadline,
}

/// The cell's own context: with it end the workers, even when the cell is killed in the middle of what it does.
/// They may hold contexts of their own, so the last context to be dropped would come too late.
pub(crate) struct OwnContext<E: Entity>(pub(crate) Context<E>);

impl<E: Entity> Drop for OwnContext<E> {
    fn drop(&mut self) {
        let workers = self.0.activation.workers.lock().take();
        drop(workers);
    }
}

/// One activation of an entity: from being built from the store to being dropped.
struct Activation<E: Entity> {
    host: Host,
    kind: Arc<Kind<E>>,
    mailbox: Arc<Mailbox<E>>,
    generation: u32,
    workers: Mutex<Option<JoinSet<()>>>,
}

impl<E: Entity> Clone for Context<E> {
    fn clone(&self) -> Self {
        Self { activation: Arc::clone(&self.activation), deadline: self.deadline }
    }
}

impl<E: Entity> std::fmt::Debug for Context<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("kind", &E::KIND).field("id", self.id()).finish_non_exhaustive()
    }
}

impl<E: Entity> Context<E> {
    pub(crate) fn new(
        host: Host,
        kind: Arc<Kind<E>>,
        mailbox: Arc<Mailbox<E>>,
        generation: u32,
        deadline: Deadline,
    ) -> Self {
        let workers = Mutex::new(Some(JoinSet::new()));
        Self { activation: Arc::new(Activation { host, kind, mailbox, generation, workers }), deadline }
    }

    /// The entity's id.
    pub fn id(&self) -> &EntityId {
        &self.activation.mailbox.id
    }

    /// What the node gives to all entities of the kind.
    pub fn environment(&self) -> &E::Environment {
        self.activation.kind.environment()
    }

    /// The host that the entity lives on.
    pub fn host(&self) -> &Host {
        &self.activation.host
    }

    /// The host's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        self.activation.host.clock()
    }

    /// The lease under which this node's entities write.
    pub fn lease(&self) -> &Arc<dyn Lease> {
        self.activation.host.lease()
    }

    /// The shard that the entity belongs to.
    pub fn shard(&self) -> u32 {
        self.lease().shard_of(E::KIND, self.id())
    }

    /// What the entity's transactions write under.
    pub fn fence(&self) -> Fence {
        Fence::new(Arc::clone(self.lease()), self.shard())
    }

    /// When what is in hand must be done: the request's deadline, or the default time from when it was taken up.
    pub fn deadline(&self) -> Deadline {
        self.deadline
    }

    /// The time that is left until [`Context::deadline`].
    pub fn remaining(&self) -> Duration {
        self.deadline.remaining(self.clock().as_ref())
    }

    /// Asks another entity within the time that is left. Allowed while the node drains, so that what is in hand
    /// can be finished. An entity that waits here for itself waits until its deadline.
    ///
    /// # Errors
    /// See [`AskError`]. Dropping the future leaves the message with the other entity.
    pub async fn ask<F: Entity>(&self, id: &EntityId, request: F::Request) -> Result<F::Response, AskError> {
        self.host().ask_from_inside::<F>(id, request, self.deadline).await
    }

    /// Tells another entity, without waiting for its answer. Allowed while the node drains.
    ///
    /// # Errors
    /// See [`AskError`].
    pub fn tell<F: Entity>(&self, id: &EntityId, request: F::Request) -> Result<(), AskError> {
        self.host().tell_from_inside::<F>(id, request)
    }

    /// Runs `work` beside the entity. Its result comes to [`Entity::on_event`]; a panic in it is a
    /// transient fault of the entity. It is aborted when the entity leaves memory or restarts.
    pub fn work(&self, work: impl Future<Output = E::Event> + Send + 'static) -> Worker {
        let events = self.events();
        self.run(async move { events.send(work.await) })
    }

    /// Runs `task` beside the entity, as [`Context::work`] does, but nothing is sent when it ends.
    /// It may send events as it goes through [`Context::events`].
    pub fn run(&self, task: impl Future<Output = ()> + Send + 'static) -> Worker {
        let (mailbox, generation) = (Arc::clone(&self.activation.mailbox), self.activation.generation);
        let watched = async move {
            if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
                let cause = panic_text(panic.as_ref());
                mailbox.tell(CellMessage::WorkerPanicked { generation, cause });
            }
        };
        let mut workers = self.activation.workers.lock();
        // Once the activation has ended, nothing is started for it any more.
        let Some(workers) = workers.as_mut() else { return Worker(None) };
        while workers.try_join_next().is_some() {}
        Worker(Some(workers.spawn_on(watched, self.host().runtime())))
    }

    /// Sends events to this activation from a worker or from a thread.
    pub fn events(&self) -> EventSender<E> {
        EventSender { mailbox: Arc::clone(&self.activation.mailbox), generation: self.activation.generation }
    }

    pub(crate) fn set_deadline(&mut self, deadline: Deadline) {
        self.deadline = deadline;
    }

    pub(crate) fn generation(&self) -> u32 {
        self.activation.generation
    }

    /// How many workers have not ended.
    pub(crate) fn workers(&self) -> usize {
        self.activation.workers.lock().as_mut().map_or(0, |workers| {
            while workers.try_join_next().is_some() {}
            workers.len()
        })
    }

    /// Aborts the workers and returns once none runs any more; none starts from now on.
    pub(crate) async fn end(&self) {
        let workers = self.activation.workers.lock().take();
        if let Some(mut workers) = workers {
            workers.shutdown().await;
        }
    }
}

/// Sends events to the activation that it was made in. To a later activation of the entity nothing arrives.
pub struct EventSender<E: Entity> {
    mailbox: Arc<Mailbox<E>>,
    generation: u32,
}

impl<E: Entity> EventSender<E> {
    /// Sends an event; it is handled after those sent before. Never blocks: an entity bounds how much its own workers
    /// have to say, because its mailbox does not.
    pub fn send(&self, event: E::Event) {
        self.mailbox.tell(CellMessage::Event { generation: self.generation, event });
    }
}

impl<E: Entity> Clone for EventSender<E> {
    fn clone(&self) -> Self {
        Self { mailbox: Arc::clone(&self.mailbox), generation: self.generation }
    }
}

impl<E: Entity> std::fmt::Debug for EventSender<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventSender").field("kind", &E::KIND).field("id", &self.mailbox.id).finish_non_exhaustive()
    }
}

/// A task that belongs to an entity. Dropping this leaves the task running.
#[derive(Debug)]
pub struct Worker(Option<AbortHandle>);

impl Worker {
    /// Aborts the task at its next await; its event is not sent unless it was already.
    pub fn cancel(&self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }

    /// Whether the task has ended.
    pub fn is_finished(&self) -> bool {
        self.0.as_ref().is_none_or(AbortHandle::is_finished)
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("panic: {}", text.unwrap_or("with a value that is no text"))
}
