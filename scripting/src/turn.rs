//! The state of one turn while its script runs: where it is in its steps, what it has used, why it unwinds.
//!
//! Host functions are plain functions of a shared engine, so they find their turn through the thread they run on.

use std::cell::{Cell, RefCell};
use std::ptr;
use std::time::Duration;

use serde_json::Value;
use steward_types::limits::SCRIPT_ARGUMENTS_BYTES_MAX;
use steward_types::{ErrorCode, StepPath};

use crate::bundle::MAIN_FILE;
use crate::call::HostCall;
use crate::canonical::canonical_hash_and_size;
use crate::limits::Limits;
use crate::memory::allocated_by_this_thread;
use crate::port::{Position, ScriptError, StepAnswer, StepCall, StepError, StepHost, StopReason};

pub(crate) mod gather;

use gather::Gather;

/// How many operations pass between two looks at the time and at the host's wish to stop.
const OPERATIONS_BETWEEN_LOOKS: u64 = 1 << 12;
/// How many bytes a script allocates between two such looks: a few large operations also take long.
const BYTES_BETWEEN_LOOKS: isize = 1 << 20;

/// One run of a turn.
pub(crate) struct Turn<'a> {
    host: RefCell<&'a mut dyn StepHost>,
    limits: Limits,
    operations: Cell<u64>,
    allocated_bytes_max: Cell<isize>,
    look_at_bytes: Cell<isize>,
    slice_started: Cell<Duration>,
    steps: Cell<u32>,
    frames: RefCell<Vec<Frame>>,
    last_call: RefCell<Position>,
    gather: RefCell<Option<Gather>>,
    branch_waits: Cell<bool>,
    unwinding: Cell<bool>,
    unwound: RefCell<Option<Unwound>>,
}

/// Why a script is being unwound. No script can catch it.
#[derive(Debug)]
pub(crate) enum Unwound {
    /// Steps have no answer yet.
    Suspended(Vec<StepPath>),
    /// A limit or a divergence.
    Failed(ScriptError),
    /// The host wants it.
    Stopped(StopReason),
}

/// Why a step gave no value.
pub(crate) enum StepFault {
    /// The script may catch this.
    Caught(Box<(StepError, StepPath)>),
    /// The script is being unwound.
    Unwinding,
}

/// Steps are counted within the turn, and within each branch of a `parallel`.
struct Frame {
    branch: Option<(StepPath, u32)>,
    next: u32,
}

thread_local! {
    static CURRENT: Cell<*const Turn<'static>> = const { Cell::new(ptr::null()) };
}

impl<'a> Turn<'a> {
    pub(crate) fn new(host: &'a mut dyn StepHost, limits: Limits) -> Self {
        let slice_started = Cell::new(host.computed());
        Self {
            host: RefCell::new(host),
            limits,
            operations: Cell::new(0),
            allocated_bytes_max: Cell::new(
                allocated_by_this_thread()
                    .saturating_add(isize::try_from(limits.memory_bytes_max).unwrap_or(isize::MAX)),
            ),
            look_at_bytes: Cell::new(allocated_by_this_thread().saturating_add(BYTES_BETWEEN_LOOKS)),
            slice_started,
            steps: Cell::new(0),
            frames: RefCell::new(vec![Frame { branch: None, next: 1 }]),
            last_call: RefCell::new(Position { file: MAIN_FILE.to_owned(), ..Position::default() }),
            gather: RefCell::new(None),
            branch_waits: Cell::new(false),
            unwinding: Cell::new(false),
            unwound: RefCell::new(None),
        }
    }

    /// Runs `body` as this turn: [`Turn::current`] finds it from within.
    pub(crate) fn enter<R>(&self, body: impl FnOnce() -> R) -> R {
        struct Restore(*const Turn<'static>);
        impl Drop for Restore {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _restore = Restore(CURRENT.replace(ptr::from_ref(self).cast()));
        body()
    }

    /// Gives `body` the turn that runs on this thread; `None` when none does.
    pub(crate) fn current<R>(body: impl for<'t> FnOnce(&Turn<'t>) -> R) -> Option<R> {
        let turn = CURRENT.get();
        // SAFETY: the pointer is null or was set by an `enter` on this thread that has not returned, whose `&self`
        // outlives this call. `body` takes every lifetime, so it can keep nothing of the turn.
        unsafe { turn.as_ref() }.map(body)
    }

    /// Counts an operation; false when the script must unwind.
    pub(crate) fn may_go_on(&self) -> bool {
        if self.is_unwinding() {
            return false;
        }
        let operations = self.operations.get() + 1;
        self.operations.set(operations);
        let allocated = allocated_by_this_thread();
        if operations > self.limits.operations_max {
            let allowed = self.limits.operations_max;
            self.fail(ErrorCode::ScriptOperations, format!("the turn passed its limit of {allowed} operations"));
        } else if allocated > self.allocated_bytes_max.get() {
            let allowed = self.limits.memory_bytes_max;
            self.fail(ErrorCode::ScriptMemory, format!("the script's values passed their limit of {allowed} bytes"));
        } else if operations.is_multiple_of(OPERATIONS_BETWEEN_LOOKS) || allocated > self.look_at_bytes.get() {
            self.look_at_bytes.set(allocated.saturating_add(BYTES_BETWEEN_LOOKS));
            self.look_around();
        }
        !self.unwinding.get()
    }

    fn look_around(&self) {
        let slice = self.host.borrow().computed().saturating_sub(self.slice_started.get());
        if slice > self.limits.slice_time_max {
            let allowed = self.limits.slice_time_max.as_millis();
            self.fail(
                ErrorCode::ScriptTime,
                format!("the script computed for more than {allowed} ms without a host call"),
            );
            return;
        }
        let stopped = self.host.borrow().stopped();
        if let Some(reason) = stopped {
            self.unwind(Unwound::Stopped(reason));
        }
    }

    /// The script's next slice of time begins: a host call has ended.
    fn start_slice(&self) {
        self.slice_started.set(self.host.borrow().computed());
    }

    /// The host keeps this many bytes more, or fewer, that this thread allocated: they are not the script's.
    pub(crate) fn host_keeps(&self, bytes: isize) {
        self.allocated_bytes_max.set(self.allocated_bytes_max.get().saturating_add(bytes));
    }

    /// Whether the script, or the branch that runs, is being unwound.
    fn is_unwinding(&self) -> bool {
        self.unwinding.get() || self.branch_waits.get()
    }

    /// Makes a step of `call` and answers it.
    pub(crate) fn step(&self, call: HostCall, position: Position) -> Result<Value, StepFault> {
        if self.is_unwinding() {
            return Err(StepFault::Unwinding);
        }
        let path = self.next_path();
        self.last_call.borrow_mut().clone_from(&position);
        let call = step_call(call, path, position)?;
        if self.gather.borrow().is_some() {
            return self.gather_step(call);
        }
        self.count_step(&call.position)?;
        let (path, function, position) = (call.path.clone(), call.function.clone(), call.position.clone());
        let answer = self.host.borrow_mut().step(call);
        self.start_slice();
        self.take_answer(answer, path, &function, position)
    }

    fn next_path(&self) -> StepPath {
        let mut frames = self.frames.borrow_mut();
        let frame = frames.last_mut().expect("a turn has a frame");
        let number = frame.next;
        frame.next += 1;
        match &frame.branch {
            None => StepPath::top(number),
            Some((parent, branch)) => parent.branch(*branch, number),
        }
    }

    fn count_step(&self, position: &Position) -> Result<(), StepFault> {
        let steps = self.steps.get() + 1;
        self.steps.set(steps);
        let allowed = self.limits.steps_max;
        if steps > allowed {
            let message = format!("the turn passed its limit of {allowed} steps");
            self.fail_at(ErrorCode::ScriptSteps, message, position.clone(), None);
            return Err(StepFault::Unwinding);
        }
        Ok(())
    }

    fn take_answer(
        &self,
        answer: StepAnswer,
        path: StepPath,
        function: &str,
        position: Position,
    ) -> Result<Value, StepFault> {
        match answer {
            StepAnswer::Value(value) => return Ok(value),
            StepAnswer::Error(error) => return Err(StepFault::Caught(Box::new((error, path)))),
            StepAnswer::Pending => self.unwind(Unwound::Suspended(vec![path])),
            StepAnswer::Stop(reason) => self.unwind(Unwound::Stopped(reason)),
            StepAnswer::Diverged { expected } => {
                let message = format!("step {path} is {function}(…) now, but its journal has {expected}");
                self.fail_at(ErrorCode::ReplayDiverged, message, position, Some(path));
            }
        }
        Err(StepFault::Unwinding)
    }

    /// Rhai says where an error arose, but not where a limit was met: the last host call is what can be named.
    fn fail(&self, code: ErrorCode, message: String) {
        let position = self.last_call.borrow().clone();
        let message = match position.line {
            0 => format!("{message}, before its first host call"),
            _ => format!("{message}, after the host call at {position}"),
        };
        self.fail_at(code, message, position, None);
    }

    fn fail_at(&self, code: ErrorCode, message: String, position: Position, step: Option<StepPath>) {
        self.unwind(Unwound::Failed(ScriptError { code, message, position, step }));
    }

    fn unwind(&self, why: Unwound) {
        self.unwinding.set(true);
        self.unwound.borrow_mut().get_or_insert(why);
    }

    /// Why the script was unwound, if it was.
    pub(crate) fn into_unwound(self) -> Option<Unwound> {
        self.unwound.into_inner()
    }
}

fn step_call(call: HostCall, path: StepPath, position: Position) -> Result<StepCall, StepFault> {
    let (function, arguments) = call.into_parts();
    let (arguments_hash, bytes) = canonical_hash_and_size(&function, &arguments);
    if bytes > SCRIPT_ARGUMENTS_BYTES_MAX {
        let message = format!("{function}: the arguments take {bytes} bytes; {SCRIPT_ARGUMENTS_BYTES_MAX} are allowed");
        let error = StepError { code: ErrorCode::RequestTooLarge, message, data: Value::Null };
        return Err(StepFault::Caught(Box::new((error, path))));
    }
    Ok(StepCall { path, function, arguments, arguments_hash, position })
}
