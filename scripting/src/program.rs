//! A checked script, ready to run turns.

use std::collections::BTreeSet;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, OnceLock};

use rhai::module_resolvers::StaticModuleResolver;
use rhai::packages::Package;
use rhai::{AST, CallFnOptions, Dynamic, Engine, EvalAltResult, OptimizationLevel, Scope};
use serde_json::Value;
use steward_types::{ErrorCode, limits};

use crate::bundle::{Bundle, MAIN_FILE, PROJECT_PREFIX};
use crate::diagnostic::Diagnostic;
use crate::limits::Limits;
use crate::port::{Position, ScriptError, StepHost, TurnEnd};
use crate::turn::{Turn, Unwound};
use crate::value::{from_json, to_json};

/// Stack for a script, so that values nested as deep as their limits allow can be dropped and compared.
const STACK_BYTES: usize = 64 << 20;

/// A checked agent script with its modules. Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct Program(Arc<Inner>);

struct Inner {
    engine: Engine,
    script: AST,
    hash: [u8; 32],
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Program({})", hex::encode(&self.0.hash[..8]))
    }
}

impl Program {
    /// Checks a bundle and makes it ready to run.
    ///
    /// # Errors
    /// Everything that is found wrong, in the order of files and lines.
    pub fn check(bundle: &Bundle) -> Result<Self, Vec<Diagnostic>> {
        let checked = contained(|| {
            let mut engine = new_engine();
            crate::check::check(bundle, &mut engine).map(|script| (engine, script))
        });
        let (engine, script) = checked.unwrap_or_else(|| {
            Err(vec![Diagnostic::of_file(MAIN_FILE, "the script makes the parser fail; this is a bug in Steward")])
        })?;
        Ok(Self(Arc::new(Inner { engine, script, hash: bundle.hash() })))
    }

    /// The modules of the project, such as `project/tax`, that a bundle imports and lacks. What does not parse imports
    /// nothing: [`Program::check`] says what is wrong with it. It takes CPU time: call it on a blocking thread.
    pub fn missing_modules(bundle: &Bundle) -> BTreeSet<String> {
        let imports_any = bundle.modules.values().chain([&bundle.script]).any(|source| source.contains(PROJECT_PREFIX));
        let missing = imports_any.then(|| contained(|| crate::check::missing_modules(bundle, &new_engine())));
        missing.flatten().unwrap_or_default()
    }

    /// The hash of the bundle that this was made from.
    pub fn hash(&self) -> [u8; 32] {
        self.0.hash
    }

    /// Whether the script has this handler, with one parameter.
    pub fn has_handler(&self, handler: &str) -> bool {
        self.0.script.iter_functions().any(|function| function.name == handler && function.params.len() == 1)
    }

    /// Runs a turn from its beginning: `handler(input)`, each host call answered by `host`. Blocks the thread.
    ///
    /// The same program, input and answers give the same steps and the same end.
    pub fn run_turn(&self, handler: &str, input: &Value, host: &mut dyn StepHost, limits: &Limits) -> TurnEnd {
        stacker::grow(STACK_BYTES, || {
            let turn = Turn::new(host, *limits);
            let outcome = turn.enter(|| panic::catch_unwind(AssertUnwindSafe(|| self.call(handler, input))));
            match outcome {
                Ok(outcome) => turn_end(outcome, turn.into_unwound()),
                Err(_) => TurnEnd::Failed(ScriptError {
                    code: ErrorCode::Internal,
                    message: "the script made the engine fail; this is a bug in Steward".to_owned(),
                    position: Position { file: MAIN_FILE.to_owned(), ..Position::default() },
                    step: None,
                }),
            }
        })
    }

    fn call(&self, handler: &str, input: &Value) -> Result<Value, Box<EvalAltResult>> {
        let Inner { engine, script, .. } = &*self.0;
        let input = from_json(input)?;
        let options = CallFnOptions::new().eval_ast(!script.statements().is_empty());
        let value: Dynamic = engine.call_fn_with_options(options, &mut Scope::new(), script, handler, (input,))?;
        Ok(to_json(&value).map_err(|reason| format!("what {handler} returns cannot be used: {reason}"))?)
    }
}

/// Runs the parser, whose panic must not take more with it than this one script: then there is nothing.
fn contained<T>(parse: impl FnOnce() -> T) -> Option<T> {
    stacker::grow(STACK_BYTES, || panic::catch_unwind(AssertUnwindSafe(parse)).ok())
}

/// An engine with the standard library, without clocks, `eval`, files and output.
pub(crate) fn new_engine() -> Engine {
    static LIBRARY: OnceLock<rhai::packages::StandardPackage> = OnceLock::new();
    let mut engine = Engine::new_raw();
    engine.register_global_module(LIBRARY.get_or_init(rhai::packages::StandardPackage::new).as_shared_module());
    engine.register_global_module(crate::host::module());
    for symbol in crate::check::DISABLED_SYMBOLS {
        engine.disable_symbol(*symbol);
    }
    engine.set_optimization_level(OptimizationLevel::None);
    engine.set_module_resolver(StaticModuleResolver::new());
    engine.set_strict_variables(true);
    engine.set_max_call_levels(limits::SCRIPT_CALL_DEPTH_MAX);
    engine.set_max_expr_depths(limits::SCRIPT_EXPRESSION_DEPTH_MAX, limits::SCRIPT_EXPRESSION_DEPTH_MAX);
    engine.set_max_string_size(limits::SCRIPT_STRING_BYTES_MAX);
    engine.set_max_array_size(limits::SCRIPT_ARRAY_ITEMS_MAX);
    engine.set_max_map_size(limits::SCRIPT_MAP_ITEMS_MAX);
    engine.on_progress(|_| match Turn::current(|turn| turn.may_go_on()) {
        Some(false) => Some(Dynamic::UNIT),
        _ => None,
    });
    engine
}

fn turn_end(outcome: Result<Value, Box<EvalAltResult>>, unwound: Option<Unwound>) -> TurnEnd {
    // A native function may have swallowed the error that unwinds, so the turn's own word comes first.
    match (unwound, outcome) {
        (Some(Unwound::Suspended(waiting_for)), _) => TurnEnd::Suspended { waiting_for },
        (Some(Unwound::Stopped(reason)), _) => TurnEnd::Stopped(reason),
        (Some(Unwound::Failed(error)), _) => TurnEnd::Failed(error),
        (None, Ok(value)) => TurnEnd::Finished(value),
        (None, Err(failure)) => TurnEnd::Failed(script_error(&failure)),
    }
}

fn script_error(failure: &EvalAltResult) -> ScriptError {
    let inner = failure.unwrap_inner();
    let code = match inner {
        EvalAltResult::ErrorStackOverflow(..) => ErrorCode::ScriptDepth,
        EvalAltResult::ErrorDataTooLarge(..) | EvalAltResult::ErrorTooManyVariables(..) => ErrorCode::ScriptMemory,
        EvalAltResult::ErrorTooManyOperations(..) => ErrorCode::ScriptOperations,
        _ => ErrorCode::ScriptFailed,
    };
    let mut error = ScriptError { code, message: message(inner), position: place(failure), step: None };
    if let EvalAltResult::ErrorRuntime(thrown, _) = inner {
        describe_thrown(thrown, &mut error);
    }
    error
}

/// What went wrong, in words; where it is a limit that was passed, with the limit.
fn message(failure: &EvalAltResult) -> String {
    match failure {
        EvalAltResult::ErrorStackOverflow(..) => {
            format!("calls passed their limit of {} levels", limits::SCRIPT_CALL_DEPTH_MAX)
        }
        EvalAltResult::ErrorDataTooLarge(what, _) => {
            let what = what.to_ascii_lowercase();
            if what.contains("string") {
                format!("a text, or all in one value, passed the limit of {} bytes", limits::SCRIPT_STRING_BYTES_MAX)
            } else if what.contains("map") {
                format!("a map passed the limit of {} entries", limits::SCRIPT_MAP_ITEMS_MAX)
            } else {
                format!("an array or blob passed the limit of {} items", limits::SCRIPT_ARRAY_ITEMS_MAX)
            }
        }
        other => other.to_string(),
    }
}

/// An uncaught exception: a failed step keeps its code and its step.
fn describe_thrown(thrown: &Dynamic, error: &mut ScriptError) {
    let Ok(value) = to_json(thrown) else { return };
    match &value {
        Value::String(text) => error.message.clone_from(text),
        Value::Object(fields) => {
            let field = |name: &str| fields.get(name).and_then(Value::as_str);
            error.message = field("message").map_or_else(|| value.to_string(), str::to_owned);
            if let (Some(Ok(code)), Some(_)) = (field("code").map(str::parse), field("function")) {
                error.code = code;
                error.step = field("step").and_then(|step| step.parse().ok());
            }
        }
        other => error.message = other.to_string(),
    }
}

/// Where the innermost error arose.
fn place(failure: &EvalAltResult) -> Position {
    let mut file = MAIN_FILE;
    let mut inner = failure;
    loop {
        match inner {
            EvalAltResult::ErrorInFunctionCall(_, source, next, _) => {
                if !source.is_empty() {
                    file = source;
                }
                inner = next;
            }
            EvalAltResult::ErrorInModule(name, next, _) => {
                file = name;
                inner = next;
            }
            _ => break,
        }
    }
    let place = inner.position();
    let number = |part: Option<usize>| part.and_then(|part| u32::try_from(part).ok()).unwrap_or(0);
    Position { file: file.to_owned(), line: number(place.line()), column: number(place.position()) }
}
