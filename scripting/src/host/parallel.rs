//! `parallel`: several closures whose steps run at the same time.

use rhai::{Array, Dynamic, EvalAltResult, FnPtr, FuncRegistration, Module, NativeCallContext};
use serde_json::Value;
use steward_types::ErrorCode;
use steward_types::limits::PARALLEL_BRANCHES_MAX;

use super::{Answer, exception, position, unwinding};
use crate::port::StepError;
use crate::turn::Turn;
use crate::turn::gather::{BranchEnd, Parallel};

/// Registers `parallel([closures])` and `parallel(items, closure)`.
pub(super) fn register(module: &mut Module) {
    FuncRegistration::new("parallel").in_global_namespace().set_into_module(
        module,
        |context: NativeCallContext<'_>, closures: Array| -> Answer {
            let branches = closures.into_iter().map(|closure| Some((closure.try_cast::<FnPtr>()?, Vec::new())));
            let branches = branches.collect::<Option<Vec<_>>>();
            run(&context, branches.ok_or("give it an array of closures, such as [|| chat(a), || chat(b)]"))
        },
    );
    FuncRegistration::new("parallel").in_global_namespace().set_into_module(
        module,
        |context: NativeCallContext<'_>, items: Array, closure: FnPtr| -> Answer {
            let branches = items.into_iter().map(|item| (closure.clone(), vec![item]));
            run(&context, Ok(branches.collect()))
        },
    );
}

type Branches = Vec<(FnPtr, Vec<Dynamic>)>;

fn run(context: &NativeCallContext<'_>, branches: Result<Branches, &str>) -> Answer {
    let branches = match branches {
        Ok(branches) if branches.len() <= PARALLEL_BRANCHES_MAX => branches,
        Ok(branches) => {
            let given = branches.len();
            return Err(invalid(context, &format!("there are {given} branches; {PARALLEL_BRANCHES_MAX} are allowed")));
        }
        Err(reason) => return Err(invalid(context, reason)),
    };
    let parallel = on_turn(context, |turn| turn.begin_parallel(&position(context)).map_err(|_| unwinding(context)))??;
    let mut results: Vec<Option<Answer>> = branches.iter().map(|_| None).collect();
    loop {
        let waiting = run_branches(context, &parallel, &branches, &mut results)?;
        if !waiting {
            break;
        }
        on_turn(context, |turn| turn.answer_branches(&parallel).map_err(|_| unwinding(context)))??;
    }
    on_turn(context, |turn| turn.end_parallel(&parallel))?;
    // The first error in the order of the branches is raised, so that the same answers always raise the same one.
    results.into_iter().flatten().collect::<Result<Array, _>>().map(Dynamic::from_array)
}

/// Runs the branches that are not done; whether some wait.
fn run_branches(
    context: &NativeCallContext<'_>,
    parallel: &Parallel,
    branches: &Branches,
    results: &mut [Option<Answer>],
) -> Result<bool, Box<EvalAltResult>> {
    let mut waiting = false;
    for (number, ((closure, arguments), result)) in (1..).zip(branches.iter().zip(results)) {
        if result.is_some() {
            continue;
        }
        on_turn(context, |turn| turn.enter_branch(parallel, number))?;
        let outcome = isolated(closure).call_raw(context, None, arguments.clone());
        match on_turn(context, |turn| turn.leave_branch())? {
            BranchEnd::TurnOver => return Err(unwinding(context)),
            BranchEnd::Waits => waiting = true,
            BranchEnd::Done => match outcome {
                Err(error) if !error.unwrap_inner().is_catchable() => return Err(error),
                outcome => *result = Some(outcome),
            },
        }
    }
    Ok(waiting)
}

/// The closure with copies of the variables it captured: a branch that runs again starts from the same values, and
/// no branch sees what another one did.
fn isolated(closure: &FnPtr) -> FnPtr {
    let mut closure = closure.clone();
    let captured: Vec<Dynamic> = closure.iter_curry().map(Dynamic::flatten_clone).collect();
    closure.set_curry(captured);
    closure
}

fn on_turn<R>(
    context: &NativeCallContext<'_>,
    body: impl for<'t> FnOnce(&Turn<'t>) -> R,
) -> Result<R, Box<EvalAltResult>> {
    Turn::current(body).ok_or_else(|| {
        let message = "parallel: host functions work only inside a handler, not while a file is loaded";
        EvalAltResult::ErrorRuntime(message.into(), context.call_position()).into()
    })
}

fn invalid(context: &NativeCallContext<'_>, reason: &str) -> Box<EvalAltResult> {
    let message = format!("parallel: {reason}");
    let error = StepError { code: ErrorCode::StepInvalid, message, data: Value::Null };
    exception(context, &error, "parallel", None)
}
