//! The entity host: virtual actors by kind and id, each activated on its first message and passivated when idle.
//!
//! An entity lives in at most one cell of this host, handles one message at a time, and is rebuilt from the
//! store after a crash. Nothing here knows what a kind does; nothing here writes to the store.

mod admission;
mod cell;
mod context;
mod deadline;
mod directory;
mod drain;
mod entity;
mod error;
mod id;
mod kind;
mod letter;
mod lifecycle;
mod limits;
mod mailbox;
mod node;
mod reply;
mod router;
mod snapshot;
mod sweep;
mod variant;

pub use context::{Context, EventSender, Worker};
pub use deadline::Deadline;
pub use drain::{DrainReport, StopOutcome};
pub use entity::{Entity, Fault};
pub use error::{AskError, AskJsonError};
pub use id::{EntityId, EntityIdError};
pub use letter::{DeadLetter, Quarantine};
pub use lifecycle::{Lifecycle, LifecycleChange, LifecycleWatch};
pub use limits::HostLimits;
pub use node::{Host, HostBuilder};
pub use reply::Reply;
pub use router::{Placement, RemoteRequest, Routed, Router};
pub use snapshot::{EntityPage, EntityState, EntitySummary, KindCount, Snapshot};

#[cfg(test)]
mod tests;
