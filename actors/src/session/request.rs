//! What can be asked of a session, and what it answers. A refusal is an answer, never a fault of the entity.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_types::{AgentId, ErrorCode, Micros, ProjectId, SessionId, StepPath, Timestamp};

use super::approval::{Approval, ApprovalId};
use super::event::Parent;
use super::record::{ForkedFrom, SessionStatus, StepOutcome, TurnState};
use super::turn::json_bytes;

/// A request to one session. Each may be sent again after a lost answer: it takes effect once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SessionRequest {
    /// Opens the session under the id it is sent to.
    Open(Open),
    /// Opens the session under the id it is sent to, with the history of another one.
    Fork(Fork),
    /// Gives the session a message; answered when it is durable, before its turn.
    Send(Send),
    /// Decides what the script asked a person.
    Decide(Decide),
    /// Cancels the turn in flight; messages that wait get their turns.
    Cancel {
        /// Why, for the log.
        reason: String,
    },
    /// Ends the session: cancels what runs, gives the allowance back, and takes no more messages.
    End {
        /// Why, for the log.
        reason: String,
    },
    /// What the session looks like now.
    Show,
    /// A timer of this step is due.
    Fire {
        /// The turn that waits.
        turn: u64,
        /// The step that waits.
        step: StepPath,
    },
    /// A child session has answered.
    ChildDone {
        /// The turn that waits.
        turn: u64,
        /// The step that waits.
        step: StepPath,
        /// The answer.
        outcome: StepOutcome,
    },
    /// Go on with what is in flight, if anything; activation does it, so this only wakes.
    Poke,
}

impl SessionRequest {
    /// Whether it brings new work from outside, which a node may refuse; the rest is about work that it owes.
    pub(super) const fn is_from_outside(&self) -> bool {
        match self {
            Self::Open(open) => open.parent.is_none() && open.message.is_none(),
            Self::Fork(_) | Self::Send(_) => true,
            _ => false,
        }
    }

    /// About how many bytes it holds while it waits.
    pub fn size_bytes(&self) -> usize {
        let message = match self {
            Self::Open(Open { message: Some(send), .. }) | Self::Send(send) => {
                send.key.len() + json_bytes(&send.message)
            }
            Self::Decide(decide) => json_bytes(&decide.answer) + decide.comment.as_ref().map_or(0, String::len),
            Self::ChildDone { outcome: StepOutcome::Value(value), .. } => json_bytes(value),
            _ => 0,
        };
        size_of::<Self>() + message
    }
}

/// How to open a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// Its project.
    pub project: ProjectId,
    /// Its agent.
    pub agent: AgentId,
    /// The most that the session may spend in its life; absent for what the agent and project allow.
    pub ceiling: Option<Micros>,
    /// The agent's version that all its turns take; absent: each takes the newest.
    pub version: Option<u64>,
    /// What people call it, at most [`NAME_BYTES_MAX`](steward_types::limits::NAME_BYTES_MAX) bytes.
    pub label: String,
    /// The session that called, for a child.
    pub parent: Option<Parent>,
    /// How many sessions stand above it; 0 for one that a client opened.
    pub depth: u32,
    /// A first message, taken in the same transaction.
    pub message: Option<Send>,
}

/// How to fork a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Fork {
    /// The session whose history is copied.
    pub from: SessionId,
    /// Its last turn that is copied, which has ended; 0 for no turn.
    pub turn: u64,
    /// What people call the new session.
    pub label: String,
    /// The project of both.
    pub project: ProjectId,
    /// The agent of both.
    pub agent: AgentId,
    /// The most that the new session may spend in its life.
    pub ceiling: Option<Micros>,
}

/// A message to a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Send {
    /// The client's own key: the same key is taken once.
    pub key: String,
    /// The message as the script sees it.
    pub message: Value,
}

/// A person's decision. The same decision again changes nothing; another one is refused with `APPROVAL_DECIDED`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Decide {
    /// The approval.
    pub approval: ApprovalId,
    /// Whether the answer is yes.
    pub approved: bool,
    /// What the person answered besides yes or no.
    pub answer: Value,
    /// What the person said about it.
    pub comment: Option<String>,
    /// Who decides.
    pub decided_by: String,
}

/// What a session answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum SessionResponse {
    /// The session is open (it may have been before).
    Opened(SessionView),
    /// The message is durable.
    Accepted(Accepted),
    /// The approval as it stands decided.
    Decided(Approval),
    /// Done; or there was nothing to do.
    Done,
    /// How the session looks.
    View(SessionView),
    /// Not done, and why.
    Refused(Refusal),
}

/// Where a message went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The turn that will handle it.
    pub turn: u64,
    /// The sequence number of its `message` event: watch from here to see all that it brings about.
    pub seq: u64,
    /// Whether the same key had been taken before.
    pub repeated: bool,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// How a session looks from outside.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionView {
    /// Its id.
    pub id: steward_types::SessionId,
    /// Its project.
    pub project: ProjectId,
    /// Its agent.
    pub agent: AgentId,
    /// What it does.
    pub status: SessionStatus,
    /// The turn in flight or the last one; 0 before the first.
    pub turn: u64,
    /// How that turn stands.
    pub turn_state: Option<TurnState>,
    /// The agent's version of that turn.
    pub version: u64,
    /// Messages that wait.
    pub waiting_messages: u64,
    /// The last event's sequence number.
    pub last_seq: u64,
    /// When it was opened.
    pub opened: Timestamp,
    /// When something last happened in it.
    pub updated: Timestamp,
    /// What people call it.
    pub label: String,
    /// The most that it may spend.
    pub ceiling: Option<Micros>,
    /// The session that called it.
    pub parent: Option<Parent>,
    /// The session whose history it began with.
    #[serde(default)]
    pub forked_from: Option<ForkedFrom>,
}
