//! What a session's log holds: the events that clients watch, in the order in which they were committed.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_storage::Record;
use steward_types::{AgentId, ErrorCode, HoldId, Micros, ModelId, ProjectId, SessionId, StepPath, Timestamp};

use super::approval::{ApprovalId, ApprovalState};

/// One entry of a session's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionEvent {
    /// Its place in the log: 1, 2, 3 and so on without gaps.
    pub seq: u64,
    /// When it was committed, by the clock of the node that wrote it.
    pub at: Timestamp,
    /// The turn it belongs to; 0 for the session itself.
    pub turn: u64,
    /// The step it belongs to.
    pub step: Option<StepPath>,
    /// What happened.
    pub body: EventBody,
}

impl Record for SessionEvent {
    const NAME: &'static str = "session_event";
    const VERSION: u16 = 1;
}

/// What happened in a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventBody {
    /// The session was opened.
    Opened {
        /// Its project.
        project: ProjectId,
        /// Its agent.
        agent: AgentId,
    },
    /// A message came in and waits for its turn, whose number the event carries.
    Message {
        /// The client's own key, under which the message is taken once.
        key: String,
        /// The message as the script sees it.
        message: Value,
    },
    /// A turn began with the oldest waiting message.
    TurnStarted {
        /// The key of that message.
        key: String,
        /// The agent's version that the turn stays on.
        version: u64,
    },
    /// An effect is about to begin; its price is held.
    StepStarted {
        /// The host function.
        function: String,
        /// The hold, when the step costs something.
        hold: Option<HoldId>,
    },
    /// A piece of a model's answer.
    Delta {
        /// Bytes of the step's answer before this piece.
        offset: u64,
        /// The piece.
        text: String,
    },
    /// An effect is done and settled.
    StepFinished {
        /// The host function.
        function: String,
        /// What the script got, as the journal keeps it.
        result: Value,
        /// What it cost; zero when it costs nothing.
        price: Micros,
        /// The hold that it settled, which is also the id of its receipt.
        hold: Option<HoldId>,
        /// What it used, when a model ran.
        usage: Option<StepUsage>,
    },
    /// An effect failed; the script may catch it.
    StepFailed {
        /// The host function.
        function: String,
        /// Why, for programs.
        code: ErrorCode,
        /// Why, for people.
        message: String,
        /// What was settled all the same, such as the tokens made before a model failed.
        price: Micros,
    },
    /// The script answered.
    Reply {
        /// The answer.
        value: Value,
    },
    /// The script emitted an event of its own.
    Emitted {
        /// The event's name.
        name: String,
        /// What it carries.
        value: Value,
    },
    /// The script wrote a log line.
    Logged {
        /// `debug`, `info`, `warn` or `error`.
        level: String,
        /// The line.
        text: String,
    },
    /// The script asks a person.
    ApprovalRequested {
        /// The approval to decide.
        approval: ApprovalId,
        /// The question.
        question: String,
        /// When it expires.
        expires: Timestamp,
    },
    /// A person decided, or the approval expired.
    ApprovalDecided {
        /// The approval.
        approval: ApprovalId,
        /// How it stands now.
        state: ApprovalState,
        /// Who decided; absent when it expired.
        decided_by: Option<String>,
        /// What the person said.
        comment: Option<String>,
    },
    /// The turn left memory and waits for these steps.
    Suspended {
        /// The steps that have no answer yet.
        waiting_for: Vec<StepPath>,
    },
    /// An answer came and the turn runs again.
    Resumed {},
    /// The turn is done.
    TurnFinished {
        /// What the handler returned.
        value: Value,
        /// What its steps cost.
        price: Micros,
    },
    /// The turn failed; the session can be used for the next message.
    TurnFailed {
        /// Why, and where.
        failure: TurnFailure,
        /// What its steps cost.
        price: Micros,
    },
    /// The turn was cancelled.
    TurnCancelled {
        /// Why.
        reason: String,
    },
    /// The session ended; nothing follows.
    Ended {
        /// Why.
        reason: String,
    },
}

impl EventBody {
    /// Whether the log ends with this event.
    pub const fn is_last(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }

    /// Its name, as in `turn_finished`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Opened { .. } => "opened",
            Self::Message { .. } => "message",
            Self::TurnStarted { .. } => "turn_started",
            Self::StepStarted { .. } => "step_started",
            Self::Delta { .. } => "delta",
            Self::StepFinished { .. } => "step_finished",
            Self::StepFailed { .. } => "step_failed",
            Self::Reply { .. } => "reply",
            Self::Emitted { .. } => "emitted",
            Self::Logged { .. } => "logged",
            Self::ApprovalRequested { .. } => "approval_requested",
            Self::ApprovalDecided { .. } => "approval_decided",
            Self::Suspended { .. } => "suspended",
            Self::Resumed {} => "resumed",
            Self::TurnFinished { .. } => "turn_finished",
            Self::TurnFailed { .. } => "turn_failed",
            Self::TurnCancelled { .. } => "turn_cancelled",
            Self::Ended { .. } => "ended",
        }
    }
}

/// Why a turn failed, and where in the script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TurnFailure {
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub message: String,
    /// The script's file, when the script is to blame.
    pub file: Option<String>,
    /// The line there, counted from 1; 0 when unknown.
    pub line: u32,
    /// The column there, counted from 1; 0 when unknown.
    pub column: u32,
    /// The step that failed.
    pub step: Option<StepPath>,
}

/// What a model used for one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepUsage {
    /// The model.
    pub model: ModelId,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens made.
    pub completion_tokens: u32,
    /// Milliseconds of the model's time.
    pub model_ms: u64,
}

/// The session and step that a child session answers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// The calling session.
    pub session: SessionId,
    /// Its turn.
    pub turn: u64,
    /// The step that waits for the answer.
    pub step: StepPath,
}
