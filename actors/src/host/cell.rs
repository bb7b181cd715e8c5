//! The ractor actor under one live entity: it activates it, hands it its messages one by one, and decides what a fault does.
//!
//! The entity's own code runs only here, so a slow one delays nobody else. Its panics are caught here, so that
//! its queue outlives its crash. A cell never writes to the store.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::context::{Context, OwnContext, panic_text};
use super::deadline::Deadline;
use super::directory::Kind;
use super::entity::{Entity, Fault};
use super::error::AskError;
use super::lifecycle::LifecycleChange;
use super::mailbox::{CellMessage, Envelope, Leave, Mailbox, Phase};
use super::node::Host;

/// The actor under one entity.
pub(crate) struct Cell<E>(PhantomData<fn() -> E>);

impl<E> Default for Cell<E> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E: Entity> Actor for Cell<E> {
    type Msg = CellMessage<E>;
    type State = CellState<E>;
    type Arguments = CellState<E>;

    async fn pre_start(
        &self,
        _myself: ActorRef<Self::Msg>,
        state: CellState<E>,
    ) -> Result<CellState<E>, ActorProcessingErr> {
        Ok(state)
    }

    /// Never fails: whatever goes wrong in the entity is dealt with in here.
    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: CellMessage<E>,
        state: &mut CellState<E>,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            CellMessage::Request(envelope) => state.on_request(envelope).await,
            CellMessage::Event { generation, event } => state.on_event(generation, event).await,
            CellMessage::WorkerPanicked { generation, cause } => state.on_worker_panic(generation, cause).await,
            CellMessage::Wake => state.on_wake().await,
            CellMessage::Leave(reason) => state.on_leave(reason),
            CellMessage::Observe(observer) => state.on_observe(observer),
        }
        if state.leave_if_due().await {
            myself.stop(None);
        }
        Ok(())
    }
}

/// What the entity is doing.
enum Stage<E: Entity> {
    /// Nothing yet; the next message activates it.
    Fresh,
    /// It handles messages.
    Active(E, OwnContext<E>),
    /// It crashed and is built again at this time of the host's monotonic clock.
    BackingOff { until: Duration, cause: String },
    /// It will not come back in this cell: whatever still arrives is refused.
    Refusing(AskError),
    /// Nothing of it is left.
    Gone,
}

/// A cell's own state. Dropping it in any stage leaves the directory clean.
pub(crate) struct CellState<E: Entity> {
    host: Host,
    kind: Arc<Kind<E>>,
    mailbox: Arc<Mailbox<E>>,
    previous: Option<Arc<Mailbox<E>>>,
    stage: Stage<E>,
    /// Requests that wait for the end of a back-off; each still has its permit.
    held: VecDeque<Envelope<E>>,
    generation: u32,
    /// Crashes since a message was last handled well.
    failures: u32,
    /// Failed activations since the last that succeeded.
    activation_failures: u32,
    leaving: Option<Leave>,
    alarm: JoinSet<()>,
}

impl<E: Entity> CellState<E> {
    /// A cell that waits for its first message. `previous` is the cell that it follows, and must wait for.
    pub(crate) fn new(
        host: Host,
        kind: Arc<Kind<E>>,
        mailbox: Arc<Mailbox<E>>,
        previous: Option<Arc<Mailbox<E>>>,
    ) -> Self {
        Self {
            host,
            kind,
            mailbox,
            previous,
            stage: Stage::Fresh,
            held: VecDeque::new(),
            generation: 0,
            failures: 0,
            activation_failures: 0,
            leaving: None,
            alarm: JoinSet::new(),
        }
    }

    async fn on_request(&mut self, envelope: Envelope<E>) {
        if matches!(self.stage, Stage::Fresh) {
            self.activate().await;
        }
        match &self.stage {
            Stage::Active(..) => self.process(envelope).await,
            Stage::BackingOff { until, cause } if envelope.deadline.has_passed_at(*until) => {
                let retry_after = until.saturating_sub(self.host.clock().monotonic());
                let error = AskError::Restarting { cause: cause.clone(), retry_after };
                self.refuse(envelope, error);
            }
            Stage::BackingOff { .. } => self.held.push_back(envelope),
            Stage::Refusing(error) => {
                let error = error.clone();
                self.refuse(envelope, error);
            }
            Stage::Fresh | Stage::Gone => self.refuse(envelope, AskError::Stopped),
        }
    }

    /// Answers a request with an error. One that nobody waits for becomes a dead letter, so that it is not lost unseen.
    fn refuse(&self, envelope: Envelope<E>, error: AskError) {
        self.mailbox.admission.release(envelope.bytes);
        if envelope.deadline == Deadline::NEVER {
            self.keep_letter(super::variant::name_of(&envelope.request), &error.to_string());
        }
        envelope.reply.fail(error);
    }

    /// Hands one request to the active entity.
    async fn process(&mut self, envelope: Envelope<E>) {
        let Envelope { request, reply, deadline, bytes } = envelope;
        self.mailbox.admission.release(bytes);
        let now = self.host.clock().monotonic();
        self.mailbox.touch(now);
        let is_tell = deadline == Deadline::NEVER;
        if !is_tell && deadline.has_passed_at(now) {
            reply.fail(AskError::DeadlineExceeded);
            return;
        }
        let Stage::Active(entity, OwnContext(context)) = &mut self.stage else { return };
        context.set_deadline(if is_tell { self.host.deadline_default() } else { deadline });
        let message = super::variant::name_of(&request);
        let handling = async { entity.handle(request, reply, context).await };
        match AssertUnwindSafe(handling).catch_unwind().await {
            Ok(Ok(())) => self.on_success(),
            Ok(Err(fault)) => {
                if is_tell && !matches!(fault, Fault::Poison(_)) {
                    self.keep_letter(message, &fault.causes());
                }
                self.on_fault(fault, message).await;
            }
            Err(panic) => self.on_panic(panic_text(panic.as_ref()), message).await,
        }
    }

    fn on_success(&mut self) {
        self.failures = 0;
        self.mailbox
            .answer_unanswered(|| AskError::Poison { cause: "the entity dropped the reply unanswered".to_owned() });
    }

    async fn on_event(&mut self, generation: u32, event: E::Event) {
        let Stage::Active(entity, OwnContext(context)) = &mut self.stage else { return };
        if context.generation() != generation {
            return;
        }
        self.mailbox.touch(self.host.clock().monotonic());
        context.set_deadline(self.host.deadline_default());
        let handling = async { entity.on_event(event, context).await };
        match AssertUnwindSafe(handling).catch_unwind().await {
            Ok(Ok(())) => self.on_success(),
            Ok(Err(fault)) => self.on_fault(fault, "event").await,
            Err(panic) => self.on_panic(panic_text(panic.as_ref()), "event").await,
        }
    }

    async fn on_worker_panic(&mut self, generation: u32, cause: String) {
        if matches!(&self.stage, Stage::Active(_, own) if own.0.generation() == generation) {
            self.keep_letter("worker", &cause);
            self.restart(cause).await;
        }
    }

    /// A panic leaves the entity in a state that nobody can vouch for: its message is set aside and it restarts.
    async fn on_panic(&mut self, cause: String, message: &'static str) {
        self.keep_letter(message, &cause);
        self.mailbox.answer_unanswered(|| AskError::Poison { cause: cause.clone() });
        self.restart(cause).await;
    }

    async fn on_fault(&mut self, fault: Fault, message: &'static str) {
        let cause = fault.causes();
        *self.mailbox.last_fault.lock() = Some(cause.as_str().into());
        match fault {
            Fault::Poison(_) => {
                self.keep_letter(message, &cause);
                self.mailbox.answer_unanswered(|| AskError::Poison { cause: cause.clone() });
            }
            Fault::Transient(_) => self.restart(cause).await,
            Fault::Corrupt(_) => self.quarantine(cause, None).await,
            Fault::Fenced => {
                self.host.announce::<E>(&self.mailbox.id, || LifecycleChange::Fenced);
                self.give_up(AskError::Fenced).await;
            }
        }
    }

    /// Builds the entity from the store.
    async fn activate(&mut self) {
        if let Some(previous) = self.previous.take() {
            previous.gone().await;
        }
        self.mailbox.set_phase(Phase::Activating);
        self.generation += 1;
        let own = OwnContext(Context::new(
            self.host.clone(),
            Arc::clone(&self.kind),
            Arc::clone(&self.mailbox),
            self.generation,
            self.host.deadline_default(),
        ));
        // The call itself may panic too, not only its future.
        let activation = async { E::activate(self.mailbox.id.clone(), own.0.clone()).await };
        let activated = AssertUnwindSafe(activation).catch_unwind().await;
        let fault = match activated {
            Ok(Ok(entity)) => {
                self.activation_failures = 0;
                self.stage = Stage::Active(entity, own);
                self.mailbox.set_phase(Phase::Active);
                self.mailbox.touch(self.host.clock().monotonic());
                if self.host.inner().is_draining() {
                    self.leaving = Some(Leave::Stop);
                }
                metrics::counter!("steward_entity_activations_total", "kind" => E::KIND).increment(1);
                self.host.announce::<E>(&self.mailbox.id, || LifecycleChange::Activated);
                return;
            }
            Ok(Err(fault)) => fault,
            Err(panic) => Fault::poison(panic_text(panic.as_ref())),
        };
        own.0.end().await;
        self.on_failed_activation(fault).await;
    }

    async fn on_failed_activation(&mut self, fault: Fault) {
        if matches!(fault, Fault::Corrupt(_) | Fault::Fenced) {
            return self.on_fault(fault, "activate").await;
        }
        let cause = fault.causes();
        self.activation_failures += 1;
        // What works by itself has nobody who would speak to it later: it tries again until what may pass has passed.
        let is_tried_on = E::RESIDENT && matches!(fault, Fault::Transient(_));
        if is_tried_on || self.activation_failures < self.host.limits().restarts_max {
            return self.restart(cause).await;
        }
        // What may pass by itself, such as a store that is away, is tried again without an operator.
        let retry = matches!(fault, Fault::Transient(_));
        let until = retry.then(|| self.host.clock().now().saturating_add(self.host.limits().backoff_max));
        self.quarantine(cause, until).await;
    }

    /// Drops the entity and builds it again after a back-off that doubles with each crash in a row.
    async fn restart(&mut self, cause: String) {
        self.end_activation().await;
        let limits = self.host.limits();
        let doubled = limits.backoff_min.saturating_mul(1 << self.failures.min(20));
        let backoff = doubled.min(limits.backoff_max);
        self.failures += 1;
        self.mailbox.restarts.fetch_add(1, Ordering::Relaxed);
        *self.mailbox.last_fault.lock() = Some(cause.as_str().into());
        tracing::warn!(kind = E::KIND, id = %self.mailbox.id, %cause, ?backoff, "an entity crashed and will be restarted");
        metrics::counter!("steward_entity_restarts_total", "kind" => E::KIND).increment(1);
        self.host.announce::<E>(&self.mailbox.id, || LifecycleChange::Restarting {
            cause: cause.clone(),
            backoff_ms: u64::try_from(backoff.as_millis()).unwrap_or(u64::MAX),
        });
        self.mailbox.answer_unanswered(|| AskError::Restarting { cause: cause.clone(), retry_after: backoff });
        self.mailbox.set_phase(Phase::BackingOff);
        self.stage = Stage::BackingOff { until: self.host.clock().monotonic().saturating_add(backoff), cause };
        let (clock, mailbox) = (Arc::clone(self.host.clock()), Arc::clone(&self.mailbox));
        self.alarm.abort_all();
        self.alarm.spawn(async move {
            clock.sleep(backoff).await;
            mailbox.tell(CellMessage::Wake);
        });
    }

    async fn on_wake(&mut self) {
        if !matches!(self.stage, Stage::BackingOff { .. }) {
            return;
        }
        self.activate().await;
        self.flush_held().await;
    }

    /// Hands on what was held back, until the entity crashes again.
    async fn flush_held(&mut self) {
        while matches!(self.stage, Stage::Active(..)) {
            let Some(envelope) = self.held.pop_front() else { return };
            self.process(envelope).await;
        }
    }

    async fn quarantine(&mut self, cause: String, until: Option<steward_types::Timestamp>) {
        tracing::error!(kind = E::KIND, id = %self.mailbox.id, %cause, "an entity is quarantined");
        self.host.announce::<E>(&self.mailbox.id, || LifecycleChange::Quarantined { cause: cause.clone() });
        let error = AskError::Quarantined { cause: cause.clone() };
        self.kind.quarantine(&self.mailbox, cause, self.host.clock().now(), until);
        self.give_up(error).await;
    }

    /// Drops the entity for good and refuses whatever still arrives in this cell.
    async fn give_up(&mut self, error: AskError) {
        self.mailbox.admission.close();
        self.mailbox.set_phase(Phase::Leaving);
        self.end_activation().await;
        self.mailbox.answer_unanswered(|| error.clone());
        for envelope in std::mem::take(&mut self.held) {
            self.refuse(envelope, error.clone());
        }
        self.stage = Stage::Refusing(error);
    }

    /// Ends the workers, then drops the entity.
    async fn end_activation(&mut self) {
        if let Stage::Active(entity, own) = std::mem::replace(&mut self.stage, Stage::Gone) {
            own.0.end().await;
            // A destructor of the entity is its code too.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(entity)));
        }
    }

    fn on_leave(&mut self, reason: Leave) {
        let now = self.host.clock().monotonic();
        let idle_for = now.saturating_sub(self.mailbox.last_activity());
        let leaves = match reason {
            Leave::Stop => true,
            Leave::Idle => !E::RESIDENT && idle_for >= self.host.limits().idle_time_max && self.is_idle(),
            Leave::Pressure => !E::RESIDENT && self.is_idle(),
        };
        if leaves {
            self.leaving = Some(reason);
        } else {
            self.mailbox.refuse_to_leave(now);
        }
    }

    fn is_idle(&self) -> bool {
        match &self.stage {
            Stage::Active(entity, _) => {
                std::panic::catch_unwind(AssertUnwindSafe(|| entity.is_idle())).unwrap_or(false)
            }
            Stage::Fresh | Stage::Gone | Stage::Refusing(_) => true,
            Stage::BackingOff { .. } => self.held.is_empty(),
        }
    }

    fn on_observe(&self, observer: oneshot::Sender<(usize, serde_json::Value)>) {
        let Stage::Active(entity, own) = &self.stage else { return };
        let observed = std::panic::catch_unwind(AssertUnwindSafe(|| entity.observe()));
        let entity = observed.unwrap_or_else(|panic| serde_json::json!({ "error": panic_text(panic.as_ref()) }));
        let _ = observer.send((own.0.workers(), entity));
    }

    /// Leaves memory if it should and nothing waits; true once nothing of the entity is left.
    async fn leave_if_due(&mut self) -> bool {
        let closed = match &self.stage {
            Stage::Refusing(_) => self.mailbox.admission.messages() == 0,
            Stage::Gone => return true,
            _ => self.leaving.is_some() && self.is_idle() && self.mailbox.admission.close_if_empty(),
        };
        if !closed {
            // Whoever came back to life for a message stays, unless it was told to stop.
            self.leaving = self.leaving.filter(|reason| *reason == Leave::Stop);
            return false;
        }
        let passivated = matches!(self.stage, Stage::Active(..));
        self.mailbox.set_phase(Phase::Leaving);
        self.end_activation().await;
        self.stage = Stage::Gone;
        if passivated {
            self.host.announce::<E>(&self.mailbox.id, || LifecycleChange::Passivated);
        }
        self.vanish();
        true
    }

    /// Takes the cell out of the directory. Done once; whoever waits for it goes on.
    fn vanish(&self) {
        self.kind.remove(&self.mailbox);
        self.mailbox.set_gone();
        self.host.on_gone();
    }

    fn keep_letter(&self, message: &str, cause: &str) {
        *self.mailbox.last_fault.lock() = Some(cause.into());
        tracing::warn!(kind = E::KIND, id = %self.mailbox.id, message, cause, "a message became a dead letter");
        self.host.keep_letter::<E>(&self.mailbox.id, message, cause);
    }
}

impl<E: Entity> Drop for CellState<E> {
    /// After an orderly end nothing is left to do; a killed actor is cleaned up here.
    fn drop(&mut self) {
        if self.mailbox.phase() == Phase::Gone {
            return;
        }
        self.mailbox.admission.close();
        let stage = std::mem::replace(&mut self.stage, Stage::Gone);
        let _ = std::panic::catch_unwind(AssertUnwindSafe(|| drop(stage)));
        self.vanish();
    }
}
