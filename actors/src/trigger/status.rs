//! How a trigger is, for people.

use serde::{Deserialize, Serialize};

/// What a trigger does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TriggerCondition {
    /// It reads the chain and starts sessions.
    Following,
    /// It reads on once something is over, and loses nothing until then.
    Waiting,
    /// It does nothing until an operator resumes it.
    Stopped,
}

impl TriggerCondition {
    /// In a word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Following => "following",
            Self::Waiting => "waiting",
            Self::Stopped => "stopped",
        }
    }
}

/// How a trigger is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerStatus {
    /// What it does.
    pub condition: TriggerCondition,
    /// Why it waits or has stopped; empty when it follows the chain.
    pub reason: String,
    /// What went wrong last since it began to work on its node; empty when nothing did.
    pub last_error: String,
    /// The first block of which not every event has its session; nothing before the chain was seen.
    pub checkpoint: Option<u64>,
    /// The newest final block that it has seen.
    pub final_block: Option<u64>,
    /// How many sessions it has started.
    pub started: u64,
    /// How many events it has skipped.
    pub skipped: u64,
    /// Sessions whose turns had not ended when it last looked.
    pub open: u64,
}

impl TriggerStatus {
    /// How many final blocks it has yet to read through.
    pub fn lag_blocks(&self) -> Option<u64> {
        Some(self.final_block?.saturating_add(1).saturating_sub(self.checkpoint?))
    }
}
