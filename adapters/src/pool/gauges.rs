//! What metrics say of a pool's endpoints. Labels are the chain, its endpoints as configured, and words of closed lists.

use metrics::{counter, gauge};

use super::Pool;
use crate::breaker::{BreakerState, Forced};
use crate::endpoint::{Change, Class, ClassStatus, EndpointStatus};

impl Pool {
    /// Sets the gauges to what is so now, and the counters to what happened since the start. Asks no endpoint.
    pub fn show_metrics(&self) {
        let now = self.clock.now();
        let roster = self.roster.lock();
        for endpoint in roster.endpoints() {
            self.show_status(&endpoint.status(false, now));
            for (change, times) in endpoint.changes() {
                let (word, class) = in_words(*change);
                let (chain, name) = (self.id.to_string(), endpoint.name().to_owned());
                counter!(
                    "steward_endpoint_transitions_total",
                    "chain" => chain, "endpoint" => name, "change" => word, "class" => class
                )
                .absolute(*times);
            }
        }
    }

    fn show_status(&self, status: &EndpointStatus) {
        let labels = || (self.id.to_string(), status.name.clone());
        for class in &status.breakers {
            let (chain, endpoint) = labels();
            let name = class_word(class.class);
            gauge!("steward_endpoint_state", "chain" => chain, "endpoint" => endpoint, "class" => name)
                .set(f64::from(state(status, class)));
        }
        let throttled = u64::from(status.throttled_until.is_some());
        for (gauge, value) in [
            ("steward_endpoint_score", u64::from(status.score)),
            ("steward_endpoint_lag_blocks", status.lag_blocks),
            ("steward_endpoint_final_lag_blocks", status.final_lag_blocks),
            ("steward_endpoint_throttled", throttled),
        ] {
            let (chain, endpoint) = labels();
            gauge!(gauge, "chain" => chain, "endpoint" => endpoint).set(number(value));
        }
        if let Some(units) = status.units_left {
            let (chain, endpoint) = labels();
            gauge!("steward_endpoint_units_left", "chain" => chain, "endpoint" => endpoint).set(number(units));
        }
    }
}

/// The state as a number; docs/operations.md has the list.
const fn state(status: &EndpointStatus, class: &ClassStatus) -> u32 {
    match (status.forced, &class.state) {
        (Some(Forced::Closed), _) => 7,
        (Some(Forced::Open), _) => 6,
        (None, _) if status.punished_until.is_some() => 5,
        (None, _) if status.throttled_until.is_some() => 4,
        (None, BreakerState::Open { .. }) => 3,
        (None, BreakerState::HalfOpen { .. }) => 2,
        (None, BreakerState::Closed { .. }) if status.is_lagging => 1,
        (None, BreakerState::Closed { .. }) => 0,
    }
}

const fn class_word(class: Class) -> &'static str {
    match class {
        Class::Read => "read",
        Class::Broadcast => "broadcast",
        Class::History => "history",
    }
}

/// What changed, and the class of methods that it is about; `all` where it is about the whole endpoint.
const fn in_words(change: Change) -> (&'static str, &'static str) {
    match change {
        Change::Opened(class) => ("opened", class_word(class)),
        Change::HalfOpened(class) => ("half_opened", class_word(class)),
        Change::Closed(class) => ("closed", class_word(class)),
        Change::Throttled => ("throttled", "all"),
        Change::Unthrottled => ("unthrottled", "all"),
        Change::Lagging => ("lagging", "all"),
        Change::CaughtUp => ("caught_up", "all"),
        Change::Contradicted => ("contradicted", "all"),
        Change::Punished => ("punished", "all"),
        Change::Pardoned => ("pardoned", "all"),
        Change::BecamePrimary => ("became_primary", "all"),
        Change::ForcedOpen => ("forced_open", "all"),
        Change::ForcedClosed => ("forced_closed", "all"),
        Change::Unforced => ("released", "all"),
    }
}

/// As metrics have numbers; beyond 32 bits it is only large.
fn number(value: u64) -> f64 {
    f64::from(u32::try_from(value).unwrap_or(u32::MAX))
}
