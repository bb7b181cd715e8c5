//! Scripts that mean harm: each is stopped with the code of the limit that it met, and cannot catch it.

use std::time::Duration;

use serde_json::Value;
use steward_scripting::testing::RecordingHost;
use steward_scripting::{Limits, StepAnswer, StepCall, TurnEnd};
use steward_types::ErrorCode;

use crate::{handler, program};

fn tight() -> Limits {
    Limits {
        operations_max: 2_000_000,
        memory_bytes_max: 16 << 20,
        slice_time_max: Duration::from_secs(300),
        steps_max: 100,
    }
}

fn ends_with(script: &str, limits: Limits) -> ErrorCode {
    let program = if script.contains("fn ") { program(script) } else { handler(script) };
    let mut host = RecordingHost::default();
    match program.run_turn("on_message", &Value::Null, &mut host, &limits) {
        TurnEnd::Failed(error) => error.code,
        other => panic!("{script}: {other:?}"),
    }
}

#[test]
fn each_limit_has_its_own_code_and_no_script_can_catch_it() {
    let check = |body: &str, code: ErrorCode| {
        assert_eq!(ends_with(body, tight()), code, "{body}");
        let caught = format!("try {{ {body} }} catch {{ }} reply(1);");
        if !body.contains("fn ") {
            assert_eq!(ends_with(&caught, tight()), code, "caught: {body}");
        }
    };
    check("loop { }", ErrorCode::ScriptOperations);
    check("loop { try { loop { } } catch { } }", ErrorCode::ScriptOperations);
    check("loop { now(); }", ErrorCode::ScriptSteps);
    check("parallel([|| { loop { now(); } }])", ErrorCode::ScriptSteps);
    check("fn f(n) { f(n + 1) } fn on_message(msg) { f(0) }", ErrorCode::ScriptDepth);
    check(
        "fn f(n) { if n > 40 { 1 } else { f(n + 1) + f(n + 1) } } fn on_message(msg) { f(0) }",
        ErrorCode::ScriptOperations,
    );
    check("let s = \"x\"; loop { s += s; }", ErrorCode::ScriptMemory);
    check("let s = \"\"; s.pad(10_000_000, 'x'); reply(s);", ErrorCode::ScriptMemory);
    check("let a = []; loop { a.push(a); }", ErrorCode::ScriptMemory);
    check("let a = []; a.pad(1_000_000_000, 1);", ErrorCode::ScriptMemory);
    check("let s = \"\"; s.pad(2_000, 'x'); let a = []; loop { a.push(`${a.len()}${s}`); }", ErrorCode::ScriptMemory);
    check(
        "let m = #{}; let i = 0; loop { m[`${i}`] = `${i}xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx`; i += 1; }",
        ErrorCode::ScriptMemory,
    );
    check("let b = blob(2_000_000_000, 0);", ErrorCode::ScriptMemory);
    check("let a = \"\"; a.pad(1_000_000, 'a'); let b = a; b.replace(\"a\", a);", ErrorCode::ScriptMemory);
}

#[test]
fn many_values_that_are_each_small_enough_are_stopped_by_their_sum() {
    let script = "fn f(depth) {
        let s = []; s.pad(90_000, depth);
        if depth > 0 { f(depth - 1) + s.len() } else { s.len() }
    }
    fn on_message(msg) { f(60) }";
    assert_eq!(ends_with(script, tight()), ErrorCode::ScriptMemory);
    let roomy = Limits { memory_bytes_max: 512 << 20, ..tight() };
    let mut host = RecordingHost::default();
    let end = program(script).run_turn("on_message", &Value::Null, &mut host, &roomy);
    assert_eq!(end, TurnEnd::Finished(Value::from(90_000 * 61)));
}

#[test]
fn a_script_that_takes_too_long_is_stopped_by_the_clock() {
    let limits = Limits { slice_time_max: Duration::from_millis(20), operations_max: u64::MAX, ..tight() };
    assert_eq!(ends_with("loop { }", limits), ErrorCode::ScriptTime);
    assert_eq!(ends_with("[1, 2].for_each(|| loop { })", limits), ErrorCode::ScriptTime);
}

#[test]
fn values_nested_as_deep_as_they_can_be_do_not_exhaust_the_stack() {
    let limits = Limits { slice_time_max: Duration::from_millis(700), ..tight() };
    let script = "let a = []; loop { a = [a]; }";
    let code = ends_with(script, limits);
    assert!(matches!(code, ErrorCode::ScriptMemory | ErrorCode::ScriptTime | ErrorCode::ScriptOperations), "{code}");
    let script = "let a = #{}; loop { a = #{a: a}; }";
    let code = ends_with(script, limits);
    assert!(matches!(code, ErrorCode::ScriptMemory | ErrorCode::ScriptTime | ErrorCode::ScriptOperations), "{code}");
}

#[test]
fn what_the_host_keeps_is_not_the_scripts_memory_but_what_the_script_keeps_is() {
    let large = |_: &StepCall| StepAnswer::Value(Value::from("x".repeat(80_000)));
    let limits = Limits { memory_bytes_max: 4 << 20, ..tight() };
    let run = |body: &str| {
        let mut host = RecordingHost::new(large);
        handler(body).run_turn("on_message", &Value::Null, &mut host, &limits)
    };
    // The host's journal grows to twice the limit.
    assert_eq!(run("for i in 0..99 { let text = uuid(); } 1"), TurnEnd::Finished(Value::from(1)));
    assert_eq!(
        run("for i in 0..3 { parallel([1] + [2], |n| { for j in 0..10 { uuid(); } n }); } 1"),
        TurnEnd::Finished(Value::from(1))
    );
    let kept = "fn keep(n) { let text = uuid(); if n > 60 { 1 } else { keep(n + 1) + text.len } } fn on_message(msg) { keep(0) }";
    let mut host = RecordingHost::new(large);
    let end = program(kept).run_turn("on_message", &Value::Null, &mut host, &limits);
    assert!(matches!(&end, TurnEnd::Failed(error) if error.code == ErrorCode::ScriptMemory), "{end:?}");
}

#[test]
fn a_limit_names_the_last_host_call_before_it() {
    let mut host = RecordingHost::default();
    let end = handler("now();\nloop { }").run_turn("on_message", &Value::Null, &mut host, &tight());
    let TurnEnd::Failed(error) = end else { panic!("{end:?}") };
    assert_eq!(
        error.to_string(),
        "agent.rhai:2:1: SCRIPT_OPERATIONS: the turn passed its limit of 2000000 operations, \
         after the host call at agent.rhai:2:1"
    );
}

#[test]
fn large_output_is_refused_step_by_step_and_in_all() {
    let large = "let s = \"\"; s.pad(100_000, 'x'); reply(s);";
    assert_eq!(ends_with(large, tight()), ErrorCode::RequestTooLarge);
    let many = "let s = \"\"; s.pad(80_000, 'x'); loop { reply(s); }";
    assert_eq!(ends_with(many, tight()), ErrorCode::ScriptSteps);
}
