//! Between a script on its thread and the engine: each step is answered from the journal, done and waited for, or left
//! waiting. Called on the script's own thread, which may block.

use std::cell::{Cell, RefCell};
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
use super::script_threads::{give_way, processor_time};
use super::steps::{self, Begun};
use super::turn::Turn;

/// How many times as long as its commit took a script that fills the buffer rests after it.
const FLOOD_REST: u32 = 3;

/// Answers the steps of one run of a script.
pub(super) struct Bridge {
    turn: Arc<Turn>,
    runtime: Handle,
    /// Processor time that the thread had used when this run began.
    began: Duration,
    /// Held by a script that computes long, until its next host call.
    slow_lane: RefCell<Option<OwnedSemaphorePermit>>,
    /// Whether the turn has given its place up, because its script lets everything else go first.
    is_aside: Cell<bool>,
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
        self.give_way_if_slow();
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
        self.give_way_if_slow();
        answers
    }

    fn stopped(&self) -> Option<StopReason> {
        let is_cancelled = || self.turn.cancel.is_cancelled();
        if !is_cancelled() && self.give_way_if_slow() && self.slow_lane.borrow().is_none() {
            self.enter_slow_lane();
        }
        is_cancelled().then(cancelled)
    }

    fn computed(&self) -> Duration {
        processor_time()
    }
}

impl Bridge {
    /// For a run that begins now, on this thread.
    pub(super) fn new(turn: Arc<Turn>, runtime: Handle) -> Self {
        Self { turn, runtime, began: processor_time(), slow_lane: RefCell::new(None), is_aside: Cell::new(false) }
    }

    /// Lets everything else go first once the run has used much processor time, and tells whether it has.
    fn give_way_if_slow(&self) -> bool {
        let is_slow = processor_time().saturating_sub(self.began) > SCRIPT_FAST_TIME_MAX;
        if is_slow {
            give_way();
            if !self.is_aside.replace(true) {
                self.turn.at_work.go_outside();
            }
        }
        is_slow
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
                    self.commit_much()?;
                }
                Err(answer)
            }
            None => Ok(Due { call, host_call, begun }),
        }
    }

    /// Commits what fills the buffer. Of those that write so much one goes after another, and each rests before the next,
    /// so that a flood of steps leaves most of the store's time to the rest.
    fn commit_much(&self) -> Result<(), StepAnswer> {
        let clock = &self.turn.environment.clock;
        let committed = async {
            let _lane = self.turn.environment.scripts.writing_lane().await;
            let began = clock.monotonic();
            self.turn.commit(Vec::new()).await?;
            let took = clock.monotonic().saturating_sub(began);
            clock.sleep(took.saturating_mul(FLOOD_REST)).await;
            Ok(())
        };
        let committed = self.turn.at_work.outside(committed);
        let cancelled_first = Box::pin(self.turn.cancel.cancelled());
        match self.runtime.block_on(select(Box::pin(committed), cancelled_first)) {
            Either::Left((committed, _)) => committed.map_err(|error| self.turn.halt(error)),
            Either::Right(_) => Err(StepAnswer::Stop(cancelled())),
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

impl Drop for Bridge {
    fn drop(&mut self) {
        if self.is_aside.get() {
            self.turn.at_work.come_back();
        }
    }
}

fn cancelled() -> StopReason {
    StopReason { code: ErrorCode::Cancelled, message: "the turn was cancelled".to_owned() }
}
