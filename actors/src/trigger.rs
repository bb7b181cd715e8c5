//! Triggers: events of chains start sessions, one each, whatever is killed when.
//!
//! One entity a trigger, named `project/agent/trigger`. It reads final blocks only, past a durable checkpoint. Before a
//! session is asked for, its id is stored under the event's identity; asking again for the same id changes nothing; and
//! the checkpoint moves past an event only once its session is there. So a reorganisation, a kill or a second node can
//! neither lose an event nor double it.

mod canonical;
mod entity;
mod feed;
mod looking;
mod messages;
mod record;
mod starting;
mod status;

use std::sync::Arc;

use steward_storage::Store;
use steward_types::Entropy;

use crate::chain::Chains;

pub(crate) use canonical::canonical;
pub use entity::TriggerActor;
pub use messages::{TriggerEvent, TriggerRequest, TriggerResponse};
pub use record::{Resume, SkippedEvent, TriggerName, TriggerSpec};
pub(crate) use record::{declare, skipped, specs};
pub use status::{TriggerCondition, TriggerStatus};

/// What the node gives its triggers.
#[derive(Debug, Clone)]
pub struct TriggerEnvironment {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
    /// Where the ids of sessions come from.
    pub entropy: Arc<dyn Entropy>,
    /// The chains.
    pub chains: Chains,
}

#[cfg(test)]
mod tests;
