//! Between a script on its thread and the engine: each step is answered from the journal, done and waited for, or left
//! waiting. Called on the script's own thread, which may block.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, join_all, select};
use steward_scripting::{HostCall, StepAnswer, StepCall, StepError, StepHost, StopReason};
use steward_types::ErrorCode;
use steward_types::limits::{SCRIPT_FAST_TIME_MAX, TURN_JOURNAL_BYTES_MAX};
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::error::SessionError;
use super::journal::{Recorded, Wait};
use super::steps::{self, Begun};
use super::turn::Turn;

/// Answers the steps of one run of a script.
pub(super) struct Bridge {
    turn: Arc<Turn>,
    runtime: Handle,
    /// When the script last went on from a host call.
    computing_since: Duration,
    /// Held by a script that computes long, until its next host call.
    slow_lane: RefCell<Option<OwnedSemaphorePermit>>,
}

/// A step that is to be done now.
struct Due {
    call: StepCall,
    host_call: HostCall,
    begun: Begun,
}

impl StepHost for Bridge {
    fn step(&mut self, call: StepCall) -> StepAnswer {
        self.slow_lane.take();
        let answer = match self.look_up(call) {
            Ok(due) => self.wait_for(vec![due]).pop().unwrap_or_else(|| self.lost()),
            Err(answer) => answer,
        };
        self.computing_since = self.turn.environment.clock.monotonic();
        answer
    }

    fn steps(&mut self, calls: Vec<StepCall>) -> Vec<StepAnswer> {
        self.slow_lane.take();
        let (mut answers, mut due, mut places) = (Vec::with_capacity(calls.len()), Vec::new(), Vec::new());
        for call in calls {
            match self.look_up(call) {
                Ok(step) => {
                    places.push(answers.len());
                    answers.push(StepAnswer::Pending);
                    due.push(step);
                }
                Err(answer) => answers.push(answer),
            }
        }
        for (place, answer) in places.into_iter().zip(self.wait_for(due)) {
            answers[place] = answer;
        }
        self.computing_since = self.turn.environment.clock.monotonic();
        answers
    }

    fn stopped(&self) -> Option<StopReason> {
        let stopped = self.turn.cancel.is_cancelled();
        if !stopped && self.slow_lane.borrow().is_none() && self.computes_long() {
            self.enter_slow_lane();
        }
        self.turn.cancel.is_cancelled().then(cancelled)
    }
}

impl Bridge {
    pub(super) fn new(turn: Arc<Turn>, runtime: Handle) -> Self {
        let computing_since = turn.environment.clock.monotonic();
        Self { turn, runtime, computing_since, slow_lane: RefCell::new(None) }
    }

    fn computes_long(&self) -> bool {
        let now = self.turn.environment.clock.monotonic();
        now.saturating_sub(self.computing_since) > SCRIPT_FAST_TIME_MAX
    }

    /// Waits until the script may compute for long, or is cancelled.
    fn enter_slow_lane(&self) {
        let lane = Box::pin(self.turn.environment.scripts.slow_lane());
        let cancelled = Box::pin(self.turn.cancel.cancelled());
        if let Either::Left((permit, _)) = self.runtime.block_on(select(lane, cancelled)) {
            self.slow_lane.replace(Some(permit));
        }
    }

    /// The answer of a call that needs no waiting, or the step that is to be done.
    fn look_up(&self, call: StepCall) -> Result<Due, StepAnswer> {
        if self.turn.cancel.is_cancelled() {
            return Err(StepAnswer::Stop(cancelled()));
        }
        if self.turn.work.lock().journal.bytes() > TURN_JOURNAL_BYTES_MAX {
            let message = format!("the turn's steps have answered more than {TURN_JOURNAL_BYTES_MAX} bytes");
            return Err(StepAnswer::Stop(StopReason { code: ErrorCode::ScriptMemory, message }));
        }
        let recorded = self.turn.work.lock().journal.ask(&call);
        let begun = match recorded {
            Recorded::Done(outcome) => return Err(outcome.into_answer()),
            Recorded::Diverged { expected } => return Err(StepAnswer::Diverged { expected }),
            Recorded::Waits(Wait::Session { .. }) => Begun::Waiting,
            Recorded::Waits(_) => return Err(StepAnswer::Pending),
            Recorded::Begun { emitted_bytes } => Begun::Before { emitted_bytes },
            Recorded::New => Begun::New,
        };
        let host_call = HostCall::parse(&call).map_err(|error| self.invalid(&call, error))?;
        match steps::local(&self.turn, &call, &host_call) {
            Some(answer) => {
                if self.turn.is_buffer_full() {
                    self.runtime.block_on(self.turn.commit(Vec::new())).map_err(|error| self.turn.halt(error))?;
                }
                Err(answer)
            }
            None => Ok(Due { call, host_call, begun }),
        }
    }

    fn invalid(&self, call: &StepCall, error: StepError) -> StepAnswer {
        self.turn.refuse(call, error.code, error.message).into_answer()
    }

    /// Does steps at the same time and waits until each is answered or waits for something outside.
    fn wait_for(&self, due: Vec<Due>) -> Vec<StepAnswer> {
        if due.is_empty() {
            return Vec::new();
        }
        let count = due.len();
        let turn = &self.turn;
        let all = join_all(due.into_iter().map(|due| async move {
            let result = steps::execute(turn, &due.call, due.host_call, due.begun).await;
            self.answer(result)
        }));
        let cancelled_first = Box::pin(turn.cancel.cancelled());
        match self.runtime.block_on(select(Box::pin(all), cancelled_first)) {
            Either::Left((answers, _)) => answers,
            Either::Right(_) => (0..count).map(|_| StepAnswer::Stop(cancelled())).collect(),
        }
    }

    fn answer(&self, result: Result<steps::Answer, SessionError>) -> StepAnswer {
        match result {
            Ok(steps::Answer::Done(outcome)) => outcome.into_answer(),
            Ok(steps::Answer::Waits) => StepAnswer::Pending,
            Err(error) => self.turn.halt(error),
        }
    }

    fn lost(&self) -> StepAnswer {
        self.turn.halt(SessionError::Internal("a step got no answer".to_owned()))
    }
}

fn cancelled() -> StopReason {
    StopReason { code: ErrorCode::Cancelled, message: "the turn was cancelled".to_owned() }
}
