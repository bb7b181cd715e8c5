//! Tests of scripting from outside: checking, running, replaying, hostile scripts, and every documented example.

mod chains;
mod checking;
mod documents;
mod hostile;
mod parallel;
mod replay;
mod running;

use std::alloc::System;

use serde_json::Value;
use steward_scripting::testing::RecordingHost;
use steward_scripting::{Bundle, Limits, MeteredAllocator, Program, ScriptError, TurnEnd};

#[global_allocator]
static ALLOCATOR: MeteredAllocator<System> = MeteredAllocator(System);

/// A program of one file that passes the check.
fn program(script: &str) -> Program {
    checked(&Bundle::new(script))
}

/// A program that passes the check.
fn checked(bundle: &Bundle) -> Program {
    Program::check(bundle).unwrap_or_else(|found| {
        let lines: Vec<String> = found.iter().map(ToString::to_string).collect();
        panic!("the check found:\n{}\n---\n{}", lines.join("\n"), bundle.script);
    })
}

/// A program whose handler has this body.
fn handler(body: &str) -> Program {
    program(&format!("fn on_message(msg) {{\n{body}\n}}"))
}

fn run(program: &Program, host: &mut RecordingHost) -> TurnEnd {
    run_with(program, &Value::Null, host)
}

fn run_with(program: &Program, input: &Value, host: &mut RecordingHost) -> TurnEnd {
    program.run_turn("on_message", input, host, &Limits::default())
}

/// Runs a body that must finish.
fn finish(body: &str) -> Value {
    match run(&handler(body), &mut RecordingHost::default()) {
        TurnEnd::Finished(value) => value,
        other => panic!("{body}: {other:?}"),
    }
}

/// Runs a body that must fail.
fn fail(body: &str) -> ScriptError {
    match run(&handler(body), &mut RecordingHost::default()) {
        TurnEnd::Failed(error) => error,
        other => panic!("{body}: {other:?}"),
    }
}
