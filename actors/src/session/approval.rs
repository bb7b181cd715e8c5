//! Approvals: what a script asked a person, indexed by project until it is decided.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_storage::Record;
use steward_types::{AgentId, ProjectId, SessionId, StepPath, Timestamp};

/// An approval's id: the session, turn and step that ask, as in `ses_….2.5`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ApprovalId {
    /// The session that asks.
    pub session: SessionId,
    /// Its turn.
    pub turn: u64,
    /// The step of that turn.
    pub step: StepPath,
}

/// The text is not an approval's id.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an approval id: it reads as the session's id, '.', the turn, '.', and the step")]
pub struct ApprovalIdError(String);

impl fmt::Display for ApprovalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{}.{}", self.session, self.turn, self.step))
    }
}

impl FromStr for ApprovalId {
    type Err = ApprovalIdError;
    fn from_str(text: &str) -> Result<Self, ApprovalIdError> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or_else(|| ApprovalIdError(text.chars().take(100).collect()));
        let (session, turn, step) = (next()?, next()?, next()?);
        let malformed = || ApprovalIdError(text.chars().take(100).collect());
        Ok(Self {
            session: session.parse().map_err(|_| malformed())?,
            turn: turn.parse().map_err(|_| malformed())?,
            step: step.parse().map_err(|_| malformed())?,
        })
    }
}

impl TryFrom<String> for ApprovalId {
    type Error = ApprovalIdError;
    fn try_from(text: String) -> Result<Self, ApprovalIdError> {
        text.parse()
    }
}

impl From<ApprovalId> for String {
    fn from(id: ApprovalId) -> String {
        id.to_string()
    }
}

/// What a script asked a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// The project whose people may decide it.
    pub project: ProjectId,
    /// The agent that asks.
    pub agent: AgentId,
    /// The question.
    pub question: String,
    /// What the script passed along for the person to see.
    pub details: Value,
    /// When it was asked.
    pub asked: Timestamp,
    /// When it expires, and is then refused.
    pub expires: Timestamp,
    /// How it stands.
    pub state: ApprovalState,
    /// How a person decided it; absent while it waits, when it expired, and when its turn was cancelled.
    pub decision: Option<Decision>,
}

impl Record for Approval {
    const NAME: &'static str = "approval";
    const VERSION: u16 = 1;
}

/// How an approval stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// It waits for a person.
    Open,
    /// A person said yes.
    Approved,
    /// A person said no.
    Rejected,
    /// Nobody answered in time.
    Expired,
    /// Its turn was cancelled.
    Cancelled,
}

/// How a person decided an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// Whether it was granted.
    pub approved: bool,
    /// What the person answered besides yes or no.
    pub answer: Value,
    /// What the person said about it.
    pub comment: Option<String>,
    /// Who decided.
    pub decided_by: String,
    /// When.
    pub decided: Timestamp,
}

impl Decision {
    /// Whether both decide alike, whoever made them and whenever.
    pub fn agrees_with(&self, other: &Self) -> bool {
        self.approved == other.approved && self.answer == other.answer
    }

    /// The state that it brings an approval to.
    pub const fn state(&self) -> ApprovalState {
        if self.approved { ApprovalState::Approved } else { ApprovalState::Rejected }
    }
}

/// What `ask_human` returns to the script; without a decision the approval has expired.
pub fn answer_to_script(decision: Option<&Decision>) -> Value {
    serde_json::json!({
        "approved": decision.is_some_and(|decision| decision.approved),
        "answer": decision.map_or(&Value::Null, |decision| &decision.answer),
        "comment": decision.and_then(|decision| decision.comment.as_deref()),
        "by": decision.map(|decision| &decision.decided_by),
        "expired": decision.is_none(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_approval_id_names_session_turn_and_step_and_reads_back() {
        let step = StepPath::top(5).branch(1, 2);
        let id = ApprovalId { session: SessionId::from_bytes([7; 16]), turn: 2, step };
        assert_eq!(id.to_string(), format!("ses_{}.2.5.1.2", "07".repeat(16)));
        assert_eq!(id.to_string().parse::<ApprovalId>().unwrap(), id);
        for bad in ["", "ses_1.2.3", "x.1.1", &format!("ses_{}.2", "07".repeat(16))] {
            assert!(bad.parse::<ApprovalId>().is_err(), "{bad}");
        }
    }
}
