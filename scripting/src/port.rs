//! The port between a running script and whoever keeps its journal.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_types::{ErrorCode, StepPath};

/// Answers the steps of one turn. Called on the script's own thread, never from two threads at once.
pub trait StepHost {
    /// Answers one step: from the journal when it is recorded there, by doing it and waiting a short while when it is
    /// not, or with [`StepAnswer::Pending`] when it takes longer.
    fn step(&mut self, call: StepCall) -> StepAnswer;

    /// Answers steps of a `parallel` that may run at the same time: one answer a call, in the same order.
    fn steps(&mut self, calls: Vec<StepCall>) -> Vec<StepAnswer>;

    /// Why the script must stop at once, if it must. Asked every few thousand operations, so it must be cheap.
    fn stopped(&self) -> Option<StopReason>;

    /// How much processor time the calling thread has used so far, from any fixed moment. Time that the thread waits does
    /// not count: a script fails for what it computes, never because the machine is busy. Asked as often as `stopped`.
    fn computed(&self) -> Duration;
}

/// One host call of a script.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepCall {
    /// Its place in the turn: `3`, or `3.1.2` for the second step of the first branch of step 3.
    pub path: StepPath,
    /// The host function.
    pub function: String,
    /// The arguments by name, as [`HostCall::parse`](crate::HostCall::parse) reads them.
    pub arguments: Value,
    /// SHA-256 over the function's name and the canonical JSON of its arguments.
    pub arguments_hash: [u8; 32],
    /// Where in the source it stands.
    pub position: Position,
}

/// A place in the source.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Position {
    /// The file, such as `agent.rhai`.
    pub file: String,
    /// The line, from 1; 0 when it is not known.
    pub line: u32,
    /// The column, from 1; 0 when it is not known.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => f.pad(&self.file),
            line => write!(f, "{}:{line}:{}", self.file, self.column),
        }
    }
}

/// What a host says to a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepAnswer {
    /// It is done.
    Value(Value),
    /// It failed; the script may catch it.
    Error(StepError),
    /// It takes longer: unwind the script, and run the turn again when there is an answer.
    Pending,
    /// The journal has another step in this place.
    Diverged {
        /// What the journal has, in words, such as `http(...) recorded at agent.rhai:3:5`.
        expected: String,
    },
    /// Unwind the script: the turn is over.
    Stop(StopReason),
}

/// Why a step failed: a script sees it as the map `#{code, message, step, function, data}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepError {
    /// The code.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// What a program may want besides; null when nothing.
    #[serde(default)]
    pub data: Value,
}

/// Why a turn was stopped from outside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StopReason {
    /// The code, such as [`ErrorCode::Cancelled`].
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
}

/// How running a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub enum TurnEnd {
    /// The handler returned this.
    Finished(Value),
    /// The script was unwound; run the turn again when one of these steps has its answer.
    Suspended {
        /// The steps without an answer, in the order of the script.
        waiting_for: Vec<StepPath>,
    },
    /// The script failed: an uncaught exception, a limit, or a divergence.
    Failed(ScriptError),
    /// The host stopped it.
    Stopped(StopReason),
}

/// Why a script failed, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{position}: {code}: {message}")]
pub struct ScriptError {
    /// The code: of the failed step when a script lets its error through, of the limit when one is passed.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// Where in the source.
    pub position: Position,
    /// The step in question, when there is one.
    pub step: Option<StepPath>,
}
