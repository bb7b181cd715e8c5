//! What happens to entities, for those who watch. A watcher that is too slow learns how much it missed.

use serde::Serialize;
use steward_types::Timestamp;
use tokio::sync::broadcast;

use super::id::EntityId;

/// One change in an entity's life.
#[derive(Debug, Clone, Serialize)]
pub struct Lifecycle {
    /// The entity's kind.
    pub kind: &'static str,
    /// The entity.
    pub id: EntityId,
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub change: LifecycleChange,
}

/// What changed in an entity's life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "change", rename_all = "snake_case")]
pub enum LifecycleChange {
    /// It was built from the store.
    Activated,
    /// It left memory; the next message activates it again.
    Passivated,
    /// It crashed and will be built again.
    Restarting {
        /// Why.
        cause: String,
        /// In how many milliseconds.
        backoff_ms: u64,
    },
    /// A message was set aside.
    DeadLetter {
        /// Why.
        cause: String,
    },
    /// It was set aside.
    Quarantined {
        /// Why.
        cause: String,
    },
    /// It was let out of quarantine.
    Released,
    /// Its node lost the lease of its shard.
    Fenced,
    /// The watcher was too slow and missed changes.
    Missed {
        /// How many, of all entities of the node.
        count: u64,
    },
}

/// A stream of changes of one entity, or of all entities of a kind.
#[derive(Debug)]
pub struct LifecycleWatch {
    pub(crate) changes: broadcast::Receiver<Lifecycle>,
    pub(crate) kind: &'static str,
    pub(crate) id: Option<EntityId>,
    pub(crate) clock: std::sync::Arc<dyn steward_types::Clock>,
}

impl LifecycleWatch {
    /// The next change, or `None` once the host is gone. Dropping the future loses no change.
    pub async fn next(&mut self) -> Option<Lifecycle> {
        loop {
            match self.changes.recv().await {
                Ok(change) if change.kind == self.kind && self.id.as_ref().is_none_or(|id| *id == change.id) => {
                    return Some(change);
                }
                Ok(_) => {}
                Err(broadcast::error::RecvError::Lagged(count)) => {
                    return Some(Lifecycle {
                        kind: self.kind,
                        id: self.id.clone().unwrap_or_else(EntityId::singleton),
                        at: self.clock.now(),
                        change: LifecycleChange::Missed { count },
                    });
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}
