//! What an operator sees of entities: pages of them, and one in full.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use steward_types::Timestamp;

use super::id::EntityId;
use super::letter::Quarantine;
use super::mailbox::Phase;

/// Where an entity is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityState {
    /// Not in memory; its next message activates it.
    Resting,
    /// Being built from the store.
    Activating,
    /// Handling messages.
    Active,
    /// Crashed; waiting to be built again.
    BackingOff,
    /// Leaving memory.
    Leaving,
    /// Set aside.
    Quarantined,
}

impl From<Phase> for EntityState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Activating => Self::Activating,
            Phase::Active => Self::Active,
            Phase::BackingOff => Self::BackingOff,
            Phase::Leaving => Self::Leaving,
            Phase::Gone => Self::Resting,
        }
    }
}

/// One line of a list of entities.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntitySummary {
    /// The entity's kind.
    pub kind: Cow<'static, str>,
    /// The entity.
    pub id: EntityId,
    /// Where it is in its life.
    pub state: EntityState,
    /// Messages that wait for it.
    pub mailbox_messages: usize,
    /// Times that it crashed since it came into memory.
    pub restarts: u32,
    /// When it was last used.
    pub last_activity: Timestamp,
}

/// A page of the entities of a kind that are in memory or in quarantine, by id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntityPage {
    /// The entities.
    pub entities: Vec<EntitySummary>,
    /// Whether there are more after the last.
    pub more: bool,
}

/// One entity in full.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Snapshot {
    /// The entity's kind.
    pub kind: Cow<'static, str>,
    /// The entity.
    pub id: EntityId,
    /// Its shard.
    pub shard: u32,
    /// Where it is in its life.
    pub state: EntityState,
    /// Messages that wait for it.
    pub mailbox_messages: usize,
    /// Bytes that those messages hold.
    pub mailbox_bytes: usize,
    /// Times that it crashed since it came into memory.
    pub restarts: u32,
    /// Why it last crashed or refused a message since it came into memory.
    pub last_fault: Option<String>,
    /// When it was last used; `None` when it is not in memory.
    pub last_activity: Option<Timestamp>,
    /// Why it is set aside, if it is.
    pub quarantine: Option<Quarantine>,
    /// Workers that run for it.
    pub workers: Option<usize>,
    /// What it says of itself; `None` when it is not active, or too busy to say it in time.
    pub entity: Option<serde_json::Value>,
}

/// How many entities of a kind there are on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCount {
    /// The kind.
    pub kind: Cow<'static, str>,
    /// In memory.
    pub live: u64,
    /// Set aside.
    pub quarantined: u64,
    /// Messages that wait in their mailboxes.
    pub mailbox_messages: u64,
}
