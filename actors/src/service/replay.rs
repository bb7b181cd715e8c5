//! Replay: runs a turn again against its journal, without any effect, and says whether it did the same.

use std::time::Duration;

use serde_json::Value;
use steward_scripting::{StepAnswer, StepCall, StepError, StepHost, StopReason, TurnEnd};
use steward_types::{ErrorCode, SessionId};

use super::{Failure, Reach, Steward};
use crate::session::journal::{Journal, Recorded};
use crate::session::{StepOutcome, TurnState, processor_time};

/// What came of running a turn again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// The turn.
    pub turn: u64,
    /// How many steps were answered from the journal.
    pub steps: u32,
    /// Where it went another way; absent when it did the same.
    pub divergence: Option<String>,
}

impl Steward {
    /// Runs a turn that has ended again; without a number, the newest.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`]; [`ErrorCode::InvalidRequest`] when the turn has not ended.
    pub async fn replay(&self, reach: &Reach, id: SessionId, turn: Option<u64>) -> Result<Replayed, Failure> {
        let view = self.session(reach, id).await?;
        let turn = match turn {
            Some(turn) => turn,
            None => self.newest_ended(id, view.turn).await?,
        };
        let record = self.turn_record(id, turn).await?;
        if matches!(record.state, TurnState::Queued | TurnState::InFlight) {
            return Err(Failure::field("turn", format!("turn {turn} has not ended")));
        }
        let journal = Journal::new(self.turn_steps(id, turn).await?);
        let program = self.parts().programs.load(&view.project, &view.agent, record.version).await;
        let program = program.map_err(|error| Failure::new(error.code, error.message))?;
        let replayed = tokio::task::spawn_blocking(move || {
            let mut reader = Reader { journal, steps: 0, divergence: None };
            let limits = program.manifest.turn_limits();
            let end = program.program.run_turn("on_message", &record.message, &mut reader, &limits);
            let divergence = reader.divergence(&end, &record.state);
            Replayed { turn, steps: reader.steps, divergence }
        });
        replayed.await.map_err(|error| Failure::new(ErrorCode::Internal, format!("the replay did not end: {error}")))
    }

    async fn newest_ended(&self, id: SessionId, turn: u64) -> Result<u64, Failure> {
        if turn == 0 {
            return Err(Failure::field("turn", "the session has had no turn yet"));
        }
        let record = self.turn_record(id, turn).await?;
        let in_hand = matches!(record.state, TurnState::Queued | TurnState::InFlight);
        Ok(if in_hand && turn > 1 { turn - 1 } else { turn })
    }
}

/// Answers from a journal, and never does anything.
struct Reader {
    journal: Journal,
    steps: u32,
    divergence: Option<String>,
}

impl StepHost for Reader {
    fn step(&mut self, call: StepCall) -> StepAnswer {
        match self.journal.ask(&call) {
            Recorded::Done(outcome) => {
                self.steps += 1;
                answer(outcome)
            }
            Recorded::Diverged { expected } => {
                let message = format!(
                    "{}: step {} is {}(…) now, but its journal has {expected}",
                    call.position, call.path, call.function
                );
                self.divergence.get_or_insert(message);
                StepAnswer::Diverged { expected }
            }
            // A turn that was cancelled, or failed beside a step, leaves steps without an answer.
            Recorded::Begun { .. } | Recorded::Waits(_) | Recorded::New => StepAnswer::Pending,
        }
    }

    fn steps(&mut self, calls: Vec<StepCall>) -> Vec<StepAnswer> {
        calls.into_iter().map(|call| self.step(call)).collect()
    }

    fn stopped(&self) -> Option<StopReason> {
        None
    }

    fn computed(&self) -> Duration {
        processor_time()
    }
}

fn answer(outcome: StepOutcome) -> StepAnswer {
    match outcome {
        StepOutcome::Value(value) => StepAnswer::Value(value),
        StepOutcome::Error { code, message, data } => StepAnswer::Error(StepError { code, message, data }),
    }
}

impl Reader {
    fn divergence(&mut self, end: &TurnEnd, recorded: &TurnState) -> Option<String> {
        if let Some(divergence) = self.divergence.take() {
            return Some(divergence);
        }
        let cancelled = matches!(recorded, TurnState::Cancelled { .. });
        if let Some((path, step)) = self.journal.not_asked().filter(|_| !cancelled) {
            return Some(format!("the turn ended without step {path}, which is {}", step.in_words()));
        }
        let (now, then) = (describe_end(end), describe_state(recorded));
        (!cancelled && now != then).then(|| format!("the turn now ends with {now}; it was recorded with {then}"))
    }
}

fn describe_end(end: &TurnEnd) -> String {
    match end {
        TurnEnd::Finished(value) => finished(value),
        TurnEnd::Failed(error) => failed(error.code, &error.message),
        TurnEnd::Suspended { waiting_for } => {
            let steps: Vec<String> = waiting_for.iter().map(ToString::to_string).collect();
            format!("waiting for step {}", steps.join(", "))
        }
        TurnEnd::Stopped(reason) => failed(reason.code, &reason.message),
    }
}

fn describe_state(state: &TurnState) -> String {
    match state {
        TurnState::Finished { value } => finished(value),
        TurnState::Failed(failure) => failed(failure.code, &failure.message),
        TurnState::Queued | TurnState::InFlight | TurnState::Cancelled { .. } => "no end".to_owned(),
    }
}

fn finished(value: &Value) -> String {
    format!("the value {value}")
}

fn failed(code: ErrorCode, message: &str) -> String {
    format!("{code}: {message}")
}
