//! When a call must be answered. It travels with the call, so that what it starts has only the time that is left.

use std::time::Duration;

use steward_types::Clock;

/// A point on this host's monotonic clock, to the millisecond. To another machine goes only the time that is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(u64);

impl Deadline {
    /// For messages that nobody waits for.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// `time` from now.
    pub fn after(clock: &dyn Clock, time: Duration) -> Self {
        Self(millis(clock.monotonic().saturating_add(time)))
    }

    /// The time that is left; zero once it has passed.
    pub fn remaining(self, clock: &dyn Clock) -> Duration {
        Duration::from_millis(self.0.saturating_sub(millis(clock.monotonic())))
    }

    /// Whether it has passed.
    pub fn has_passed(self, clock: &dyn Clock) -> bool {
        self != Self::NEVER && self.has_passed_at(clock.monotonic())
    }

    /// Whether it has passed at `monotonic`, a time of the host's clock.
    pub(crate) fn has_passed_at(self, monotonic: Duration) -> bool {
        self.0 <= millis(monotonic)
    }

    /// The earlier of two.
    pub fn earlier(self, other: Self) -> Self {
        self.min(other)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX - 1)
}
