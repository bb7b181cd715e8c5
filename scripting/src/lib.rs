//! The Rhai host: limits, upload checks, and deterministic replay from a journal.
//!
//! A script never touches the world itself: each host call is a numbered step that a [`StepHost`] answers, from its
//! journal when the turn runs again. This crate knows no storage, no network and no async, and never reads a
//! clock.

pub mod bundle;
pub mod call;
pub mod diagnostic;
pub mod limits;
pub mod manifest;
pub mod memory;
pub mod port;
pub mod program;
pub mod testing;

mod canonical;
mod check;
mod host;
mod turn;
mod value;

pub use bundle::Bundle;
pub use call::HostCall;
pub use canonical::canonical_hash;
pub use diagnostic::Diagnostic;
pub use limits::Limits;
pub use manifest::{Manifest, ManifestError, Trigger, TriggerFrom};
pub use memory::MeteredAllocator;
pub use port::{Position, ScriptError, StepAnswer, StepCall, StepError, StepHost, StopReason, TurnEnd};
pub use program::Program;
