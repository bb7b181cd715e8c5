//! A kind behind its name: what the host and the generic Actors service do with entities of any kind.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use ractor::ActorCell;
use serde_json::Value;
use steward_types::Timestamp;
use tokio::sync::oneshot;

use super::deadline::Deadline;
use super::directory::Kind;
use super::drain::StopOutcome;
use super::entity::Entity;
use super::error::AskJsonError;
use super::id::EntityId;
use super::letter::Quarantine;
use super::mailbox::{CellMessage, Leave, Leaver, Mailbox, Phase};
use super::node::{Host, Origin};
use super::snapshot::{EntityPage, EntityState, EntitySummary, KindCount, Snapshot};

/// A kind of entity without its type.
#[async_trait]
pub(crate) trait KindPort: Send + Sync {
    fn name(&self) -> &'static str;
    fn supervise(&self, supervisor: ActorCell);
    async fn ask(&self, host: &Host, id: &EntityId, request: Value, deadline: Deadline) -> Result<Value, AskJsonError>;
    /// Handles a request that another node sent here.
    async fn receive(
        &self,
        host: &Host,
        id: &EntityId,
        request: Value,
        from_inside: bool,
        deadline: Deadline,
    ) -> Result<Value, AskJsonError>;
    fn tell(&self, host: &Host, id: &EntityId, request: Value) -> Result<(), AskJsonError>;
    fn list(&self, host: &Host, after: Option<&EntityId>, limit: usize) -> EntityPage;
    async fn inspect(&self, host: &Host, id: &EntityId, deadline: Deadline) -> Snapshot;
    async fn stop(&self, host: &Host, id: &EntityId, deadline: Deadline) -> StopOutcome;
    fn release(&self, host: &Host, id: &EntityId) -> bool;
    fn quarantined(&self, into: &mut Vec<Quarantine>);
    fn count(&self) -> KindCount;
    /// Tells every live entity to leave memory as soon as it is idle.
    fn leave_all(&self);
    /// Tells every live entity of a shard to leave memory as soon as it is idle, and says how many there are.
    fn leave_shard(&self, shard: u32) -> usize;
    /// Ends every live entity of the shards at once, and says how many there were.
    fn kill_shards(&self, shards: &HashSet<u32>) -> usize;
    /// Ends every live entity at once, and says which they were.
    fn kill_all(&self, host: &Host) -> Vec<EntitySummary>;
    /// Those that may be asked to leave memory, with the sweeper's order of each.
    fn leavers(&self, into: &mut Vec<(Duration, Arc<dyn Leaver>)>);
}

#[async_trait]
impl<E: Entity> KindPort for Kind<E> {
    fn name(&self) -> &'static str {
        E::KIND
    }

    fn supervise(&self, supervisor: ActorCell) {
        Kind::supervise(self, supervisor);
    }

    async fn ask(&self, host: &Host, id: &EntityId, request: Value, deadline: Deadline) -> Result<Value, AskJsonError> {
        let response = host.ask::<E>(id, read::<E>(request)?, deadline).await?;
        serde_json::to_value(response).map_err(|source| AskJsonError::Unwritable { kind: E::KIND, source })
    }

    async fn receive(
        &self,
        host: &Host,
        id: &EntityId,
        request: Value,
        from_inside: bool,
        deadline: Deadline,
    ) -> Result<Value, AskJsonError> {
        let origin = if from_inside { Origin::Inside } else { Origin::Outside };
        let response = host.ask_here::<E>(origin, id, read::<E>(request)?, deadline).await?;
        serde_json::to_value(response).map_err(|source| AskJsonError::Unwritable { kind: E::KIND, source })
    }

    fn tell(&self, host: &Host, id: &EntityId, request: Value) -> Result<(), AskJsonError> {
        Ok(host.tell::<E>(id, read::<E>(request)?)?)
    }

    fn list(&self, host: &Host, after: Option<&EntityId>, limit: usize) -> EntityPage {
        let is_after = |id: &EntityId| after.is_none_or(|after| id > after);
        let mut entities = Vec::new();
        self.each_live(|mailbox| {
            if is_after(&mailbox.id) {
                entities.push(summary(host, mailbox));
            }
        });
        self.each_quarantine(|quarantine| {
            if is_after(&quarantine.id) {
                entities.push(quarantined_summary(quarantine));
            }
        });
        let more = entities.len() > limit;
        if more {
            entities.select_nth_unstable_by(limit, |left, right| left.id.cmp(&right.id));
            entities.truncate(limit);
        }
        entities.sort_unstable_by(|left, right| left.id.cmp(&right.id));
        EntityPage { entities, more }
    }

    async fn inspect(&self, host: &Host, id: &EntityId, deadline: Deadline) -> Snapshot {
        let mailbox = self.live(id);
        let quarantine = self.quarantine_of(id);
        let state = match (&mailbox, &quarantine) {
            (Some(mailbox), _) => mailbox.phase().into(),
            (None, Some(_)) => EntityState::Quarantined,
            (None, None) => EntityState::Resting,
        };
        let mut snapshot = Snapshot {
            kind: E::KIND.into(),
            id: id.clone(),
            shard: host.lease().shard_of(E::KIND, id),
            state,
            mailbox_messages: mailbox.as_ref().map_or(0, |mailbox| mailbox.admission.messages()),
            mailbox_bytes: mailbox.as_ref().map_or(0, |mailbox| mailbox.admission.bytes()),
            restarts: mailbox.as_ref().map_or(0, |mailbox| mailbox.restarts.load(Ordering::Relaxed)),
            last_fault: mailbox.as_ref().and_then(|mailbox| mailbox.last_fault.lock().as_deref().map(str::to_owned)),
            last_activity: mailbox.as_ref().map(|mailbox| last_activity(host, mailbox)),
            quarantine,
            workers: None,
            entity: None,
        };
        if let Some(mailbox) = mailbox.filter(|mailbox| mailbox.phase() == Phase::Active) {
            let (observer, observed) = oneshot::channel();
            mailbox.tell(CellMessage::Observe(observer));
            if let Ok(Ok((workers, entity))) = host.until(deadline, observed).await {
                (snapshot.workers, snapshot.entity) = (Some(workers), Some(entity));
            }
        }
        snapshot
    }

    async fn stop(&self, host: &Host, id: &EntityId, deadline: Deadline) -> StopOutcome {
        let Some(mailbox) = self.live(id) else { return StopOutcome::NotLive };
        mailbox.leave(Leave::Stop);
        match host.until(deadline, mailbox.gone()).await {
            Ok(()) => StopOutcome::Stopped,
            Err(_) => {
                mailbox.kill();
                StopOutcome::Killed
            }
        }
    }

    fn release(&self, host: &Host, id: &EntityId) -> bool {
        Kind::release(self, host, id)
    }

    fn quarantined(&self, into: &mut Vec<Quarantine>) {
        self.each_quarantine(|quarantine| into.push(quarantine.clone()));
    }

    fn count(&self) -> KindCount {
        let mut count = KindCount { kind: E::KIND.into(), live: 0, quarantined: 0, mailbox_messages: 0 };
        self.each_live(|mailbox| {
            count.live += 1;
            count.mailbox_messages += mailbox.admission.messages() as u64;
        });
        self.each_quarantine(|_| count.quarantined += 1);
        count
    }

    fn leave_all(&self) {
        self.each_live(|mailbox| mailbox.leave(Leave::Stop));
    }

    fn leave_shard(&self, shard: u32) -> usize {
        let mut count = 0;
        self.each_live_of_shards(
            |of| of == shard,
            |mailbox| {
                count += 1;
                mailbox.leave(Leave::Stop);
            },
        );
        count
    }

    fn kill_shards(&self, shards: &HashSet<u32>) -> usize {
        let mut count = 0;
        self.each_live_of_shards(
            |of| shards.contains(&of),
            |mailbox| {
                count += 1;
                mailbox.kill();
            },
        );
        count
    }

    fn kill_all(&self, host: &Host) -> Vec<EntitySummary> {
        let mut left = Vec::new();
        self.each_live(|mailbox| {
            left.push(summary(host, mailbox));
            mailbox.kill();
        });
        left
    }

    fn leavers(&self, into: &mut Vec<(Duration, Arc<dyn Leaver>)>) {
        if !E::RESIDENT {
            self.each_live(|mailbox| {
                if mailbox.phase() == Phase::Active {
                    into.push((mailbox.sweep_order(), Arc::clone(mailbox) as _));
                }
            });
        }
    }
}

fn read<E: Entity>(request: Value) -> Result<E::Request, AskJsonError> {
    serde_json::from_value(request).map_err(|source| AskJsonError::Malformed { kind: E::KIND, source })
}

fn summary<E: Entity>(host: &Host, mailbox: &Mailbox<E>) -> EntitySummary {
    EntitySummary {
        kind: E::KIND.into(),
        id: mailbox.id.clone(),
        state: mailbox.phase().into(),
        mailbox_messages: mailbox.admission.messages(),
        restarts: mailbox.restarts.load(Ordering::Relaxed),
        last_activity: last_activity(host, mailbox),
    }
}

fn quarantined_summary(quarantine: &Quarantine) -> EntitySummary {
    EntitySummary {
        kind: quarantine.kind.clone(),
        id: quarantine.id.clone(),
        state: EntityState::Quarantined,
        mailbox_messages: 0,
        restarts: 0,
        last_activity: quarantine.since,
    }
}

fn last_activity<E: Entity>(host: &Host, mailbox: &Mailbox<E>) -> Timestamp {
    let ago = host.clock().monotonic().saturating_sub(mailbox.last_activity());
    let now_ms = host.clock().now().as_millis();
    Timestamp::from_millis(now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX)))
}

impl Host {
    /// The names of the registered kinds, in order.
    pub fn kinds(&self) -> Vec<&'static str> {
        self.inner().kinds().map(|kind| kind.name()).collect()
    }

    /// Asks an entity in JSON.
    ///
    /// # Errors
    /// See [`AskJsonError`]. Dropping the future leaves the message with the entity.
    pub async fn ask_json(
        &self,
        kind: &str,
        id: &EntityId,
        request: Value,
        deadline: Deadline,
    ) -> Result<Value, AskJsonError> {
        self.inner().kind(kind)?.ask(self, id, request, deadline).await
    }

    /// Leaves a message in JSON with an entity.
    ///
    /// # Errors
    /// See [`AskJsonError`].
    pub fn tell_json(&self, kind: &str, id: &EntityId, request: Value) -> Result<(), AskJsonError> {
        self.inner().kind(kind)?.tell(self, id, request)
    }

    /// The entities of a kind that are in memory or in quarantine, by id, after `after`, at most `limit`.
    ///
    /// # Errors
    /// [`UnknownKind`](super::AskError::UnknownKind).
    pub fn list(
        &self,
        kind: &str,
        after: Option<&EntityId>,
        limit: usize,
    ) -> Result<EntityPage, super::error::AskError> {
        Ok(self.inner().kind(kind)?.list(self, after, limit))
    }

    /// One entity in full. It is not activated for it. What it says of itself is left out if it doesn't come in time.
    ///
    /// # Errors
    /// [`UnknownKind`](super::AskError::UnknownKind).
    pub async fn inspect(
        &self,
        kind: &str,
        id: &EntityId,
        deadline: Deadline,
    ) -> Result<Snapshot, super::error::AskError> {
        Ok(self.inner().kind(kind)?.inspect(self, id, deadline).await)
    }

    /// The entities in quarantine, oldest first.
    pub fn quarantined(&self) -> Vec<Quarantine> {
        let mut quarantined = Vec::new();
        self.inner().kinds().for_each(|kind| kind.quarantined(&mut quarantined));
        quarantined.sort_by_key(|quarantine| quarantine.since);
        quarantined
    }

    /// How many entities of each kind there are, by kind.
    pub fn counts(&self) -> Vec<KindCount> {
        self.inner().kinds().map(|kind| kind.count()).collect()
    }

    /// Lets an entity out of quarantine: its next message activates it again. False when it was not in it.
    ///
    /// # Errors
    /// [`UnknownKind`](super::AskError::UnknownKind).
    pub fn release(&self, kind: &str, id: &EntityId) -> Result<bool, super::error::AskError> {
        Ok(self.inner().kind(kind)?.release(self, id))
    }

    /// The changes from now on of an entity of a kind, or of all its entities.
    ///
    /// # Errors
    /// [`UnknownKind`](super::AskError::UnknownKind).
    pub fn watch(
        &self,
        kind: &str,
        id: Option<EntityId>,
    ) -> Result<super::lifecycle::LifecycleWatch, super::error::AskError> {
        let kind = self.inner().kind(kind)?.name();
        let changes = self.inner().changes().subscribe();
        Ok(super::lifecycle::LifecycleWatch { changes, kind, id, clock: Arc::clone(self.clock()) })
    }
}
