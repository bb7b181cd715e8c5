//! The branches of a `parallel`: each runs until it needs an answer; then their calls go out together.
//!
//! Branches run one after the other on the script's thread. One that needs an answer is unwound, and run again from
//! its beginning when the answer is there; the steps it made before are then answered from what was gathered.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use steward_types::{ErrorCode, StepPath};

use super::{Frame, StepFault, Turn, Unwound};
use crate::memory::allocated_by_this_thread;
use crate::port::{Position, StepAnswer, StepCall, StepError};

/// What the outermost `parallel` has gathered from all branches below it.
#[derive(Default)]
pub(crate) struct Gather {
    answers: BTreeMap<StepPath, ([u8; 32], Result<Value, StepError>)>,
    waiting: BTreeSet<StepPath>,
    calls: Vec<StepCall>,
}

/// A `parallel` that was begun.
pub(crate) struct Parallel {
    /// Its own step.
    pub(crate) path: StepPath,
    /// Whether it stands in no other's branch, so that it sends the gathered calls out.
    pub(crate) is_outermost: bool,
}

/// How far a branch came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BranchEnd {
    /// It returned or raised.
    Done,
    /// It needs an answer.
    Waits,
    /// The whole turn is being unwound.
    TurnOver,
}

impl Turn<'_> {
    /// Begins a `parallel`.
    pub(crate) fn begin_parallel(&self, position: &Position) -> Result<Parallel, StepFault> {
        if self.is_unwinding() {
            return Err(StepFault::Unwinding);
        }
        let path = self.next_path();
        let mut gather = self.gather.borrow_mut();
        let is_outermost = gather.is_none();
        if is_outermost {
            *gather = Some(Gather::default());
            drop(gather);
            self.count_step(position)?;
        }
        Ok(Parallel { path, is_outermost })
    }

    /// From here on, steps are those of the branch.
    pub(crate) fn enter_branch(&self, parallel: &Parallel, branch: u32) {
        self.frames.borrow_mut().push(Frame { branch: Some((parallel.path.clone(), branch)), next: 1 });
    }

    /// The branch returned, raised, or was unwound.
    pub(crate) fn leave_branch(&self) -> BranchEnd {
        self.frames.borrow_mut().pop();
        let waits = self.branch_waits.replace(false);
        match (self.unwinding.get(), waits) {
            (true, _) => BranchEnd::TurnOver,
            (false, true) => BranchEnd::Waits,
            (false, false) => BranchEnd::Done,
        }
    }

    /// Some branches of `parallel` wait. The outermost one sends the gathered calls out and goes on when something was
    /// answered; otherwise the script, or the branch around an inner one, is unwound.
    pub(crate) fn answer_branches(&self, parallel: &Parallel) -> Result<(), StepFault> {
        if !parallel.is_outermost {
            self.branch_waits.set(true);
            return Err(StepFault::Unwinding);
        }
        let before = allocated_by_this_thread();
        let outcome = self.send_gathered();
        self.host_keeps(allocated_by_this_thread().wrapping_sub(before));
        outcome
    }

    fn send_gathered(&self) -> Result<(), StepFault> {
        let calls = self.with_gather(|gather| std::mem::take(&mut gather.calls));
        let asked: Vec<_> = calls
            .iter()
            .map(|call| (call.path.clone(), call.function.clone(), call.position.clone(), call.arguments_hash))
            .collect();
        let answers = if calls.is_empty() { Vec::new() } else { self.host.borrow_mut().steps(calls) };
        self.start_slice();
        assert_eq!(answers.len(), asked.len(), "a step host answers each call");
        let mut answered = false;
        for ((path, function, position, hash), answer) in asked.into_iter().zip(answers) {
            let answer = match answer {
                StepAnswer::Pending => {
                    self.with_gather(|gather| gather.waiting.insert(path));
                    continue;
                }
                answer => match self.take_answer(answer, path.clone(), &function, position) {
                    Ok(value) => Ok(value),
                    Err(StepFault::Caught(fault)) => Err(fault.0),
                    Err(StepFault::Unwinding) => return Err(StepFault::Unwinding),
                },
            };
            answered = true;
            self.with_gather(|gather| gather.answers.insert(path, (hash, answer)));
        }
        if !answered {
            let waiting = self.with_gather(|gather| gather.waiting.iter().cloned().collect());
            self.unwind(Unwound::Suspended(waiting));
            return Err(StepFault::Unwinding);
        }
        Ok(())
    }

    /// All branches are done.
    pub(crate) fn end_parallel(&self, parallel: &Parallel) {
        if parallel.is_outermost {
            let before = allocated_by_this_thread();
            *self.gather.borrow_mut() = None;
            self.host_keeps(allocated_by_this_thread().wrapping_sub(before));
        }
    }

    pub(super) fn gather_step(&self, call: StepCall) -> Result<Value, StepFault> {
        let known = self.with_gather(|gather| gather.answers.get(&call.path).cloned());
        if let Some((hash, answer)) = known {
            if hash != call.arguments_hash {
                let message = format!("step {} is another call than when its branch ran before", call.path);
                self.fail_at(ErrorCode::ReplayDiverged, message, call.position, Some(call.path));
                return Err(StepFault::Unwinding);
            }
            return answer.map_err(|error| StepFault::Caught(Box::new((error, call.path))));
        }
        if !self.with_gather(|gather| gather.waiting.contains(&call.path)) {
            self.count_step(&call.position)?;
            self.with_gather(|gather| gather.calls.push(call));
        }
        self.branch_waits.set(true);
        Err(StepFault::Unwinding)
    }

    fn with_gather<R>(&self, body: impl FnOnce(&mut Gather) -> R) -> R {
        body(self.gather.borrow_mut().as_mut().expect("a branch runs within a parallel"))
    }
}
