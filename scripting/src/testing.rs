//! A step host in memory, for tests of scripts and of this crate. Public, so that agents can be tested with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};
use steward_types::{Clock as _, ErrorCode, StepPath, SystemClock};

use crate::port::{StepAnswer, StepCall, StepError, StepHost, StopReason};

/// One recorded step.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The call as it was first made.
    pub call: StepCall,
    /// What it answered.
    pub answer: Result<Value, StepError>,
}

type Answerer = Box<dyn FnMut(&StepCall) -> StepAnswer + Send>;

/// Keeps the journal in a map, answers new steps by a function, and can stop before any step as a crash would.
pub struct RecordingHost {
    /// The journal, in the order of paths.
    pub journal: BTreeMap<StepPath, Recorded>,
    /// How many times a step was really done.
    pub executions: BTreeMap<StepPath, u32>,
    /// Sizes of the groups that `parallel` sent out together.
    pub groups: Vec<usize>,
    answerer: Answerer,
    pending: BTreeSet<StepPath>,
    stop_after: Option<usize>,
    stop: Option<StopReason>,
    computed: Box<dyn Fn() -> Duration + Send>,
}

impl std::fmt::Debug for RecordingHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordingHost").field("journal", &self.journal).finish_non_exhaustive()
    }
}

impl Default for RecordingHost {
    fn default() -> Self {
        Self::new(plausible_answer)
    }
}

impl RecordingHost {
    /// A host that answers steps it has not recorded by `answerer`.
    pub fn new(answerer: impl FnMut(&StepCall) -> StepAnswer + Send + 'static) -> Self {
        let clock = SystemClock::new();
        Self {
            journal: BTreeMap::new(),
            executions: BTreeMap::new(),
            groups: Vec::new(),
            answerer: Box::new(answerer),
            pending: BTreeSet::new(),
            stop_after: None,
            stop: None,
            computed: Box::new(move || clock.monotonic()),
        }
    }

    /// Stops the script, as a crash would, when it asks for a new step after this many were done.
    pub fn stop_after(&mut self, steps: usize) {
        self.stop_after = Some(self.journal.len() + steps);
    }

    /// Lets the script go on.
    pub fn go_on(&mut self) {
        self.stop_after = None;
        self.stop = None;
    }

    /// Makes [`StepHost::stopped`] say so.
    pub fn cancel(&mut self, reason: StopReason) {
        self.stop = Some(reason);
    }

    /// What [`StepHost::computed`] says instead of the time since this host was made.
    pub fn let_compute(&mut self, computed: impl Fn() -> Duration + Send + 'static) {
        self.computed = Box::new(computed);
    }

    /// Leaves this step without an answer until [`RecordingHost::answer`].
    pub fn hold(&mut self, path: &str) {
        self.pending.insert(path.parse().expect("a step path"));
    }

    /// Lets a held step be answered.
    pub fn answer(&mut self, path: &StepPath) {
        self.pending.remove(path);
    }

    /// Calls so far, in the order of paths, such as `chat`.
    pub fn functions(&self) -> Vec<&str> {
        self.journal.values().map(|recorded| recorded.call.function.as_str()).collect()
    }

    /// What `reply` was given, in order.
    pub fn replies(&self) -> Vec<&Value> {
        let replies = self.journal.values().filter(|recorded| recorded.call.function == "reply");
        replies.map(|recorded| &recorded.call.arguments["value"]).collect()
    }

    fn recorded(&self, call: &StepCall) -> Option<StepAnswer> {
        let recorded = self.journal.get(&call.path)?;
        if recorded.call.arguments_hash != call.arguments_hash {
            let expected = format!("{} at {}", recorded.call.function, recorded.call.position);
            return Some(StepAnswer::Diverged { expected });
        }
        Some(recorded.answer.clone().map_or_else(StepAnswer::Error, StepAnswer::Value))
    }

    fn execute(&mut self, call: StepCall) -> StepAnswer {
        if self.pending.contains(&call.path) {
            return StepAnswer::Pending;
        }
        if self.stop_after.is_some_and(|most| self.journal.len() >= most) {
            return StepAnswer::Stop(StopReason { code: ErrorCode::NodeDraining, message: "crash".to_owned() });
        }
        let answer = (self.answerer)(&call);
        let recorded = match &answer {
            StepAnswer::Value(value) => Ok(value.clone()),
            StepAnswer::Error(error) => Err(error.clone()),
            _ => return answer,
        };
        *self.executions.entry(call.path.clone()).or_default() += 1;
        self.journal.insert(call.path.clone(), Recorded { call, answer: recorded });
        answer
    }
}

impl StepHost for RecordingHost {
    fn step(&mut self, call: StepCall) -> StepAnswer {
        match self.recorded(&call) {
            Some(answer) => answer,
            None => self.execute(call),
        }
    }

    fn steps(&mut self, calls: Vec<StepCall>) -> Vec<StepAnswer> {
        self.groups.push(calls.len());
        calls.into_iter().map(|call| self.step(call)).collect()
    }

    fn stopped(&self) -> Option<StopReason> {
        self.stop.clone()
    }

    fn computed(&self) -> Duration {
        (self.computed)()
    }
}

/// An answer in the shape that each host function documents, the same for the same call.
pub fn plausible_answer(call: &StepCall) -> StepAnswer {
    let arguments = &call.arguments;
    let value = match call.function.as_str() {
        "chat" | "generate" => json!({
            "text": format!("answer {}", call.path),
            "model": "scripted",
            "finish_reason": "stop",
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }),
        "embed" => json!([0.25, -0.5, 1.0]),
        "remember" => json!({"id": format!("memory-{}", call.path)}),
        "recall" => json!([{"id": "memory-1", "text": "a fact", "metadata": null, "score": 0.9}]),
        "http" => {
            json!({"status": 200, "headers": {"content-type": "application/json"}, "body": "{\"price\":7}", "json": {"price": 7}})
        }
        "ask_human" => json!({"approved": true, "answer": "yes", "by": "ada"}),
        "now" => json!(1_795_262_400_000_u64),
        "uuid" => json!("7b0c4b3e-6f7e-4a60-9d51-0d3c9a1f2b11"),
        "random" => json!(0.5),
        "chain_balance" => json!("1000000000000000000"),
        "chain_read" => json!("1500"),
        "chain_send" | "chain_call" => json!(format!("ses_7b0c4b3e6f7e4a609d510d3c9a1f2b11.1.{}", call.path)),
        "chain_wait" => json!({
            "succeeded": true, "transaction": "0x5d3e", "block": 21_000_000, "fee": "21000000000000", "price": 63,
            "reason": null,
        }),
        "call_agent" => json!({"echo": arguments["input"]}),
        _ => Value::Null,
    };
    StepAnswer::Value(value)
}
