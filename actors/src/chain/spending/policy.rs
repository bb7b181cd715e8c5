//! The judgement: whether something may be spent, may be spent once a person agrees, or may not.

use serde_json::{Value, json};
use steward_scripting::manifest::{Caps, SpendingRules};
use steward_types::{Amount, ErrorCode, Timestamp};
use thiserror::Error;

use crate::budget::Day;

const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// What somebody wants to spend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spend {
    /// To whom, or for what.
    pub act: Act,
    /// Of what; the chain's own coin when nothing is named.
    pub asset: Option<String>,
    /// How much; of a call what goes with it.
    pub amount: Amount,
}

/// A payment or a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// A payment to this account.
    Pay {
        /// Who receives it.
        to: String,
    },
    /// A call of a contract.
    Call {
        /// The contract.
        contract: String,
        /// Its method, as rules name it.
        method: String,
    },
}

/// The rules of both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What the agent's manifest says.
    pub agent: SpendingRules,
    /// What the operator says of the project.
    pub operator: SpendingRules,
}

/// What was spent of the asset today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Spent {
    /// By the agent.
    pub agent: Amount,
    /// By all agents of the project.
    pub project: Amount,
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It may be spent.
    Allowed,
    /// It may be spent once a person agrees.
    Ask,
}

/// Whose rules they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The agent's manifest.
    Agent,
    /// The operator's terms for the project.
    Operator,
}

/// Why something may not be spent.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum SpendRefused {
    /// It is on no list.
    #[error("{} does not allow to {what}: add it to `{list}` of the chain there", side.in_words())]
    Forbidden {
        /// Whose rules.
        side: Side,
        /// What was wanted.
        what: String,
        /// The list that it is not on.
        list: &'static str,
    },
    /// It is more than one transaction may spend.
    #[error("{wanted} of {asset} is more than the {cap} that {} allows in one transaction", side.in_words())]
    Transaction {
        /// Whose rules.
        side: Side,
        /// What would be spent.
        asset: String,
        /// How much of it.
        wanted: Amount,
        /// The cap.
        cap: Amount,
    },
    /// It is more than is left of the day.
    #[error(
        "{wanted} of {asset} would pass the {cap} that {} allows in one day: {spent} are spent, and the count begins \
         again at {resets}", side.in_words()
    )]
    Day {
        /// Whose rules.
        side: Side,
        /// What would be spent.
        asset: String,
        /// How much of it.
        wanted: Amount,
        /// The cap.
        cap: Amount,
        /// What was spent today.
        spent: Amount,
        /// When the count begins again.
        resets: Timestamp,
    },
}

impl Policy {
    /// Judges one thing that somebody wants to spend, given what was spent today.
    ///
    /// # Errors
    /// [`SpendRefused`], by the first rule that does not allow it.
    pub fn judge(&self, spend: &Spend, spent: Spent, now: Timestamp) -> Result<Verdict, SpendRefused> {
        let agent = judge_side(Side::Agent, &self.agent, spend, spent.agent, now)?;
        let operator = judge_side(Side::Operator, &self.operator, spend, spent.project, now)?;
        Ok(if agent == Verdict::Ask { agent } else { operator })
    }
}

fn judge_side(
    side: Side,
    rules: &SpendingRules,
    spend: &Spend,
    spent: Amount,
    now: Timestamp,
) -> Result<Verdict, SpendRefused> {
    let (is_listed, list) = match &spend.act {
        Act::Pay { to } => (rules.may_pay(to), "pay"),
        Act::Call { contract, method } => (rules.may_call(contract, method), "call"),
    };
    let forbidden = |what: String, list| SpendRefused::Forbidden { side, what, list };
    if !is_listed {
        return Err(forbidden(spend.act.in_words(), list));
    }
    let asset = spend.asset_in_words();
    let caps = rules.caps(spend.asset.as_deref());
    let caps = caps.ok_or_else(|| forbidden(format!("spend {asset}"), "assets"))?;
    check_caps(side, caps, asset, spend.amount, spent, now)?;
    let is_above = caps.approve_above.is_some_and(|threshold| spend.amount > threshold);
    Ok(if is_above { Verdict::Ask } else { Verdict::Allowed })
}

fn check_caps(
    side: Side,
    caps: &Caps,
    asset: String,
    wanted: Amount,
    spent: Amount,
    now: Timestamp,
) -> Result<(), SpendRefused> {
    if wanted == Amount::ZERO {
        return Ok(());
    }
    if wanted > caps.max_per_transaction {
        return Err(SpendRefused::Transaction { side, asset, wanted, cap: caps.max_per_transaction });
    }
    let is_within = spent.checked_add(wanted).is_some_and(|sum| sum <= caps.max_per_day);
    if is_within {
        return Ok(());
    }
    let next = (u64::from(Day::of(now).number()) + 1).saturating_mul(DAY_MILLIS);
    let resets = Timestamp::from_millis(next);
    Err(SpendRefused::Day { side, asset, wanted, cap: caps.max_per_day, spent, resets })
}

impl Spend {
    /// The asset as people read it.
    pub fn asset_in_words(&self) -> String {
        self.asset.clone().unwrap_or_else(|| "the chain's coin".to_owned())
    }
}

impl Act {
    /// The act as people read it.
    pub fn in_words(&self) -> String {
        match self {
            Self::Pay { to } => format!("pay {to}"),
            Self::Call { contract, method } => format!("call {method} of {contract}"),
        }
    }
}

impl Side {
    const fn in_words(self) -> &'static str {
        match self {
            Self::Agent => "the agent's manifest",
            Self::Operator => "the operator's configuration",
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Operator => "operator",
        }
    }
}

impl SpendRefused {
    /// The code that stands for it.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Forbidden { .. } => ErrorCode::ChainForbidden,
            Self::Transaction { .. } | Self::Day { .. } => ErrorCode::ChainLimitReached,
        }
    }

    /// The same for programs: which cap of whom, what was spent, and when it begins again.
    pub fn data(&self) -> Value {
        match self {
            Self::Forbidden { side, list, .. } => json!({ "of": side.name(), "list": list }),
            Self::Transaction { side, asset, wanted, cap } => json!({
                "of": side.name(), "cap": "max_per_transaction", "asset": asset, "allowed": cap, "wanted": wanted,
            }),
            Self::Day { side, asset, wanted, cap, spent, resets } => json!({
                "of": side.name(), "cap": "max_per_day", "asset": asset, "allowed": cap, "wanted": wanted,
                "spent": spent, "resets_ms": resets.as_millis(),
            }),
        }
    }
}
