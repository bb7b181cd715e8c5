//! What an agent says about itself beside its script: models, tools, limits and budget.

mod chains;
mod triggers;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::{AgentId, Micros, ModelId};
use thiserror::Error;

pub use self::chains::{ANYBODY, Caps, SpendingRules};
pub use self::triggers::{Trigger, TriggerFrom};
use crate::limits::Limits;

/// The manifest of an agent, `manifest.toml`. An unknown field is an error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The agent's name in its project.
    pub name: AgentId,
    /// One line for people.
    #[serde(default)]
    pub description: String,
    /// Which models the host functions use when a call names none.
    #[serde(default)]
    pub models: Models,
    /// What `http` may do. Without it, nothing.
    #[serde(default)]
    pub http: HttpRules,
    /// What it may do on chains, by the chain's CAIP-2 identifier. On one that is not named, nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub chains: BTreeMap<String, SpendingRules>,
    /// How `ask_human` behaves when a call says nothing else.
    #[serde(default)]
    pub approvals: ApprovalRules,
    /// What a session of this agent may spend.
    #[serde(default)]
    pub budget: BudgetRules,
    /// Tighter limits than Steward's own; a wider one has no effect.
    #[serde(default)]
    pub limits: LimitRules,
    /// Events of chains that start sessions.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "triggers::read")]
    pub triggers: Vec<Trigger>,
}

/// Models by their use.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Models {
    /// For `chat` and `generate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<ModelId>,
    /// For `embed`, `remember` and `recall`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub embed: Option<ModelId>,
}

/// What `http` may do.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpRules {
    /// URL patterns, such as `https://api.example.com/v1/` (a path is a prefix) or `http://127.0.0.1:*` (any port).
    pub allow: Vec<String>,
    /// Whether an allowed name may resolve to a private, loopback or link-local address.
    pub allow_private: bool,
    /// Whether calls may be sent again after a crash when they do not say so themselves.
    pub idempotent: bool,
    /// Longest time of one call, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How people are asked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApprovalRules {
    /// Who is asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Longest wait, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What may be spent.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetRules {
    /// Ceiling of all sessions of the agent together, as an amount such as `"5.0"` or `"300u"`.
    #[serde(with = "amount", skip_serializing_if = "Option::is_none")]
    pub agent: Option<Micros>,
    /// Ceiling of one session.
    #[serde(with = "amount", skip_serializing_if = "Option::is_none")]
    pub session: Option<Micros>,
}

/// Tighter limits of a turn.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LimitRules {
    /// Rhai operations.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// Megabytes of values.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mb: Option<usize>,
    /// Milliseconds on the thread between two host calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slice_ms: Option<u64>,
    /// Host calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<u32>,
}

/// The manifest cannot be read: the message names line, column and field.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("manifest.toml: {message}")]
pub struct ManifestError {
    /// What is wrong and where.
    pub message: String,
}

impl Manifest {
    /// Reads `manifest.toml`.
    ///
    /// # Errors
    /// [`ManifestError`] when it is no TOML, or a field is missing, unknown or wrong.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        toml::from_str(text).map_err(|error| ManifestError { message: error.to_string().trim_end().to_owned() })
    }

    /// The limits of a turn: Steward's own, tightened by this manifest.
    pub fn turn_limits(&self) -> Limits {
        let own = Limits::default();
        let rules = &self.limits;
        Limits {
            operations_max: rules.operations.unwrap_or(u64::MAX).min(own.operations_max),
            memory_bytes_max: rules.memory_mb.unwrap_or(usize::MAX).saturating_mul(1 << 20).min(own.memory_bytes_max),
            slice_time_max: rules.slice_ms.map_or(own.slice_time_max, Duration::from_millis).min(own.slice_time_max),
            steps_max: rules.steps.unwrap_or(u32::MAX).min(own.steps_max),
        }
    }
}

mod amount {
    //! An amount as the text a person writes.

    use serde::{Deserialize, Deserializer, Serializer};
    use steward_types::Micros;

    pub(super) fn serialize<S: Serializer>(amount: &Option<Micros>, serializer: S) -> Result<S::Ok, S::Error> {
        match amount {
            Some(amount) => serializer.collect_str(amount),
            None => serializer.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Micros>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        text.map(|text| text.parse().map_err(serde::de::Error::custom)).transpose()
    }
}
