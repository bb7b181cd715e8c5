//! What an endpoint shows of itself to operators: where it stands, and how it got there.

use std::fmt;

use serde::{Deserialize, Serialize};
use steward_types::Timestamp;

use super::Class;
use crate::breaker::{BreakerState, Forced};

/// How an endpoint is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointStatus {
    /// Its name: host and port, never the whole address, which may hold a provider's key.
    pub name: String,
    /// Whether it is asked first.
    pub is_primary: bool,
    /// From 0 to 1,000, the best.
    pub score: u32,
    /// The breaker of each class of methods.
    pub breakers: Vec<ClassStatus>,
    /// What an operator ordered.
    pub forced: Option<Forced>,
    /// The time that seven of ten reads of the last minute took at most, in milliseconds; nothing without one.
    pub latency_p70_ms: Option<u64>,
    /// How many in a thousand of the last minute's calls failed.
    pub errors_permille: u64,
    /// How many in a thousand of them were throttled.
    pub throttled_permille: u64,
    /// The newest block that it said it has.
    pub block: Option<u64>,
    /// Whether it is further behind than it may be, and so asked last.
    pub is_lagging: bool,
    /// How many blocks it is behind the others.
    pub lag_blocks: u64,
    /// How many blocks its newest final block is behind the others'.
    pub final_lag_blocks: u64,
    /// Answers that the others contradicted, since the start.
    pub wrong_answers: u64,
    /// Until when it is not asked because of wrong answers.
    pub punished_until: Option<Timestamp>,
    /// Until when it is not asked because it asked for that.
    pub throttled_until: Option<Timestamp>,
    /// Compute units that are left; nothing without a limit.
    pub units_left: Option<u64>,
    /// Its last changes, oldest first.
    pub transitions: Vec<Transition>,
}

/// The breaker of one class of methods.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassStatus {
    /// The class.
    pub class: Class,
    /// Where its breaker stands.
    pub state: BreakerState,
    /// What went wrong last; empty when nothing did.
    pub last_failure: String,
}

/// A change of an endpoint's state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transition {
    /// When.
    pub at: Timestamp,
    /// What changed.
    pub change: Change,
    /// Why.
    pub reason: String,
}

/// What can change about an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The breaker of a class opened: it is not asked for that.
    Opened(Class),
    /// The breaker lets one probe through.
    HalfOpened(Class),
    /// The breaker closed: it is asked again.
    Closed(Class),
    /// It asked to be left alone.
    Throttled,
    /// It is asked again after that.
    Unthrottled,
    /// It fell behind the others: it is asked last.
    Lagging,
    /// It caught up.
    CaughtUp,
    /// The others contradicted it.
    Contradicted,
    /// They did so too often: it is not asked.
    Punished,
    /// It is asked again after that.
    Pardoned,
    /// It is asked first from now on.
    BecamePrimary,
    /// An operator closed it to every call.
    ForcedOpen,
    /// An operator opened it to every call.
    ForcedClosed,
    /// An operator gave it back to itself.
    Unforced,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened(class) => write!(f, "breaker of {class} opened"),
            Self::HalfOpened(class) => write!(f, "breaker of {class} half-open"),
            Self::Closed(class) => write!(f, "breaker of {class} closed"),
            Self::Throttled => f.write_str("throttled"),
            Self::Unthrottled => f.write_str("no longer throttled"),
            Self::Lagging => f.write_str("lagging"),
            Self::CaughtUp => f.write_str("caught up"),
            Self::Contradicted => f.write_str("contradicted"),
            Self::Punished => f.write_str("punished"),
            Self::Pardoned => f.write_str("pardoned"),
            Self::BecamePrimary => f.write_str("became primary"),
            Self::ForcedOpen => f.write_str("forced open"),
            Self::ForcedClosed => f.write_str("forced closed"),
            Self::Unforced => f.write_str("no longer forced"),
        }
    }
}
