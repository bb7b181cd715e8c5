//! What every other crate of Steward is made of: ids, limits, clock and entropy, error codes and money.
//!
//! This crate knows nothing of actors, storage or the network, and never reads the environment.

pub mod amount;
pub mod clock;
pub mod entropy;
pub mod error_code;
pub mod id;
pub mod limits;
pub mod money;

pub use amount::{Amount, AmountError};
pub use clock::{Clock, ManualClock, SystemClock, Timestamp};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use error_code::ErrorCode;
pub use id::{AgentId, HoldId, IdError, ModelId, ModuleId, NodeId, ProjectId, SessionId, StepPath, TriggerId};
pub use money::{Micros, MoneyError};
