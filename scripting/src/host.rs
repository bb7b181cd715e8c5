//! The host functions as a script sees them: each checks its arguments and becomes a step.

use std::sync::{Arc, OnceLock};

use rhai::{Dynamic, EvalAltResult, FuncRegistration, ImmutableString, Map, Module, NativeCallContext};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use steward_types::{ErrorCode, StepPath};

use crate::bundle::MAIN_FILE;
use crate::call::HostCall;
use crate::memory::allocated_by_this_thread;
use crate::port::{Position, StepError};
use crate::turn::{StepFault, Turn};
use crate::value::from_json;

mod arguments;
mod chains;
mod messages;
mod parallel;
mod text;

pub(crate) use chains::METHODS;
pub(crate) use text::REPLACED;

type Answer = Result<Dynamic, Box<EvalAltResult>>;

/// The module with every host function, built once a process.
pub(crate) fn module() -> Arc<Module> {
    static MODULE: OnceLock<Arc<Module>> = OnceLock::new();
    MODULE.get_or_init(|| Arc::new(build())).clone()
}

macro_rules! steps {
    ($module:ident: $($name:literal($($argument:ident),*) => $call:expr;)*) => {
        $(FuncRegistration::new($name).in_global_namespace().set_into_module(
            &mut $module,
            |context: NativeCallContext<'_> $(, $argument: Dynamic)*| -> Answer {
                step(&context, || -> Result<HostCall, String> { Ok($call) })
            },
        );)*
    };
}

fn build() -> Module {
    use arguments::{duration, json, options, text, whole};
    let mut module = Module::new();
    chains::register(&mut module);
    messages::register(&mut module);
    parallel::register(&mut module);
    text::register(&mut module);
    steps! { module:
        "chat"(m) => HostCall::Chat { messages: messages::conversation(&m)?, options: Default::default() };
        "chat"(m, o) => HostCall::Chat { messages: messages::conversation(&m)?, options: options(&o)? };
        "generate"(p) => HostCall::Generate { prompt: text("prompt", &p)?, options: Default::default() };
        "generate"(p, o) => HostCall::Generate { prompt: text("prompt", &p)?, options: options(&o)? };
        "embed"(t) => HostCall::Embed { text: text("text", &t)? };
        "remember"(t) => HostCall::Remember { text: text("text", &t)?, metadata: Value::Null };
        "remember"(t, m) => HostCall::Remember { text: text("text", &t)?, metadata: json("metadata", &m)? };
        "recall"(q, n) => HostCall::Recall { query: text("query", &q)?, count: whole("n", &n)? };
        "http"(m, u) => arguments::http(text("method", &m)?, text("url", &u)?, Default::default())?;
        "http"(m, u, o) => arguments::http(text("method", &m)?, text("url", &u)?, options(&o)?)?;
        "http_get"(u) => arguments::http("GET".to_owned(), text("url", &u)?, Default::default())?;
        "http_get"(u, o) => arguments::http("GET".to_owned(), text("url", &u)?, options(&o)?)?;
        "http_post"(u, b) => arguments::http_post(text("url", &u)?, json("body", &b)?, Default::default())?;
        "http_post"(u, b, o) => arguments::http_post(text("url", &u)?, json("body", &b)?, options(&o)?)?;
        "ask_human"(q) => HostCall::AskHuman { question: text("question", &q)?, options: Default::default() };
        "ask_human"(q, o) => HostCall::AskHuman { question: text("question", &q)?, options: options(&o)? };
        "now"() => HostCall::Now {};
        "uuid"() => HostCall::Uuid {};
        "random"() => HostCall::Random {};
        "call_agent"(a, i) => HostCall::CallAgent { agent: text("name", &a)?, input: json("input", &i)?, options: Default::default() };
        "call_agent"(a, i, o) => HostCall::CallAgent { agent: text("name", &a)?, input: json("input", &i)?, options: options(&o)? };
        "state"(k) => HostCall::State { key: text("key", &k)? };
        "set_state"(k, v) => HostCall::SetState { key: text("key", &k)?, value: json("value", &v)? };
        "reply"(v) => HostCall::Reply { value: json("value", &v)? };
        "emit"(n, v) => HostCall::Emit { name: text("name", &n)?, value: json("value", &v)? };
        "log"(t) => HostCall::Log { level: crate::call::LogLevel::Info, text: arguments::line(&t)? };
        "log"(l, t) => HostCall::Log { level: arguments::level(&l)?, text: arguments::line(&t)? };
    }
    // The standard library has functions of these names for exact types, and an exact type is found first.
    macro_rules! exact {
        ($name:literal, $kind:ty, $call:expr) => {
            FuncRegistration::new($name).in_global_namespace().set_into_module(
                &mut module,
                |context: NativeCallContext<'_>, value: $kind| -> Answer {
                    let call: fn(&Dynamic) -> Result<HostCall, String> = $call;
                    step(&context, || call(&Dynamic::from(value)))
                },
            );
        };
    }
    exact!("sleep", i64, |d| Ok(HostCall::Sleep { millis: duration(d)? }));
    exact!("sleep", f64, |d| Ok(HostCall::Sleep { millis: duration(d)? }));
    exact!("sleep", ImmutableString, |d| Ok(HostCall::Sleep { millis: duration(d)? }));
    exact!("log", f64, |t| Ok(HostCall::Log { level: crate::call::LogLevel::Info, text: arguments::line(t)? }));
    module.build_index();
    module
}

/// Makes a step of a call whose arguments are good, and gives the script its answer or its exception.
///
/// What the host keeps of it, such as its journal, is not the script's memory; what the script gets is.
fn step(context: &NativeCallContext<'_>, call: impl FnOnce() -> Result<HostCall, String>) -> Answer {
    let before = allocated_by_this_thread();
    let outcome = make_step(context, call);
    let made = allocated_by_this_thread();
    let answer = to_script(context, &outcome);
    let of_script = allocated_by_this_thread().wrapping_sub(made);
    drop(outcome);
    let kept = allocated_by_this_thread().wrapping_sub(before).wrapping_sub(of_script);
    Turn::current(|turn| turn.host_keeps(kept));
    answer
}

/// What came of a call, before it is turned into a script's values.
enum Outcome {
    Value(Value),
    Error(StepError, Option<StepPath>),
    Unwinding,
    NoTurn,
}

fn make_step(context: &NativeCallContext<'_>, call: impl FnOnce() -> Result<HostCall, String>) -> Outcome {
    let call = match call() {
        Ok(call) => call,
        Err(reason) => return Outcome::Error(invalid(context, &reason), None),
    };
    match Turn::current(|turn| turn.step(call, position(context))) {
        None => Outcome::NoTurn,
        Some(Ok(value)) => Outcome::Value(value),
        Some(Err(StepFault::Unwinding)) => Outcome::Unwinding,
        Some(Err(StepFault::Caught(fault))) => {
            let (error, path) = *fault;
            Outcome::Error(error, Some(path))
        }
    }
}

fn to_script(context: &NativeCallContext<'_>, outcome: &Outcome) -> Answer {
    let function = context.fn_name();
    match outcome {
        Outcome::Value(value) => from_json(value).map_err(|reason| {
            let error = invalid(context, &format!("the answer cannot be used: {reason}"));
            exception(context, &error, function, None)
        }),
        Outcome::Error(error, path) => Err(exception(context, error, function, path.as_ref().map(ToString::to_string))),
        Outcome::Unwinding => Err(unwinding(context)),
        Outcome::NoTurn => {
            let message = format!("{function}: host functions work only inside a handler, not while a file is loaded");
            Err(EvalAltResult::ErrorRuntime(message.into(), context.call_position()).into())
        }
    }
}

fn invalid(context: &NativeCallContext<'_>, reason: &str) -> StepError {
    let message = format!("{}: {reason}", context.fn_name());
    StepError { code: ErrorCode::StepInvalid, message, data: Value::Null }
}

/// The error that no script can catch; the turn knows why.
fn unwinding(context: &NativeCallContext<'_>) -> Box<EvalAltResult> {
    EvalAltResult::ErrorTerminated(Dynamic::UNIT, context.call_position()).into()
}

/// A failed step as a script sees it: the map `#{code, message, step, function, data}`.
fn exception(
    context: &NativeCallContext<'_>,
    error: &StepError,
    function: &str,
    step: Option<String>,
) -> Box<EvalAltResult> {
    let mut map = Map::new();
    map.insert("code".into(), error.code.reason().into());
    map.insert("message".into(), error.message.as_str().into());
    map.insert("function".into(), function.into());
    map.insert("step".into(), step.map_or(Dynamic::UNIT, Dynamic::from));
    map.insert("data".into(), from_json(&error.data).unwrap_or(Dynamic::UNIT));
    EvalAltResult::ErrorRuntime(map.into(), context.call_position()).into()
}

/// Where a host function was called.
fn position(context: &NativeCallContext<'_>) -> Position {
    let place = context.call_position();
    Position {
        file: context.call_source().unwrap_or(MAIN_FILE).to_owned(),
        line: place.line().and_then(|line| u32::try_from(line).ok()).unwrap_or(0),
        column: place.position().and_then(|column| u32::try_from(column).ok()).unwrap_or(0),
    }
}

/// Options from a script's map: known fields only, so that a misspelt one is an error.
fn from_map<T: DeserializeOwned + Serialize>(value: Value) -> Result<T, String> {
    serde_json::from_value(value).map_err(|error| format!("the options are wrong: {error}"))
}
