//! When an endpoint that failed, or was left alone, should be asked whether it is well again. Pure.

use steward_types::{Timestamp, limits};

use super::{Class, Endpoint};
use crate::breaker::BreakerState;

impl Endpoint {
    /// When it should be asked whether it is well again, though nobody needs it: after a failure, or once it was left
    /// alone long enough. Nothing while it is well, and while an operator decides. `asked` is when it was asked so last.
    pub fn probe_at(&self, asked: Timestamp) -> Option<Timestamp> {
        if self.forced.is_some() {
            return None;
        }
        let left_alone = self.punished.into_iter().chain(self.throttled).map(|alone| alone.until).max();
        let failed = match self.breakers[&Class::Read].state() {
            BreakerState::Closed { failures: 0 } => None,
            BreakerState::Closed { .. } => Some(asked.saturating_add(limits::ENDPOINT_PROBE_TIME)),
            BreakerState::Open { until } | BreakerState::HalfOpen { until } => Some(*until),
        };
        left_alone.max(failed)
    }
}
