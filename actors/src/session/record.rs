//! What a session keeps in the store besides its log and its journal.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_storage::Record;
use steward_types::{AgentId, ErrorCode, Micros, ProjectId, SessionId, Timestamp};

use super::event::{Parent, TurnFailure};

/// What a session is, and which turn it is at. Written when that changes, not at each step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Its project.
    pub project: ProjectId,
    /// Its agent.
    pub agent: AgentId,
    /// What it does.
    pub status: SessionStatus,
    /// The turn in flight or the last one; 0 before the first.
    pub turn: u64,
    /// How many messages came in; each is the message of the turn of its number.
    pub messages: u64,
    /// The agent's version that all its turns take; absent: each takes the newest.
    pub version: Option<u64>,
    /// What people call it.
    pub label: String,
    /// The most that it may spend in its life.
    pub ceiling: Option<Micros>,
    /// The session that called it.
    pub parent: Option<Parent>,
    /// How many sessions stand above it.
    pub depth: u32,
    /// When it was opened.
    pub opened: Timestamp,
    /// The answer that its parent has not taken yet.
    pub owed_to_parent: Option<StepOutcome>,
    /// The session whose history it began with.
    #[serde(default)]
    pub forked_from: Option<ForkedFrom>,
}

/// Where a fork's history comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkedFrom {
    /// The session.
    pub session: SessionId,
    /// Its last turn that was copied.
    pub turn: u64,
}

impl Record for SessionRecord {
    const NAME: &'static str = "session";
    const VERSION: u16 = 1;
}

impl SessionRecord {
    /// Messages that wait.
    pub const fn waiting_messages(&self) -> u64 {
        self.messages - self.turn
    }

    /// Whether there is something to do now: a turn in flight that does not wait, a message that no turn holds back,
    /// or an answer that is owed to the parent.
    pub const fn is_runnable(&self) -> bool {
        match self.status {
            SessionStatus::Running => true,
            SessionStatus::Idle => self.waiting_messages() > 0 || self.owed_to_parent.is_some(),
            SessionStatus::Waiting => false,
            SessionStatus::Ended => self.owed_to_parent.is_some(),
        }
    }
}

/// What a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionStatus {
    /// No turn is in flight.
    Idle,
    /// A turn is in flight and runs, or will as soon as a node takes it up.
    Running,
    /// The turn in flight waits for a person, a timer or another session; nothing of it is in memory.
    Waiting,
    /// It takes no more messages.
    Ended,
}

/// The row that every commit of a session reads and writes: it fences out a worker whose turn is over, tells a commit
/// of unknown outcome apart, numbers the events, and is what watchers watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SessionHead {
    /// The last event's sequence number; 0 before the first.
    pub last_seq: u64,
    /// When it was committed.
    pub updated: Timestamp,
    /// The turn in flight; 0 when none is.
    pub turn: u64,
    /// How often a worker has taken up a turn of this session.
    pub run: u64,
    /// How many commits that worker has made.
    pub commits: u64,
}

impl Record for SessionHead {
    const NAME: &'static str = "session_head";
    const VERSION: u16 = 1;
}

/// One turn, from the moment its message came in: the message, the version it stays on, and how it stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnRecord {
    /// The key of its message.
    pub key: String,
    /// The message.
    pub message: Value,
    /// The agent's version that it stays on; 0 before it began.
    pub version: u64,
    /// When its message came in.
    pub received: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What its steps cost; known when it ended.
    pub price: Micros,
    /// How it stands.
    pub state: TurnState,
}

impl Record for TurnRecord {
    const NAME: &'static str = "turn";
    const VERSION: u16 = 1;
}

/// How a turn stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TurnState {
    /// Its message waits.
    Queued,
    /// It runs, or waits for an answer.
    InFlight,
    /// It is done.
    Finished {
        /// What the handler returned.
        value: Value,
    },
    /// It failed.
    Failed(TurnFailure),
    /// It was cancelled.
    Cancelled {
        /// Why.
        reason: String,
    },
}

/// That a client's key has been taken, and where its message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenKey {
    /// The turn that handles it.
    pub turn: u64,
    /// The sequence number of its `message` event.
    pub seq: u64,
}

impl Record for TakenKey {
    const NAME: &'static str = "taken_key";
    const VERSION: u16 = 1;
}

/// How a step ended: what the script gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// A value.
    Value(Value),
    /// An exception that the script may catch.
    Error {
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// More, for programs.
        data: Value,
    },
}

impl StepOutcome {
    /// An error without data.
    pub fn error(code: ErrorCode, message: impl Into<String>) -> Self {
        Self::Error { code, message: message.into(), data: Value::Null }
    }

    /// Whether it is an error.
    pub const fn is_error(&self) -> bool {
        matches!(self, Self::Error { .. })
    }
}

/// A value of the script's `state`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StateValue(pub Value);

impl Record for StateValue {
    const NAME: &'static str = "state_value";
    const VERSION: u16 = 1;
}

/// A session that has something to do, in the index that recovery reads after a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Runnable {
    /// The session.
    pub session: SessionId,
}

impl Record for Runnable {
    const NAME: &'static str = "runnable";
    const VERSION: u16 = 1;
}

/// A timer that is to fire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TimerRow {
    /// The session that waits.
    pub session: SessionId,
    /// Its turn.
    pub turn: u64,
    /// The step.
    pub step: steward_types::StepPath,
}

impl Record for TimerRow {
    const NAME: &'static str = "timer";
    const VERSION: u16 = 1;
}
