//! `chain(name)`: what a session asks of chains, and orders of them.
//!
//! Reads are effects that may be done again. An order is no effect of the step: the step only records it, under its own
//! name, in the transaction that also journals the step and holds its fee. So running the step again orders nothing
//! twice, and the chain's outbox sends each order once.

mod order;
mod read;
mod wait;

pub(super) use order::{Told, call_contract, send};
pub(super) use read::{Question, balance, read};
pub(super) use wait::wait;

use steward_adapters::chain::ChainError;
use steward_scripting::manifest::SpendingRules;
use steward_types::ErrorCode;

use crate::chain::ChainSettings;
use crate::session::record::StepOutcome;
use crate::session::turn::Turn;

/// A chain that the agent's manifest names and the node has.
struct Known<'a> {
    settings: &'a ChainSettings,
    rules: &'a SpendingRules,
}

impl<'a> Known<'a> {
    fn find(turn: &'a Turn, name: &str) -> Result<Self, StepOutcome> {
        let manifest = &turn.agent.manifest;
        let Some(rules) = manifest.chains.get(name) else {
            let message = format!("the manifest of {} names no chain {name:?}: add [chains.\"{name}\"]", manifest.name);
            return Err(StepOutcome::error(ErrorCode::ChainForbidden, message));
        };
        let unknown = || StepOutcome::error(ErrorCode::ChainNotFound, format!("this node has no chain {name:?}"));
        let settings = turn.environment.chains.get(name).ok_or_else(unknown)?;
        Ok(Self { settings, rules })
    }
}

/// What a script's own argument came to that is none of the chain's.
fn invalid(error: &ChainError) -> StepOutcome {
    StepOutcome::error(ErrorCode::StepInvalid, error.in_full())
}
