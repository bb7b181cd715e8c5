//! The entity host: virtual actors by kind and id, each activated on its first message and passivated when idle.
//!
//! An entity lives in at most one cell of this host, handles one message at a time, and is rebuilt from the
//! store after a crash. Nothing here knows what a kind does; nothing here writes to the store.

#![expect(dead_code, reason = "the sweeper, observation and drain come next")]

mod admission;
mod cell;
mod context;
mod deadline;
mod directory;
mod entity;
mod error;
mod id;
mod letter;
mod lifecycle;
mod mailbox;
mod node;
mod reply;
mod variant;

pub use context::{Context, EventSender, Worker};
pub use deadline::Deadline;
pub use entity::{Entity, Fault};
pub use error::AskError;
pub use id::{EntityId, EntityIdError};
pub use letter::{DeadLetter, Quarantine};
pub use lifecycle::{Lifecycle, LifecycleChange, LifecycleWatch};
pub use node::{Host, HostBuilder, HostLimits};
pub use reply::Reply;

#[cfg(test)]
mod tests;
