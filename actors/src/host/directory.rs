//! The directory of one kind: which of its entities are live, which are in quarantine, and how a message finds its cell.
//!
//! At most one open cell stands under an id. A cell that is closing is followed by another that waits until
//! nothing of the first is left, so that no two activations of an entity ever overlap.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use ractor::{ActorCell, ActorRuntime};
use steward_types::Timestamp;
use steward_types::limits::{OVERLOAD_RETRY_AFTER, QUARANTINED_MAX};

use super::cell::{Cell, CellState};
use super::deadline::Deadline;
use super::entity::Entity;
use super::error::AskError;
use super::id::EntityId;
use super::letter::Quarantine;
use super::lifecycle::LifecycleChange;
use super::mailbox::{Envelope, Mailbox, Phase, Returned};
use super::node::Host;
use super::reply::{Answer, Reply, Unanswered};
use super::router::Placement;

const DIRECTORY_SHARDS: usize = 64;

/// One kind of entity on this node.
pub(crate) struct Kind<E: Entity> {
    environment: E::Environment,
    hasher: RandomState,
    shards: Box<[Shard<E>]>,
    supervisor: OnceLock<ActorCell>,
}

type Shard<E> = Mutex<HashMap<EntityId, Slot<E>>>;

enum Slot<E: Entity> {
    Live(Arc<Mailbox<E>>),
    /// Set aside, with the last cell, whose end the next one must wait for.
    Quarantined(Quarantine, Arc<Mailbox<E>>),
}

/// A request on its way to its entity.
pub(crate) struct Parcel<E: Entity> {
    pub(crate) request: E::Request,
    /// Where the answer goes; none for a tell.
    pub(crate) answer: Option<Answer<E::Response>>,
    pub(crate) deadline: Deadline,
}

/// A request that was not delivered, and why.
pub(crate) enum Undelivered<P> {
    /// There is no room for another live entity; the request may wait for some.
    NoRoom(P),
    /// It was refused.
    Refused(AskError),
}

impl<E: Entity> Kind<E> {
    pub(crate) fn new(environment: E::Environment) -> Self {
        let shards = (0..DIRECTORY_SHARDS).map(|_| Mutex::default()).collect();
        Self { environment, hasher: RandomState::new(), shards, supervisor: OnceLock::new() }
    }

    pub(crate) fn environment(&self) -> &E::Environment {
        &self.environment
    }

    /// Sets the supervisor of the kind's cells, once, before the first message.
    pub(crate) fn supervise(&self, supervisor: ActorCell) {
        let set = self.supervisor.set(supervisor);
        assert!(set.is_ok(), "a kind has one supervisor");
    }

    fn shard(&self, id: &EntityId) -> &Shard<E> {
        &self.shards[(self.hasher.hash_one(id) as usize) % DIRECTORY_SHARDS]
    }

    /// Queues a request in the mailbox of its entity, which is activated if need be.
    pub(crate) fn deliver(
        self: &Arc<Self>,
        host: &Host,
        id: &EntityId,
        mut parcel: Parcel<E>,
    ) -> Result<(), Undelivered<Parcel<E>>> {
        let limits = host.limits();
        let (bytes, limit) = (E::size_bytes(&parcel.request), limits.message_bytes_max);
        let Some(permit) = u32::try_from(bytes).ok().filter(|_| bytes <= limit) else {
            return Err(Undelivered::Refused(AskError::TooLarge { bytes, limit }));
        };
        loop {
            let mailbox = match self.mailbox(host, id) {
                Ok(mailbox) => mailbox,
                Err(Undelivered::NoRoom(())) => return Err(Undelivered::NoRoom(parcel)),
                Err(Undelivered::Refused(error)) => return Err(Undelivered::Refused(error)),
            };
            let unanswered: Arc<dyn Unanswered<E::Response>> = Arc::clone(&mailbox) as _;
            let Parcel { request, answer, deadline } = parcel;
            let envelope = Envelope { request, reply: Reply::new(answer, unanswered), deadline, bytes: permit };
            match mailbox.offer(envelope, limits.mailbox_messages_max, limits.mailbox_bytes_max) {
                Ok(()) => return Ok(()),
                Err(Returned::Full) => {
                    return Err(Undelivered::Refused(AskError::Overloaded { retry_after: OVERLOAD_RETRY_AFTER }));
                }
                Err(Returned::Closed(Envelope { request, reply, .. })) => {
                    parcel = Parcel { request, answer: reply.into_answer(), deadline };
                }
            }
        }
    }

    /// The open mailbox of an entity; it begins its activation if it is not live.
    fn mailbox(self: &Arc<Self>, host: &Host, id: &EntityId) -> Result<Arc<Mailbox<E>>, Undelivered<()>> {
        let mut shard = self.shard(id).lock();
        let previous = match shard.get(id) {
            Some(Slot::Live(mailbox)) if !mailbox.admission.is_closed() => return Ok(Arc::clone(mailbox)),
            Some(Slot::Live(mailbox)) => Some(Arc::clone(mailbox)),
            Some(Slot::Quarantined(quarantine, _)) if quarantine.lasts(host.clock().now()) => {
                return Err(Undelivered::Refused(AskError::Quarantined { cause: quarantine.cause.clone() }));
            }
            Some(Slot::Quarantined(_, last)) => Some(Arc::clone(last)),
            None => None,
        };
        if !host.serves::<E>(id) {
            let shard = host.lease().shard_of(E::KIND, id);
            return Err(Undelivered::Refused(AskError::Elsewhere { shard }));
        }
        host.admit_activation()?;
        let mailbox = Arc::new(Mailbox::new(id.clone(), host.lease().shard_of(E::KIND, id), host.clock().monotonic()));
        let state = CellState::new(host.clone(), Arc::clone(self), Arc::clone(&mailbox), previous);
        let supervisor = self.supervisor.get().expect("the host has started").clone();
        // Senders may be threads outside of the runtime.
        let _runtime = host.runtime().enter();
        let (actor, _started) = ActorRuntime::<Cell<E>>::spawn_linked_instant(None, Cell::default(), state, supervisor)
            .expect("an actor without a name can always be spawned");
        mailbox.connect(actor);
        shard.insert(id.clone(), Slot::Live(Arc::clone(&mailbox)));
        Ok(mailbox)
    }

    /// The mailbox of a live entity.
    pub(crate) fn live(&self, id: &EntityId) -> Option<Arc<Mailbox<E>>> {
        match self.shard(id).lock().get(id) {
            Some(Slot::Live(mailbox)) => Some(Arc::clone(mailbox)),
            _ => None,
        }
    }

    /// The quarantine of an entity.
    pub(crate) fn quarantine_of(&self, id: &EntityId) -> Option<Quarantine> {
        self.shard(id).lock().get(id).and_then(Slot::quarantine).cloned()
    }

    /// Looks at every live mailbox, one shard of the directory at a time.
    pub(crate) fn each_live(&self, mut look: impl FnMut(&Arc<Mailbox<E>>)) {
        for shard in &self.shards {
            for slot in shard.lock().values() {
                if let Slot::Live(mailbox) = slot {
                    look(mailbox);
                }
            }
        }
    }

    /// Looks at every live mailbox of the shards that `wanted` names; none of a kind that is not spread over shards.
    pub(crate) fn each_live_of_shards(&self, wanted: impl Fn(u32) -> bool, mut look: impl FnMut(&Arc<Mailbox<E>>)) {
        if E::PLACEMENT == Placement::Shard {
            self.each_live(|mailbox| {
                if wanted(mailbox.shard) {
                    look(mailbox);
                }
            });
        }
    }

    /// Looks at every quarantine.
    pub(crate) fn each_quarantine(&self, mut look: impl FnMut(&Quarantine)) {
        for shard in &self.shards {
            shard.lock().values().filter_map(Slot::quarantine).for_each(&mut look);
        }
    }

    /// Forgets a mailbox, unless another has followed it.
    pub(crate) fn remove(&self, mailbox: &Arc<Mailbox<E>>) {
        let mut shard = self.shard(&mailbox.id).lock();
        if matches!(shard.get(&mailbox.id), Some(Slot::Live(live)) if Arc::ptr_eq(live, mailbox)) {
            shard.remove(&mailbox.id);
        }
    }

    /// Puts an entity into quarantine, in place of its mailbox, which is closed.
    pub(crate) fn quarantine(
        &self,
        mailbox: &Arc<Mailbox<E>>,
        cause: String,
        since: Timestamp,
        until: Option<Timestamp>,
    ) {
        let id = &mailbox.id;
        let quarantine = Quarantine { kind: E::KIND.into(), id: id.clone(), cause, since, until };
        let mut shard = self.shard(id).lock();
        // Closed under the lock: a sender finds either the open mailbox or the quarantine.
        mailbox.admission.close();
        let others = || shard.values().filter_map(Slot::quarantine);
        if others().count() >= QUARANTINED_MAX / DIRECTORY_SHARDS
            && let Some(oldest) = others().min_by_key(|other| other.since).map(|other| other.id.clone())
        {
            shard.remove(&oldest);
        }
        shard.insert(id.clone(), Slot::Quarantined(quarantine, Arc::clone(mailbox)));
    }

    /// Lets an entity out of quarantine; false when it was not in it.
    pub(crate) fn release(&self, host: &Host, id: &EntityId) -> bool {
        let mut shard = self.shard(id).lock();
        let Some(Slot::Quarantined(_, last)) = shard.get(id) else { return false };
        let last = Arc::clone(last);
        if last.phase() == Phase::Gone {
            shard.remove(id);
        } else {
            shard.insert(id.clone(), Slot::Live(last));
        }
        drop(shard);
        host.announce::<E>(id, || LifecycleChange::Released);
        true
    }
}

impl<E: Entity> Slot<E> {
    fn quarantine(&self) -> Option<&Quarantine> {
        match self {
            Self::Quarantined(quarantine, _) => Some(quarantine),
            Self::Live(_) => None,
        }
    }
}
