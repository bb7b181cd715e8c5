//! The durable turn engine: sessions, their turns and steps, and what is watched of them.
//!
//! A turn is one message handled by the agent's script. Its host calls are steps: journaled before they are answered,
//! answered from the journal when the script runs again. What a step costs is held before it begins and settled in the
//! transaction that records its result.

mod answer;
pub mod approval;
mod bridge;
mod change;
mod entity;
mod environment;
mod error;
mod event;
mod fork;
pub mod journal;
pub mod key;
mod lifecycle;
pub mod read;
pub mod record;
mod request;
mod script_threads;
mod steps;
mod transact;
mod turn;
mod watch;
mod worker;

pub use approval::{Approval, ApprovalId, ApprovalIdError, ApprovalState, Decision};
pub use entity::{Session, WorkerEvent};
pub use environment::{Loaded, ProgramError, Programs, Services, SessionEnvironment};
pub use error::SessionError;
pub use event::{EventBody, Parent, SessionEvent, StepUsage, TurnFailure};
pub use read::ReadError;
pub use record::{ForkedFrom, SessionHead, SessionRecord, SessionStatus, StepOutcome, TurnRecord, TurnState};
pub use request::{Accepted, Decide, Fork, Open, Refusal, Send, SessionRequest, SessionResponse, SessionView};
pub use script_threads::ScriptThreads;
pub(crate) use script_threads::processor_time;
pub use watch::watch;

#[cfg(test)]
mod tests;
