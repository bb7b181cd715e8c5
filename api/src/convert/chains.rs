//! Chains and their endpoints on the wire.

use steward_actors::chain::ChainStatus;
use steward_actors::service::Failure;
use steward_adapters::breaker::{BreakerState, Forced};
use steward_adapters::endpoint::{ClassStatus, EndpointStatus, Transition};
use steward_types::Timestamp;

use super::time;
use crate::proto::v1;

/// The state of a chain's breaker in a word.
pub(crate) fn breaker_word(status: &ChainStatus) -> &'static str {
    status.forced.map_or_else(|| breaker_words(&status.breaker).0, forced_word)
}

pub(crate) fn breaker(chain: String, status: Result<ChainStatus, Failure>) -> v1::Breaker {
    let status = match status {
        Ok(status) => status,
        Err(failure) => {
            let (state, last_failure) = ("unknown".to_owned(), failure.to_string());
            return v1::Breaker { chain, state, last_failure, ..Default::default() };
        }
    };
    let (state, until) = match status.forced {
        Some(forced) => (forced_word(forced), None),
        None => breaker_words(&status.breaker),
    };
    v1::Breaker {
        chain,
        state: state.to_owned(),
        until: until.and_then(time),
        last_failure: status.last_failure,
        stall: status.stall.map(v1::Stall::from),
        paused: status.paused.map(|pause| pause.to_string()).unwrap_or_default(),
        intents: status.intents,
        oldest_at: status.oldest.and_then(time),
        wanted: status.wanted,
        account: status.account,
        endpoints: status.endpoints.into_iter().map(endpoint).collect(),
    }
}

pub(crate) fn forced_from(state: &str) -> Result<Option<Forced>, Failure> {
    match state {
        "" => Ok(None),
        "open" => Ok(Some(Forced::Open)),
        "closed" => Ok(Some(Forced::Closed)),
        other => Err(Failure::field("state", format!("{other:?} is neither \"open\" nor \"closed\" nor empty"))),
    }
}

fn endpoint(status: EndpointStatus) -> v1::Endpoint {
    v1::Endpoint {
        state: endpoint_word(&status).to_owned(),
        name: status.name,
        is_primary: status.is_primary,
        score: status.score,
        breakers: status.breakers.into_iter().map(class).collect(),
        latency_p70_ms: status.latency_p70_ms,
        errors_permille: status.errors_permille,
        throttled_permille: status.throttled_permille,
        block: status.block,
        lag_blocks: status.lag_blocks,
        final_lag_blocks: status.final_lag_blocks,
        wrong_answers: status.wrong_answers,
        until: status.punished_until.max(status.throttled_until).and_then(time),
        units_left: status.units_left,
        transitions: status.transitions.into_iter().map(transition).collect(),
    }
}

/// The one thing about an endpoint that matters most.
fn endpoint_word(status: &EndpointStatus) -> &'static str {
    let is_open = |class: &ClassStatus| matches!(class.state, BreakerState::Open { .. });
    match status.forced {
        Some(forced) => forced_word(forced),
        None if status.punished_until.is_some() => "punished",
        None if status.throttled_until.is_some() => "throttled",
        None if status.breakers.iter().any(is_open) => "open",
        None if status.is_lagging => "lagging",
        None => "serving",
    }
}

fn class(status: ClassStatus) -> v1::EndpointBreaker {
    let (state, until) = breaker_words(&status.state);
    v1::EndpointBreaker {
        class: status.class.to_string(),
        state: state.to_owned(),
        until: until.and_then(time),
        last_failure: status.last_failure,
    }
}

fn transition(transition: Transition) -> v1::EndpointTransition {
    let change = transition.change.to_string();
    v1::EndpointTransition { at: time(transition.at), change, reason: transition.reason }
}

const fn breaker_words(state: &BreakerState) -> (&'static str, Option<Timestamp>) {
    match state {
        BreakerState::Closed { .. } => ("closed", None),
        BreakerState::Open { until } => ("open", Some(*until)),
        BreakerState::HalfOpen { until } => ("half-open", Some(*until)),
    }
}

const fn forced_word(forced: Forced) -> &'static str {
    match forced {
        Forced::Open => "forced open",
        Forced::Closed => "forced closed",
    }
}
