//! How patient an outbox is.

use serde::{Deserialize, Serialize};
use steward_types::limits;

/// When the outbox asks again, replaces and gives up waiting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboxPolicy {
    /// How often a transaction in flight is asked after, in milliseconds.
    pub poll_ms: u64,
    /// How long to wait after a refusal, in milliseconds; it doubles while an intent cannot be signed for its own sake.
    pub retry_ms: u64,
    /// How long a transaction may wait to be included before it is replaced with a higher fee, in milliseconds.
    pub stuck_ms: u64,
    /// For how long the newest final transaction is looked after, in milliseconds, every `stuck_ms`: whether it is final
    /// still.
    pub watch_ms: u64,
    /// Intents that may be signed and not final at once.
    pub in_flight_max: usize,
}

impl Default for OutboxPolicy {
    fn default() -> Self {
        Self {
            poll_ms: 1_000,
            retry_ms: 5_000,
            stuck_ms: 60_000,
            watch_ms: 600_000,
            in_flight_max: limits::OUTBOX_IN_FLIGHT_MAX,
        }
    }
}
