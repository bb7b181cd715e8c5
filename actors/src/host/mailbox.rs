//! The part of a cell that senders and the host share: its mailbox and the facts an operator may see.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use ractor::{ActorRef, MessagingErr};
use smallvec::SmallVec;
use tokio::sync::{Notify, oneshot};

use super::admission::{Admission, Refused};
use super::deadline::Deadline;
use super::entity::Entity;
use super::error::AskError;
use super::id::EntityId;
use super::reply::{Answer, Reply, Unanswered};

/// What a cell is told.
pub(crate) enum CellMessage<E: Entity> {
    /// A request from outside.
    Request(Envelope<E>),
    /// An event of a worker of the entity's `generation`.
    Event { generation: u32, event: E::Event },
    /// A worker of the entity's `generation` panicked.
    WorkerPanicked { generation: u32, cause: String },
    /// The back-off is over.
    Wake,
    /// Leave memory if possible.
    Leave(Leave),
    /// Say how many workers run, and what there is to say of the entity.
    Observe(oneshot::Sender<(usize, serde_json::Value)>),
}

/// Cells stay on their node: their messages hold channels, and go to other nodes only as requests.
impl<E: Entity> ractor::Message for CellMessage<E> {}

/// Why a cell should leave memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// It has been idle for long.
    Idle,
    /// The node has too many live entities.
    Pressure,
    /// An operator stopped it, or the node drains: it leaves as soon as it is idle.
    Stop,
}

/// A request on its way, with its permit: the bytes that it holds of its mailbox.
pub(crate) struct Envelope<E: Entity> {
    pub(crate) request: E::Request,
    pub(crate) reply: Reply<E::Response>,
    pub(crate) deadline: Deadline,
    pub(crate) bytes: u32,
}

/// Where an entity is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    Activating,
    Active,
    BackingOff,
    Leaving,
    Gone,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Activating, Self::Active, Self::BackingOff, Self::Leaving, Self::Gone];
}

/// A cell's mailbox.
pub(crate) struct Mailbox<E: Entity> {
    pub(crate) id: EntityId,
    /// The entity's shard.
    pub(crate) shard: u32,
    pub(crate) admission: Admission,
    actor: OnceLock<ActorRef<CellMessage<E>>>,
    phase: AtomicU8,
    pub(crate) restarts: AtomicU32,
    last_activity_ms: AtomicU64,
    /// When it last refused to leave memory, so that the sweeper looks at others first.
    last_refusal_ms: AtomicU64,
    pub(crate) last_fault: Mutex<Option<Box<str>>>,
    unanswered: Mutex<SmallVec<[Answer<E::Response>; 1]>>,
    is_gone: AtomicBool,
    gone: Notify,
}

/// Why an envelope came back.
pub(crate) enum Returned<E: Entity> {
    Full,
    Closed(Envelope<E>),
}

impl<E: Entity> Mailbox<E> {
    pub(crate) fn new(id: EntityId, shard: u32, now: Duration) -> Self {
        let mailbox = Self {
            id,
            shard,
            admission: Admission::default(),
            actor: OnceLock::new(),
            phase: AtomicU8::new(Phase::Activating as u8),
            restarts: AtomicU32::new(0),
            last_activity_ms: AtomicU64::new(0),
            last_refusal_ms: AtomicU64::new(0),
            last_fault: Mutex::new(None),
            unanswered: Mutex::default(),
            is_gone: AtomicBool::new(false),
            gone: Notify::new(),
        };
        mailbox.touch(now);
        mailbox
    }

    /// Puts the actor behind the mailbox, once.
    pub(crate) fn connect(&self, actor: ActorRef<CellMessage<E>>) {
        let connected = self.actor.set(actor);
        assert!(connected.is_ok(), "a mailbox has one actor");
    }

    /// Queues a request, if there is a permit for it.
    pub(crate) fn offer(
        &self,
        envelope: Envelope<E>,
        messages_max: usize,
        bytes_max: usize,
    ) -> Result<(), Returned<E>> {
        match self.admission.admit(envelope.bytes, messages_max, bytes_max) {
            Err(Refused::Full) => {
                let Envelope { reply, .. } = envelope;
                reply.withdraw();
                return Err(Returned::Full);
            }
            Err(Refused::Closed) => return Err(Returned::Closed(envelope)),
            Ok(()) => {}
        }
        match self.actor.get().map(|actor| actor.send_message(CellMessage::Request(envelope))) {
            Some(Err(MessagingErr::SendErr(CellMessage::Request(envelope)))) => {
                // Only a killed actor refuses: its cell is on its way out and another follows.
                self.admission.close();
                Err(Returned::Closed(envelope))
            }
            _ => Ok(()),
        }
    }

    /// Tells the cell something that needs no permit. A cell that is gone does not hear it.
    pub(crate) fn tell(&self, message: CellMessage<E>) {
        if let Some(actor) = self.actor.get() {
            let _ = actor.send_message(message);
        }
    }

    /// Ends the actor at once, in the middle of what it does.
    pub(crate) fn kill(&self) {
        if let Some(actor) = self.actor.get() {
            actor.kill();
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::ALL[usize::from(self.phase.load(Ordering::Relaxed))]
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Notes that it was used at `now`, a time of the host's monotonic clock.
    pub(crate) fn touch(&self, now: Duration) {
        self.last_activity_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// When it was last used, by the host's monotonic clock.
    pub(crate) fn last_activity(&self) -> Duration {
        Duration::from_millis(self.last_activity_ms.load(Ordering::Relaxed))
    }

    /// Notes that it could not leave memory at `now`.
    pub(crate) fn refuse_to_leave(&self, now: Duration) {
        self.last_refusal_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// The sweeper's order: least recently used first, those that could not leave last time behind.
    pub(crate) fn sweep_order(&self) -> Duration {
        self.last_activity().max(Duration::from_millis(self.last_refusal_ms.load(Ordering::Relaxed)))
    }

    /// Answers the replies that were dropped unanswered.
    pub(crate) fn answer_unanswered(&self, error: impl Fn() -> AskError) {
        let answers = std::mem::take(&mut *self.unanswered.lock());
        for answer in answers {
            let _ = answer.send(Err(error()));
        }
    }

    /// Notes that nothing of the entity is left in memory.
    pub(crate) fn set_gone(&self) {
        self.set_phase(Phase::Gone);
        self.is_gone.store(true, Ordering::Release);
        self.answer_unanswered(|| AskError::Stopped);
        self.gone.notify_waiters();
    }

    /// Returns once nothing of the entity is left in memory.
    pub(crate) async fn gone(&self) {
        loop {
            let gone = self.gone.notified();
            tokio::pin!(gone);
            gone.as_mut().enable();
            if self.is_gone.load(Ordering::Acquire) {
                return;
            }
            gone.await;
        }
    }
}

impl<E: Entity> Unanswered<E::Response> for Mailbox<E> {
    fn give_back(&self, answer: Answer<E::Response>) {
        let mut unanswered = self.unanswered.lock();
        // Read under the lock, so that `set_gone` either sees the answer or is seen here.
        if self.is_gone.load(Ordering::Acquire) {
            let _ = answer.send(Err(AskError::Stopped));
        } else {
            unanswered.push(answer);
        }
    }
}

/// What the sweeper needs of a mailbox, whatever its kind.
pub(crate) trait Leaver: Send + Sync {
    fn leave(&self, reason: Leave);
}

impl<E: Entity> Leaver for Mailbox<E> {
    fn leave(&self, reason: Leave) {
        self.tell(CellMessage::Leave(reason));
    }
}
