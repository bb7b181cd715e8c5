//! The journal of one turn, as a plain value: what each step was, and what it answered. A script that runs again is
//! answered from here; what it asks otherwise than before is a divergence, never silently another effect.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_scripting::{Position, StepCall};
use steward_storage::Record;
use steward_types::{HoldId, Micros, MoneyError, SessionId, StepPath, Timestamp};

use super::record::StepOutcome;
use super::turn::json_bytes;
use crate::chain::OrderId;

/// One step of a turn, as it is stored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalStep {
    /// The host function.
    pub function: String,
    /// SHA-256 over the function and its canonical arguments.
    pub arguments_hash: [u8; 32],
    /// The arguments, for people; absent when they are long.
    pub arguments: Option<Value>,
    /// Where in the script the call stands.
    pub position: Position,
    /// When it began.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Option<Timestamp>,
    /// What it cost.
    pub price: Micros,
    /// The hold that paid for it.
    pub hold: Option<HoldId>,
    /// How it stands.
    pub state: StepState,
}

impl Record for JournalStep {
    const NAME: &'static str = "journal_step";
    const VERSION: u16 = 1;
}

/// How a step stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// Its effect may have begun.
    Started {
        /// Bytes of a model's answer that are in the session's log already.
        emitted_bytes: u64,
    },
    /// It waits for something outside; nothing of it runs.
    Waiting(Wait),
    /// It is done.
    Finished(StepOutcome),
}

/// What a step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wait {
    /// A person's decision, until it expires.
    Person {
        /// When it expires.
        expires: Timestamp,
    },
    /// A person's consent to what the step is about to do, until it expires. With it the step goes on.
    Consent {
        /// When it expires.
        expires: Timestamp,
    },
    /// The end of a transaction that a step ordered.
    Transaction {
        /// The order.
        order: OrderId,
        /// When the step stops waiting.
        expires: Timestamp,
        /// When it looks next whether the order has ended, in case it is not told.
        look: Timestamp,
    },
    /// The clock.
    Timer {
        /// When it is due.
        due: Timestamp,
    },
    /// Another session's answer.
    Session {
        /// The child.
        child: SessionId,
        /// When the parent stops waiting; absent for never.
        expires: Option<Timestamp>,
        /// What the call costs once it is answered.
        price: Micros,
    },
}

impl Wait {
    /// When the timer behind this wait is due.
    pub const fn due(&self) -> Option<Timestamp> {
        match self {
            Self::Person { expires } | Self::Consent { expires } => Some(*expires),
            Self::Transaction { look, .. } => Some(*look),
            Self::Timer { due } => Some(*due),
            Self::Session { expires, .. } => *expires,
        }
    }
}

/// What the journal says to a call.
#[derive(Debug, Clone, PartialEq)]
pub enum Recorded {
    /// Nothing yet: it is the first time that this step is reached.
    New,
    /// The step's effect may have begun before a crash.
    Begun {
        /// Bytes of a model's answer that are in the log already.
        emitted_bytes: u64,
    },
    /// It waits.
    Waits(Wait),
    /// It is done.
    Done(StepOutcome),
    /// Another step stands in this place.
    Diverged {
        /// That step, in words.
        expected: String,
    },
}

/// The steps of one turn.
#[derive(Debug, Default)]
pub struct Journal {
    steps: BTreeMap<StepPath, JournalStep>,
    asked: BTreeSet<StepPath>,
    bytes: usize,
}

impl Journal {
    /// A journal of what is stored.
    pub fn new(steps: impl IntoIterator<Item = (StepPath, JournalStep)>) -> Self {
        let mut journal = Self::default();
        for (path, step) in steps {
            journal.put(path, step);
        }
        journal
    }

    /// Forgets what this run of the script has asked, before the next run.
    pub fn rewind(&mut self) {
        self.asked.clear();
    }

    /// What is recorded for a call, which counts as asked from now on.
    pub fn ask(&mut self, call: &StepCall) -> Recorded {
        self.asked.insert(call.path.clone());
        let Some(step) = self.steps.get(&call.path) else { return Recorded::New };
        if step.function != call.function || step.arguments_hash != call.arguments_hash {
            return Recorded::Diverged { expected: step.in_words() };
        }
        match &step.state {
            StepState::Started { emitted_bytes } => Recorded::Begun { emitted_bytes: *emitted_bytes },
            StepState::Waiting(wait) => Recorded::Waits(wait.clone()),
            StepState::Finished(outcome) => Recorded::Done(outcome.clone()),
        }
    }

    /// Notes a step as it now stands.
    pub fn put(&mut self, path: StepPath, step: JournalStep) {
        if let StepState::Finished(StepOutcome::Value(value)) = &step.state {
            self.bytes += json_bytes(value);
        }
        self.steps.insert(path, step);
    }

    /// About how many bytes the finished steps answer together.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A step as it stands.
    pub fn get(&self, path: &StepPath) -> Option<&JournalStep> {
        self.steps.get(path)
    }

    /// All steps in the script's order.
    pub fn steps(&self) -> impl Iterator<Item = (&StepPath, &JournalStep)> {
        self.steps.iter()
    }

    /// The first recorded step that a script which has come to its end did not ask for: it diverged.
    pub fn not_asked(&self) -> Option<(&StepPath, &JournalStep)> {
        self.steps.iter().find(|(path, _)| !self.asked.contains(path))
    }

    /// What all steps cost together.
    ///
    /// # Errors
    /// [`MoneyError`] when it does not fit.
    pub fn price(&self) -> Result<Micros, MoneyError> {
        Micros::sum(self.steps.values().map(|step| step.price))
    }
}

impl JournalStep {
    /// The step as people read it in a divergence.
    pub fn in_words(&self) -> String {
        format!("{}(…) recorded at {}", self.function, self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn call(path: &str, function: &str, arguments: Value) -> StepCall {
        let arguments_hash = steward_scripting::canonical_hash(function, &arguments);
        let position = Position { file: "agent.rhai".into(), line: 3, column: 5 };
        StepCall { path: path.parse().unwrap(), function: function.into(), arguments, arguments_hash, position }
    }

    fn step(call: &StepCall, state: StepState) -> JournalStep {
        JournalStep {
            function: call.function.clone(),
            arguments_hash: call.arguments_hash,
            arguments: None,
            position: call.position.clone(),
            started: Timestamp::EPOCH,
            ended: None,
            price: Micros::new(2),
            hold: None,
            state,
        }
    }

    #[test]
    fn a_recorded_step_answers_and_a_new_one_does_not() {
        let recorded = call("1", "now", json!({}));
        let state = StepState::Finished(StepOutcome::Value(json!(7)));
        let mut journal = Journal::new([(recorded.path.clone(), step(&recorded, state))]);
        assert_eq!(journal.ask(&recorded), Recorded::Done(StepOutcome::Value(json!(7))));
        assert_eq!(journal.ask(&call("2", "now", json!({}))), Recorded::New);
        assert_eq!(journal.price().unwrap(), Micros::new(2));
    }

    #[test]
    fn another_function_or_other_arguments_in_a_recorded_place_diverge() {
        let recorded = call("1", "log", json!({"text": "a"}));
        let state = StepState::Finished(StepOutcome::Value(json!(null)));
        let mut journal = Journal::new([(recorded.path.clone(), step(&recorded, state))]);
        let expected = "log(…) recorded at agent.rhai:3:5".to_owned();
        for other in [call("1", "log", json!({"text": "b"})), call("1", "emit", json!({"text": "a"}))] {
            assert_eq!(journal.ask(&other), Recorded::Diverged { expected: expected.clone() });
        }
    }

    #[test]
    fn a_run_that_ends_before_its_record_is_found_out() {
        let (first, second) = (call("1", "now", json!({})), call("2", "now", json!({})));
        let done = || StepState::Finished(StepOutcome::Value(json!(7)));
        let rows = [(first.path.clone(), step(&first, done())), (second.path.clone(), step(&second, done()))];
        let mut journal = Journal::new(rows);
        journal.ask(&first);
        assert_eq!(journal.not_asked().map(|(path, _)| path), Some(&second.path));
        journal.ask(&second);
        assert!(journal.not_asked().is_none());
        journal.rewind();
        assert!(journal.not_asked().is_some());
    }
}
