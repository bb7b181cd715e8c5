//! What the functions of `chain(name)` take besides their arguments.

use serde::{Deserialize, Serialize};
use steward_types::Amount;

/// As of when a chain answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskedAt {
    /// The newest block that counts as final: nothing undoes it.
    #[default]
    Final,
    /// The newest block that the chain itself holds unlikely to be undone.
    Confirmed,
    /// The newest block: a reorganisation may undo it.
    Latest,
}

/// How `balance` asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BalanceOptions {
    /// A token, denom or mint; the chain's own coin when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
    /// As of when.
    pub at: AskedAt,
}

/// How `read` asks.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReadOptions {
    /// As of when.
    pub at: AskedAt,
}

/// What `send` pays with.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SendOptions {
    /// A token, denom or mint; the chain's own coin when none is named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asset: Option<String>,
}

/// What goes with a call of a contract.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ContractCallOptions {
    /// How much of the chain's own coin.
    pub value: Amount,
}

/// How long `wait` waits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WaitOptions {
    /// Longest wait, in milliseconds; as long as a session may wait when it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}
