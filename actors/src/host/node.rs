//! The host itself: the kinds of a node, and how others ask and tell entities.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ractor::{Actor, ActorCell, SpawnErr};
use steward_types::{Clock, limits};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, oneshot};

use super::deadline::Deadline;
use super::directory::{Kind, Parcel, Undelivered};
use super::entity::Entity;
use super::error::AskError;
use super::id::EntityId;
use super::letter::{DeadLetter, DeadLetters};
use super::lifecycle::{Lifecycle, LifecycleChange, LifecycleWatch};
use crate::lease::Lease;
use crate::supervision::Supervisor;

/// The bounds of a host. The defaults are those of [`steward_types::limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLimits {
    /// Messages that wait for one entity.
    pub mailbox_messages_max: usize,
    /// Bytes of messages that wait for one entity.
    pub mailbox_bytes_max: usize,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
    /// Live entities before the idle ones are passivated early. A quarter more are refused.
    pub live_entities_max: usize,
    /// How long an entity may be idle before it is passivated.
    pub idle_time_max: Duration,
    /// Time that a call without a deadline of its own has.
    pub call_time_default: Duration,
    /// First wait before a crashed entity is activated again.
    pub backoff_min: Duration,
    /// Longest wait before a crashed entity is activated again.
    pub backoff_max: Duration,
    /// Failed activations in a row after which an entity is quarantined.
    pub restarts_max: u32,
    /// Dead letters kept.
    pub dead_letters_max: usize,
    /// Longest graceful drain.
    pub drain_time_max: Duration,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            mailbox_messages_max: limits::MAILBOX_MESSAGES_MAX,
            mailbox_bytes_max: limits::MAILBOX_BYTES_MAX,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            live_entities_max: limits::LIVE_ENTITIES_MAX,
            idle_time_max: limits::IDLE_TIME_MAX,
            call_time_default: limits::CALL_TIME_DEFAULT,
            backoff_min: limits::RESTART_BACKOFF_MIN,
            backoff_max: limits::RESTART_BACKOFF_MAX,
            restarts_max: limits::RESTARTS_MAX,
            dead_letters_max: limits::DEAD_LETTERS_MAX,
            drain_time_max: limits::DRAIN_TIME_MAX,
        }
    }
}

/// Puts a host together: every kind is registered before it starts.
pub struct HostBuilder {
    clock: Arc<dyn Clock>,
    lease: Arc<dyn Lease>,
    limits: HostLimits,
    kinds: HashMap<TypeId, Registered>,
}

/// A kind behind its type.
struct Registered {
    name: &'static str,
    /// An `Arc<Kind<E>>`.
    kind: Box<dyn Any + Send + Sync>,
    supervise: Box<dyn Fn(ActorCell) + Send + Sync>,
}

/// A node's entities. Clones are the same host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

struct Inner {
    clock: Arc<dyn Clock>,
    lease: Arc<dyn Lease>,
    limits: HostLimits,
    runtime: Handle,
    kinds: HashMap<TypeId, Registered>,
    accepting: AtomicBool,
    live: AtomicUsize,
    live_changed: Notify,
    letters: DeadLetters,
    changes: broadcast::Sender<Lifecycle>,
    root: ActorCell,
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// From the edge: refused while the node drains.
    Outside,
    /// From an entity that finishes what it has in hand.
    Inside,
}

impl HostBuilder {
    /// A host without kinds, with the default limits.
    pub fn new(clock: Arc<dyn Clock>, lease: Arc<dyn Lease>) -> Self {
        Self { clock, lease, limits: HostLimits::default(), kinds: HashMap::new() }
    }

    /// Sets other limits.
    #[must_use]
    pub fn limits(mut self, limits: HostLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Adds a kind, with what all its entities are given.
    #[must_use]
    pub fn register<E: Entity>(mut self, environment: E::Environment) -> Self {
        assert!(self.kinds.values().all(|kind| kind.name != E::KIND), "two kinds are named {}", E::KIND);
        let kind = Arc::new(Kind::<E>::new(environment));
        let supervised = Arc::clone(&kind);
        let supervise = Box::new(move |supervisor| supervised.supervise(supervisor));
        self.kinds.insert(TypeId::of::<E>(), Registered { name: E::KIND, kind: Box::new(kind), supervise });
        self
    }

    /// Starts the host on the current tokio runtime.
    ///
    /// # Errors
    /// When its supervisors can't be started, which is a bug.
    pub async fn start(self) -> Result<Host, SpawnErr> {
        let Self { clock, lease, limits, kinds } = self;
        let (root, _) = Supervisor::spawn(None, Supervisor, ()).await?;
        for kind in kinds.values() {
            let (supervisor, _) = Supervisor::spawn_linked(None, Supervisor, (), root.get_cell()).await?;
            (kind.supervise)(supervisor.get_cell());
        }
        let (changes, _) = broadcast::channel(limits::LIFECYCLE_EVENTS_MAX);
        let letters = DeadLetters::new(limits.dead_letters_max);
        let inner = Inner {
            clock,
            lease,
            limits,
            runtime: Handle::current(),
            kinds,
            accepting: AtomicBool::new(true),
            live: AtomicUsize::new(0),
            live_changed: Notify::new(),
            letters,
            changes,
            root: root.get_cell(),
        };
        Ok(Host(Arc::new(inner)))
    }
}

impl Host {
    /// Asks an entity and waits for its answer until the deadline. The entity is activated if need be.
    ///
    /// # Errors
    /// See [`AskError`]. Dropping the future leaves the message with the entity.
    pub async fn ask<E: Entity>(
        &self,
        id: &EntityId,
        request: E::Request,
        deadline: Deadline,
    ) -> Result<E::Response, AskError> {
        self.ask_as::<E>(Origin::Outside, id, request, deadline).await
    }

    /// Leaves a message with an entity and does not wait for its answer.
    ///
    /// # Errors
    /// See [`AskError`]; only those of which "nothing was done" is said.
    pub fn tell<E: Entity>(&self, id: &EntityId, request: E::Request) -> Result<(), AskError> {
        self.tell_as::<E>(Origin::Outside, id, request)
    }

    /// A deadline `time` from now.
    pub fn deadline(&self, time: Duration) -> Deadline {
        Deadline::after(self.0.clock.as_ref(), time)
    }

    /// The deadline of a call that names none.
    pub fn deadline_default(&self) -> Deadline {
        self.deadline(self.0.limits.call_time_default)
    }

    /// The host's clock.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.0.clock
    }

    /// The lease under which this node's entities write.
    pub fn lease(&self) -> &Arc<dyn Lease> {
        &self.0.lease
    }

    /// The host's bounds.
    pub fn limits(&self) -> &HostLimits {
        &self.0.limits
    }

    /// How many entities are in memory.
    pub fn live_entities(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    /// The newest `count` dead letters, newest first.
    pub fn dead_letters(&self, count: usize) -> Vec<DeadLetter> {
        self.0.letters.newest(count)
    }

    /// The changes from now on of an entity of a kind, or of all its entities.
    pub fn watch<E: Entity>(&self, id: Option<EntityId>) -> LifecycleWatch {
        LifecycleWatch { changes: self.0.changes.subscribe(), kind: E::KIND, id, clock: Arc::clone(&self.0.clock) }
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    pub(crate) async fn ask_from_inside<E: Entity>(
        &self,
        id: &EntityId,
        request: E::Request,
        deadline: Deadline,
    ) -> Result<E::Response, AskError> {
        self.ask_as::<E>(Origin::Inside, id, request, deadline).await
    }

    pub(crate) fn tell_from_inside<E: Entity>(&self, id: &EntityId, request: E::Request) -> Result<(), AskError> {
        self.tell_as::<E>(Origin::Inside, id, request)
    }

    async fn ask_as<E: Entity>(
        &self,
        origin: Origin,
        id: &EntityId,
        request: E::Request,
        deadline: Deadline,
    ) -> Result<E::Response, AskError> {
        let (answer, answered) = oneshot::channel();
        let mut parcel = Parcel { request, answer: Some(answer), deadline };
        loop {
            let room = self.0.live_changed.notified();
            match self.deliver::<E>(id, parcel, origin) {
                Ok(()) => break,
                Err(Undelivered::Refused(error)) => return Err(error),
                Err(Undelivered::NoRoom(back)) => parcel = back,
            }
            self.until(deadline, room).await?;
        }
        match self.until(deadline, answered).await? {
            Ok(answer) => answer,
            Err(_) => Err(super::mailbox::stopped()),
        }
    }

    fn tell_as<E: Entity>(&self, origin: Origin, id: &EntityId, request: E::Request) -> Result<(), AskError> {
        match self.deliver::<E>(id, Parcel { request, answer: None, deadline: Deadline::NEVER }, origin) {
            Ok(()) => Ok(()),
            Err(Undelivered::Refused(error)) => Err(error),
            Err(Undelivered::NoRoom(_)) => Err(AskError::Overloaded { retry_after: limits::OVERLOAD_RETRY_AFTER }),
        }
    }

    fn deliver<E: Entity>(
        &self,
        id: &EntityId,
        parcel: Parcel<E>,
        origin: Origin,
    ) -> Result<(), Undelivered<Parcel<E>>> {
        if origin == Origin::Outside && !self.0.accepting.load(Ordering::Acquire) {
            return Err(Undelivered::Refused(AskError::Draining));
        }
        if parcel.deadline.has_passed(self.0.clock.as_ref()) {
            return Err(Undelivered::Refused(AskError::DeadlineExceeded));
        }
        let Some(kind) = self.kind::<E>() else {
            return Err(Undelivered::Refused(AskError::UnknownKind { kind: E::KIND.to_owned() }));
        };
        kind.deliver(self, id, parcel)
    }

    fn kind<E: Entity>(&self) -> Option<&Arc<Kind<E>>> {
        self.0.kinds.get(&TypeId::of::<E>()).and_then(|registered| registered.kind.downcast_ref())
    }

    async fn until<T>(&self, deadline: Deadline, future: impl Future<Output = T>) -> Result<T, AskError> {
        let clock = self.0.clock.as_ref();
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = clock.sleep(deadline.remaining(clock)) => Err(AskError::DeadlineExceeded),
        }
    }

    /// Counts an entity that is about to be live, if there is room for it.
    pub(crate) fn admit_activation(&self) -> Result<(), Undelivered<()>> {
        let most = self.0.limits.live_entities_max;
        let most = most.saturating_add(most / 4);
        let admitted =
            self.0.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, |live| (live < most).then_some(live + 1));
        admitted.map(drop).map_err(|_| Undelivered::NoRoom(()))
    }

    /// Counts an entity that is gone.
    pub(crate) fn on_gone(&self) {
        self.0.live.fetch_sub(1, Ordering::AcqRel);
        self.0.live_changed.notify_waiters();
    }

    /// Tells those who watch of a change.
    pub(crate) fn announce<E: Entity>(&self, id: &EntityId, change: impl FnOnce() -> LifecycleChange) {
        if self.0.changes.receiver_count() > 0 {
            let change = Lifecycle { kind: E::KIND, id: id.clone(), at: self.0.clock.now(), change: change() };
            let _ = self.0.changes.send(change);
        }
    }

    pub(crate) fn keep_letter<E: Entity>(&self, id: &EntityId, message: &str, cause: &str) {
        self.0.letters.keep(E::KIND, id.clone(), message.to_owned(), cause.to_owned(), self.0.clock.now());
        self.announce::<E>(id, || LifecycleChange::DeadLetter { cause: cause.to_owned() });
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.root.stop_children(None);
        self.root.stop(None);
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("live_entities", &self.live_entities()).finish_non_exhaustive()
    }
}
