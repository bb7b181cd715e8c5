//! How endpoints are used: limits, breakers, punishments. One value for all endpoints of a chain.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::limits;

use super::Class;
use crate::breaker::BreakerPolicy;

/// How each endpoint of a chain is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndpointPolicy {
    /// When a class of methods is left alone, and for how long.
    pub breaker: BreakerPolicy,
    /// Compute units that may be spent in a second, on average; without it there is no limit of ours.
    pub units_per_second: Option<u32>,
    /// Compute units that may be spent at once; they gather while nothing is asked.
    pub units_burst: u32,
    /// What a request costs, by the class of its call. A call may make several.
    pub costs: Costs,
    /// How long an endpoint is left alone that throttles and does not say how long, in milliseconds. It doubles with
    /// each time in a row.
    pub throttled_ms_min: u64,
    /// The longest that it is left alone, whatever it says, in milliseconds.
    pub throttled_ms_max: u64,
    /// How many blocks an endpoint may be behind the others.
    pub lag_blocks_max: u64,
    /// How many wrong answers within `wrong_window_ms` are punished.
    pub wrong_answers_max: u32,
    /// How long a wrong answer is remembered, in milliseconds.
    pub wrong_window_ms: u64,
    /// How long the first punishment takes, in milliseconds; it doubles each time.
    pub punished_ms_min: u64,
    /// The longest punishment, in milliseconds.
    pub punished_ms_max: u64,
}

/// Compute units of one request by the class of the call that makes it, as the provider counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// Of a request of a read, signing included.
    pub read: u32,
    /// Of a broadcast.
    pub broadcast: u32,
    /// Of a search in the chain's history.
    pub history: u32,
}

impl Default for EndpointPolicy {
    fn default() -> Self {
        Self {
            breaker: BreakerPolicy::default(),
            units_per_second: None,
            units_burst: 100,
            costs: Costs::default(),
            throttled_ms_min: millis(limits::ENDPOINT_THROTTLED_TIME_MIN),
            throttled_ms_max: millis(limits::ENDPOINT_THROTTLED_TIME_MAX),
            lag_blocks_max: limits::ENDPOINT_LAG_BLOCKS_MAX,
            wrong_answers_max: limits::ENDPOINT_WRONG_ANSWERS_MAX,
            wrong_window_ms: millis(limits::ENDPOINT_WRONG_TIME),
            punished_ms_min: millis(limits::ENDPOINT_PUNISHED_TIME_MIN),
            punished_ms_max: millis(limits::ENDPOINT_PUNISHED_TIME_MAX),
        }
    }
}

impl Default for Costs {
    fn default() -> Self {
        Self { read: 1, broadcast: 1, history: 2 }
    }
}

impl Costs {
    /// What a request of a call of this class costs.
    pub const fn of(&self, class: Class) -> u32 {
        match class {
            Class::Read => self.read,
            Class::Broadcast => self.broadcast,
            Class::History => self.history,
        }
    }
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
