//! The host itself: the kinds of a node, and how others ask and tell entities.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use ractor::SpawnErr;
use steward_types::{Clock, limits};
use tokio::runtime::Handle;
use tokio::sync::{Notify, broadcast, oneshot};

use super::deadline::Deadline;
use super::directory::{Kind, Parcel, Undelivered};
use super::entity::Entity;
use super::error::AskError;
use super::id::EntityId;
use super::kind::KindPort;
use super::letter::{DeadLetter, DeadLetters};
use super::lifecycle::{Lifecycle, LifecycleChange};
use super::limits::HostLimits;
use super::router::{Placement, RemoteRequest, Routed, Router, read_answer, write_request};
use super::sweep::Sweeper;
use crate::lease::Lease;
use crate::supervision::Supervisors;

/// Puts a host together: every kind is registered before it starts.
pub struct HostBuilder {
    clock: Arc<dyn Clock>,
    lease: Arc<dyn Lease>,
    router: Option<Arc<dyn Router>>,
    limits: HostLimits,
    kinds: HashMap<TypeId, Registered>,
}

/// A kind, behind its type and behind its name.
struct Registered {
    /// An `Arc<Kind<E>>`.
    kind: Box<dyn Any + Send + Sync>,
    port: Arc<dyn KindPort>,
}

/// A node's entities. Clones are the same host.
#[derive(Clone)]
pub struct Host(Arc<Inner>);

pub(crate) struct Inner {
    clock: Arc<dyn Clock>,
    lease: Arc<dyn Lease>,
    router: Option<Arc<dyn Router>>,
    limits: HostLimits,
    runtime: Handle,
    kinds: HashMap<TypeId, Registered>,
    by_name: BTreeMap<&'static str, Arc<dyn KindPort>>,
    accepting: AtomicBool,
    live: AtomicUsize,
    live_changed: Notify,
    pressure: Arc<Notify>,
    letters: DeadLetters,
    changes: broadcast::Sender<Lifecycle>,
    supervisors: Supervisors,
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
        Self { clock, lease, router: None, limits: HostLimits::default(), kinds: HashMap::new() }
    }

    /// Sets other limits.
    #[must_use]
    pub fn limits(mut self, limits: HostLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets the way to the entities of other nodes.
    #[must_use]
    pub fn router(mut self, router: Arc<dyn Router>) -> Self {
        self.router = Some(router);
        self
    }

    /// Adds a kind, with what all its entities are given.
    #[must_use]
    pub fn register<E: Entity>(mut self, environment: E::Environment) -> Self {
        assert!(self.kinds.values().all(|kind| kind.port.name() != E::KIND), "two kinds are named {}", E::KIND);
        let kind = Arc::new(Kind::<E>::new(environment));
        let port = Arc::clone(&kind) as Arc<dyn KindPort>;
        self.kinds.insert(TypeId::of::<E>(), Registered { kind: Box::new(kind), port });
        self
    }

    /// Starts the host on the current tokio runtime.
    ///
    /// # Errors
    /// When its supervisors can't be started, which is a bug.
    pub async fn start(self) -> Result<Host, SpawnErr> {
        let Self { clock, lease, router, limits, kinds } = self;
        let by_name: BTreeMap<_, _> = kinds.values().map(|kind| (kind.port.name(), Arc::clone(&kind.port))).collect();
        let supervisors = Supervisors::start().await?;
        for kind in by_name.values() {
            kind.supervise(supervisors.of_kind(kind.name()).await?);
        }
        let inner = Inner {
            clock,
            lease,
            router,
            runtime: Handle::current(),
            kinds,
            by_name,
            accepting: AtomicBool::new(true),
            live: AtomicUsize::new(0),
            live_changed: Notify::new(),
            pressure: Arc::new(Notify::new()),
            letters: DeadLetters::new(limits.dead_letters_max),
            changes: broadcast::channel(limits::LIFECYCLE_EVENTS_MAX).0,
            limits,
            supervisors,
        };
        let inner = Arc::new(inner);
        inner.supervisors.keep(Sweeper::child(&inner)).await?;
        Ok(Host(inner))
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

    /// Whether it takes messages from outside: not while it drains.
    pub fn is_accepting(&self) -> bool {
        self.0.accepting.load(Ordering::Acquire)
    }

    /// How many entities are in memory.
    pub fn live_entities(&self) -> usize {
        self.0.live.load(Ordering::Relaxed)
    }

    /// The newest `count` dead letters, newest first.
    pub fn dead_letters(&self, count: usize) -> Vec<DeadLetter> {
        self.0.letters.newest(count)
    }

    /// How many dead letters there were since the start; only the newest are kept.
    pub fn dead_letters_total(&self) -> u64 {
        self.0.letters.total()
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.0.runtime
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
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

    /// Whether this node serves an entity now, as far as it knows.
    pub fn serves<E: Entity>(&self, id: &EntityId) -> bool {
        E::PLACEMENT == Placement::Node || self.0.router.is_none() || {
            let lease = &self.0.lease;
            lease.holds(lease.shard_of(E::KIND, id))
        }
    }

    /// The router and the shard, if the entity lives on another node.
    fn elsewhere<E: Entity>(&self, id: &EntityId) -> Option<(&Arc<dyn Router>, u32)> {
        let router = self.0.router.as_ref().filter(|_| E::PLACEMENT == Placement::Shard)?;
        let shard = self.0.lease.shard_of(E::KIND, id);
        (!router.is_here(shard)).then_some((router, shard))
    }

    async fn ask_as<E: Entity>(
        &self,
        origin: Origin,
        id: &EntityId,
        request: E::Request,
        deadline: Deadline,
    ) -> Result<E::Response, AskError> {
        let Some((router, shard)) = self.elsewhere::<E>(id) else {
            return self.ask_here::<E>(origin, id, request, deadline).await;
        };
        match router.ask(remote_request::<E>(origin, shard, id, &request)?, deadline).await? {
            Routed::Answer(answer) => read_answer(E::KIND, &answer),
            Routed::Here => self.ask_here::<E>(origin, id, request, deadline).await,
        }
    }

    /// Asks an entity on this node.
    pub(crate) async fn ask_here<E: Entity>(
        &self,
        origin: Origin,
        id: &EntityId,
        request: E::Request,
        deadline: Deadline,
    ) -> Result<E::Response, AskError> {
        if deadline.has_passed(self.0.clock.as_ref()) {
            return Err(AskError::DeadlineExceeded);
        }
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
            Err(_) => Err(AskError::Stopped),
        }
    }

    fn tell_as<E: Entity>(&self, origin: Origin, id: &EntityId, request: E::Request) -> Result<(), AskError> {
        if let Some((router, shard)) = self.elsewhere::<E>(id) {
            return router.tell(remote_request::<E>(origin, shard, id, &request)?);
        }
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
        let Some(kind) = self.kind::<E>() else {
            return Err(Undelivered::Refused(self.0.unknown_kind(E::KIND)));
        };
        kind.deliver(self, id, parcel)
    }

    fn kind<E: Entity>(&self) -> Option<&Arc<Kind<E>>> {
        self.0.kinds.get(&TypeId::of::<E>()).and_then(|registered| registered.kind.downcast_ref())
    }

    /// Waits for `future` until the deadline.
    pub(crate) async fn until<T>(&self, deadline: Deadline, future: impl Future<Output = T>) -> Result<T, AskError> {
        let clock = self.0.clock.as_ref();
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = clock.sleep(deadline.remaining(clock)) => Err(AskError::DeadlineExceeded),
        }
    }

    /// Counts an entity that is about to be live, if there is room for it.
    pub(crate) fn admit_activation(&self) -> Result<(), Undelivered<()>> {
        let usual = self.0.limits.live_entities_max;
        let most = usual.saturating_add(usual / 4);
        let admit = |live| (live < most).then_some(live + 1);
        let admitted = self.0.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, admit);
        if admitted.unwrap_or(most) >= usual {
            self.0.pressure.notify_one();
        }
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

fn remote_request<E: Entity>(
    origin: Origin,
    shard: u32,
    id: &EntityId,
    request: &E::Request,
) -> Result<RemoteRequest, AskError> {
    Ok(RemoteRequest {
        shard,
        kind: E::KIND.to_owned(),
        id: id.clone(),
        payload: write_request(E::KIND, request)?,
        from_inside: origin == Origin::Inside,
        idempotent: E::IDEMPOTENT,
    })
}

impl Inner {
    pub(crate) fn clock(&self) -> &dyn Clock {
        self.clock.as_ref()
    }

    pub(crate) fn shared_clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.clock)
    }

    pub(crate) fn limits(&self) -> &HostLimits {
        &self.limits
    }

    pub(crate) fn pressure(&self) -> &Arc<Notify> {
        &self.pressure
    }

    pub(crate) fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    pub(crate) fn live_changed(&self) -> &Notify {
        &self.live_changed
    }

    pub(crate) fn changes(&self) -> &broadcast::Sender<Lifecycle> {
        &self.changes
    }

    /// Every kind, by name.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = &Arc<dyn KindPort>> {
        self.by_name.values()
    }

    /// The kind of a name.
    pub(crate) fn kind(&self, name: &str) -> Result<&Arc<dyn KindPort>, AskError> {
        self.by_name.get(name).ok_or_else(|| self.unknown_kind(name))
    }

    fn unknown_kind(&self, name: &str) -> AskError {
        let known = self.by_name.keys().map(|&kind| kind.to_owned()).collect();
        AskError::UnknownKind { kind: name.chars().take(100).collect(), known }
    }

    pub(crate) fn is_draining(&self) -> bool {
        !self.accepting.load(Ordering::Acquire)
    }

    /// From now on only entities may ask entities.
    pub(crate) fn stop_accepting(&self) {
        self.accepting.store(false, Ordering::Release);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.supervisors.stop();
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("live_entities", &self.live_entities()).finish_non_exhaustive()
    }
}
