//! A circuit breaker: after some failures in a row it lets nothing through for a while, then one probe.
//!
//! Pure: time is given. Closed lets calls through; open lets none; half-open lets one through and waits for its end.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::{Timestamp, limits};

/// When a breaker opens and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// Failures in a row that open it.
    pub failures_max: u32,
    /// How long it stays open the first time, in milliseconds; it doubles each time.
    pub open_ms_min: u64,
    /// The longest that it stays open, in milliseconds.
    pub open_ms_max: u64,
}

/// The breaker of one endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    policy: BreakerPolicy,
    state: BreakerState,
    /// How often it opened since it was last closed.
    opened: u32,
    last_failure: Option<String>,
    forced: Option<Forced>,
}

/// Where a breaker stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Calls go through.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// Calls are refused.
    Open {
        /// When one probe is let through.
        until: Timestamp,
    },
    /// One probe is under way.
    HalfOpen {
        /// When the probe counts as lost and another is let through.
        until: Timestamp,
    },
}

/// What an operator ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Forced {
    /// Nothing goes through.
    Open,
    /// Everything goes through.
    Closed,
}

/// Whether a call may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may.
    Admitted,
    /// It may not, before this time.
    Refused {
        /// When to ask again.
        retry_at: Timestamp,
    },
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures_max: limits::BREAKER_FAILURES_MAX,
            open_ms_min: millis(limits::BREAKER_OPEN_TIME_MIN),
            open_ms_max: millis(limits::BREAKER_OPEN_TIME_MAX),
        }
    }
}

impl Breaker {
    /// A closed breaker.
    pub const fn new(policy: BreakerPolicy) -> Self {
        Self { policy, state: BreakerState::Closed { failures: 0 }, opened: 0, last_failure: None, forced: None }
    }

    /// Where it stands.
    pub const fn state(&self) -> &BreakerState {
        &self.state
    }

    /// What an operator ordered; nothing while it decides for itself.
    pub const fn forced(&self) -> Option<Forced> {
        self.forced
    }

    /// Whether calls go through as they come: nobody stands in their way, and no probe is waited for.
    pub const fn is_closed(&self) -> bool {
        matches!((self.forced, &self.state), (Some(Forced::Closed), _) | (None, BreakerState::Closed { .. }))
    }

    /// What went wrong last.
    pub fn last_failure(&self) -> Option<&str> {
        self.last_failure.as_deref()
    }

    /// Until when it would refuse a call that is made now, if it would. Changes nothing.
    pub fn refused_until(&self, now: Timestamp) -> Option<Timestamp> {
        match (self.forced, &self.state) {
            (Some(Forced::Closed), _) | (None, BreakerState::Closed { .. }) => None,
            (Some(Forced::Open), _) => Some(now.saturating_add(self.open_time())),
            (None, BreakerState::Open { until } | BreakerState::HalfOpen { until }) => {
                Some(*until).filter(|until| now < *until)
            }
        }
    }

    /// Whether a call may be made now. In the half-open state an admission is the probe.
    pub fn admit(&mut self, now: Timestamp) -> Admission {
        if let Some(retry_at) = self.refused_until(now) {
            return Admission::Refused { retry_at };
        }
        if self.forced.is_none() && !matches!(self.state, BreakerState::Closed { .. }) {
            self.state = BreakerState::HalfOpen { until: now.saturating_add(self.open_time()) };
        }
        Admission::Admitted
    }

    /// A call succeeded: the breaker closes.
    pub fn succeeded(&mut self) {
        self.state = BreakerState::Closed { failures: 0 };
        self.opened = 0;
    }

    /// A call failed for a reason that lies with the endpoint.
    pub fn failed(&mut self, now: Timestamp, reason: &str) {
        self.last_failure = Some(reason.chars().take(500).collect());
        match self.state {
            BreakerState::Closed { failures } if failures + 1 < self.policy.failures_max => {
                self.state = BreakerState::Closed { failures: failures + 1 };
            }
            BreakerState::Closed { .. } | BreakerState::HalfOpen { .. } => {
                self.opened = self.opened.saturating_add(1);
                self.state = BreakerState::Open { until: now.saturating_add(self.open_time()) };
            }
            // The late end of a call that was let through before it opened.
            BreakerState::Open { .. } => {}
        }
    }

    /// Sets it by hand, or gives it back to itself.
    pub const fn force(&mut self, forced: Option<Forced>) {
        self.forced = forced;
    }

    fn open_time(&self) -> Duration {
        let doublings = self.opened.saturating_sub(1).min(32);
        let open_ms = self.policy.open_ms_min.saturating_mul(1 << doublings);
        Duration::from_millis(open_ms.min(self.policy.open_ms_max))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerPolicy { failures_max: 2, open_ms_min: 100, open_ms_max: 300 })
    }

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_probe() {
        let mut breaker = breaker();
        breaker.failed(at(0), "one");
        breaker.succeeded();
        breaker.failed(at(0), "two");
        assert_eq!(breaker.admit(at(0)), Admission::Admitted);
        breaker.failed(at(0), "three");
        assert_eq!(breaker.admit(at(99)), Admission::Refused { retry_at: at(100) });
        assert_eq!(breaker.admit(at(100)), Admission::Admitted);
        assert_eq!(breaker.admit(at(101)), Admission::Refused { retry_at: at(200) }, "one probe at a time");
        breaker.succeeded();
        assert_eq!(breaker.state(), &BreakerState::Closed { failures: 0 });
        assert_eq!(breaker.last_failure(), Some("three"));
    }

    #[test]
    fn each_failed_probe_doubles_the_wait_up_to_its_bound() {
        let mut breaker = breaker();
        breaker.failed(at(0), "x");
        breaker.failed(at(0), "x");
        let mut now = at(100);
        for wait in [200, 300, 300] {
            assert_eq!(breaker.admit(now), Admission::Admitted);
            breaker.failed(now, "x");
            let retry_at = now.saturating_add(Duration::from_millis(wait));
            assert_eq!(breaker.admit(now), Admission::Refused { retry_at });
            now = retry_at;
        }
    }

    #[test]
    fn a_lost_probe_is_followed_by_another() {
        let mut breaker = breaker();
        breaker.failed(at(0), "x");
        breaker.failed(at(0), "x");
        assert_eq!(breaker.admit(at(100)), Admission::Admitted);
        assert_eq!(breaker.admit(at(200)), Admission::Admitted);
    }

    #[test]
    fn an_operator_overrules_it() {
        let mut breaker = breaker();
        breaker.force(Some(Forced::Open));
        assert!(matches!(breaker.admit(at(0)), Admission::Refused { .. }));
        breaker.failed(at(0), "x");
        breaker.failed(at(0), "x");
        breaker.force(Some(Forced::Closed));
        assert_eq!(breaker.admit(at(0)), Admission::Admitted);
        breaker.force(None);
        assert!(matches!(breaker.admit(at(0)), Admission::Refused { .. }));
    }

    proptest! {
        #[test]
        fn it_always_admits_again_within_its_longest_wait(steps in prop::collection::vec((0..3u8, 0..500u64), 0..50)) {
            let mut breaker = breaker();
            let mut now = 0;
            for (step, millis) in steps {
                now += millis;
                match step {
                    0 => breaker.succeeded(),
                    1 => breaker.failed(at(now), "x"),
                    _ => { breaker.admit(at(now)); }
                }
            }
            prop_assert_eq!(breaker.admit(at(now + 300)), Admission::Admitted);
        }
    }
}
