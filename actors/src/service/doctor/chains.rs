//! What the facts mean for chains and their endpoints.

use steward_adapters::breaker::{BreakerState, Forced};
use steward_adapters::endpoint::EndpointStatus;
use steward_adapters::outbox::Stall;
use steward_adapters::signer::SignerKind;
use steward_types::Timestamp;
use steward_types::limits::DOCTOR_WAIT_TIME_MAX;

use super::Finding;
use super::judge::Found;
use crate::chain::ChainStatus;
use crate::service::Failure;

pub(super) fn chain_moves(chain: &str, status: &ChainStatus, now: Timestamp) -> Found {
    let mut found = Found::new();
    match (&status.breaker, status.forced) {
        (_, Some(Forced::Open)) => found.push(Finding::warning(
            chain,
            "an operator has opened its breaker: nothing is sent",
            format!("`steward breakers release {chain}`"),
        )),
        (BreakerState::Open { until }, _) => found.push(Finding::critical(
            chain,
            format!("its breaker is open until {until}: {}", status.last_failure),
            "see that its endpoint runs and that this node reaches it",
        )),
        _ => {}
    }
    for endpoint in &status.endpoints {
        found.extend(endpoint_serves(chain, endpoint));
    }
    if let Some(stall) = &status.stall {
        found.push(Finding::critical(chain, format!("nothing is sent: {stall}"), what_ends(stall)));
    }
    let age = status.oldest.map(|oldest| now.saturating_since(oldest)).unwrap_or_default();
    if age > DOCTOR_WAIT_TIME_MAX {
        found.push(Finding::warning(
            chain,
            format!("{} transactions are unfinished, the oldest for {} s", status.intents, age.as_secs()),
            format!("see `steward actors inspect chain {chain}` for why"),
        ));
    }
    found
}

/// What a person does about an outbox that stalled.
const fn what_ends(stall: &Stall) -> &'static str {
    match stall {
        Stall::ChainReset { .. } => {
            "change the endpoint if it is another chain's; a development chain that was reset needs a fresh data folder"
        }
        Stall::OtherAccount { .. } => "put the old account's key back until its transactions are final",
        Stall::SequenceWentBack { .. } => "change the endpoint if it is behind or on a fork; then it goes on by itself",
        Stall::Undone { .. } => "look at the transaction with an explorer, and raise `confirmations`: docs/chains.md",
    }
}

fn endpoint_serves(chain: &str, endpoint: &EndpointStatus) -> Option<Finding> {
    let about = format!("{chain} at {}", endpoint.name);
    let why = || endpoint.transitions.last().map(|last| last.reason.clone()).unwrap_or_default();
    if endpoint.forced == Some(Forced::Open) {
        let remedy = format!("`steward breakers release {chain} {}`", endpoint.name);
        return Some(Finding::warning(about, "an operator has taken it out", remedy));
    }
    if endpoint.punished_until.is_some() {
        let remedy = "it answered what the others deny: take it out of the configuration unless you know why";
        return Some(Finding::warning(about, format!("it is not asked: {}", why()), remedy));
    }
    let open = endpoint.breakers.iter().find(|class| matches!(class.state, BreakerState::Open { .. }));
    if let Some(open) = open {
        let what = format!("its breaker of {} is open: {}", open.class, open.last_failure);
        return Some(Finding::notice(about, what, "the other endpoints serve; see that it runs"));
    }
    let behind = format!("it is {} blocks behind the others", endpoint.lag_blocks);
    endpoint.is_lagging.then(|| Finding::notice(about, behind, "it is asked last until it has caught up"))
}

/// The key of a chain's account signs when it is wanted.
pub(super) fn key_is_reached(chain: &str, kind: Option<SignerKind>, reached: &Result<(), Failure>) -> Option<Finding> {
    let kind = kind?;
    match reached {
        Err(failure) => Some(Finding::critical(
            chain,
            format!("its account's key lies in: {kind}, and cannot be reached: {failure}"),
            "nothing new is signed until it can: docs/chains.md, \"Keys\"",
        )),
        Ok(()) if kind == SignerKind::Environment => Some(Finding::notice(
            chain,
            format!("its account's key lies in: {kind}, which is for development"),
            "put it into a keystore, a vault or KMS: docs/chains.md, \"Keys\"",
        )),
        Ok(()) => None,
    }
}
