//! The bounds of a host, as one value that a test can make small.

use std::time::Duration;

use steward_types::limits;

/// The bounds of a host. The defaults are those of [`steward_types::limits`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLimits {
    /// Messages that wait for one entity.
    pub mailbox_messages_max: usize,
    /// Bytes of messages that wait for one entity.
    pub mailbox_bytes_max: usize,
    /// Largest message, in bytes.
    pub message_bytes_max: usize,
    /// Live entities before the idle ones are passivated early. A quarter more are refused.
    pub live_entities_max: usize,
    /// How long an entity may be idle before it is passivated.
    pub idle_time_max: Duration,
    /// Time that a call without a deadline of its own has.
    pub call_time_default: Duration,
    /// First wait before a crashed entity is activated again.
    pub backoff_min: Duration,
    /// Longest wait before a crashed entity is activated again.
    pub backoff_max: Duration,
    /// Failed activations in a row after which an entity is quarantined.
    pub restarts_max: u32,
    /// Dead letters kept.
    pub dead_letters_max: usize,
    /// Longest graceful drain.
    pub drain_time_max: Duration,
}

impl Default for HostLimits {
    fn default() -> Self {
        Self {
            mailbox_messages_max: limits::MAILBOX_MESSAGES_MAX,
            mailbox_bytes_max: limits::MAILBOX_BYTES_MAX,
            message_bytes_max: limits::MESSAGE_BYTES_MAX,
            live_entities_max: limits::LIVE_ENTITIES_MAX,
            idle_time_max: limits::IDLE_TIME_MAX,
            call_time_default: limits::CALL_TIME_DEFAULT,
            backoff_min: limits::RESTART_BACKOFF_MIN,
            backoff_max: limits::RESTART_BACKOFF_MAX,
            restarts_max: limits::RESTARTS_MAX,
            dead_letters_max: limits::DEAD_LETTERS_MAX,
            drain_time_max: limits::DRAIN_TIME_MAX,
        }
    }
}
