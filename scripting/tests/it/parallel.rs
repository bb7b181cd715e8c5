//! `parallel`: branches whose steps go out together.

use serde_json::{Value, json};
use steward_scripting::testing::{RecordingHost, plausible_answer};
use steward_scripting::{StepAnswer, StepError, TurnEnd};
use steward_types::{ErrorCode, StepPath};

use crate::{fail, finish, handler, run};

fn path(text: &str) -> StepPath {
    text.parse().expect("a step path")
}

#[test]
fn branches_number_their_own_steps_and_results_keep_their_order() {
    let program = handler(
        r#"now();
let results = parallel([|| chat("a").text, || { let t = now(); chat("b").text + t }, || 7]);
uuid();
results"#,
    );
    let mut host = RecordingHost::default();
    assert_eq!(run(&program, &mut host), TurnEnd::Finished(json!(["answer 2.1.1", "answer 2.2.21795262400000", 7])));
    let paths: Vec<String> = host.journal.keys().map(ToString::to_string).collect();
    assert_eq!(paths, ["1", "2.1.1", "2.2.1", "2.2.2", "3"]);
    assert_eq!(host.groups, [2, 1]);
}

#[test]
fn one_closure_runs_for_each_item() {
    assert_eq!(
        finish(r#"parallel(["a", "b"], |name| { let answer = chat(name); name + "=" + answer.text })"#),
        json!(["a=answer 1.1.1", "b=answer 1.2.1"])
    );
    assert_eq!(finish("parallel([])"), json!([]));
}

#[test]
fn all_branches_that_wait_are_named_and_each_effect_is_done_once() {
    let program = handler(
        r#"parallel([|| { http_get("http://a/"); ask_human("a?").answer }, || ask_human("b?").answer, || now()])"#,
    );
    let mut host = RecordingHost::default();
    host.hold("1.1.2");
    host.hold("1.2.1");
    let waiting = |paths: &[&str]| TurnEnd::Suspended { waiting_for: paths.iter().map(|text| path(text)).collect() };
    assert_eq!(run(&program, &mut host), waiting(&["1.1.2", "1.2.1"]));
    host.answer(&path("1.1.2"));
    assert_eq!(run(&program, &mut host), waiting(&["1.2.1"]));
    host.answer(&path("1.2.1"));
    assert_eq!(run(&program, &mut host), TurnEnd::Finished(json!(["yes", "yes", 1_795_262_400_000_u64])));
    assert!(host.executions.values().all(|&times| times == 1), "{:?}", host.executions);
}

#[test]
fn branches_get_copies_of_variables_so_that_running_again_changes_nothing() {
    let body = r#"let count = 0;
let seen = parallel([|| { count += 1; now(); count += 1; uuid(); count }, || { count += 10; count }]);
[count, seen]"#;
    assert_eq!(finish(body), json!([0, [2, 10]]));
}

#[test]
fn the_first_error_in_the_order_of_branches_is_raised_and_a_branch_may_catch_its_own() {
    let failing = |call: &steward_scripting::StepCall| match call.function.as_str() {
        "chat" => {
            let message = format!("no {}", call.path);
            StepAnswer::Error(StepError { code: ErrorCode::ModelBusy, message, data: Value::Null })
        }
        _ => plausible_answer(call),
    };
    let program = handler(r#"try { parallel([|| { now(); chat("a") }, || chat("b")]) } catch (e) { return e.step; }"#);
    assert_eq!(run(&program, &mut RecordingHost::new(failing)), TurnEnd::Finished(json!("1.1.2")));
    let program = handler(r#"parallel([|| { try { chat("a") } catch (e) { return e.code; } }, || 1])"#);
    assert_eq!(run(&program, &mut RecordingHost::new(failing)), TurnEnd::Finished(json!(["MODEL_BUSY", 1])));
}

#[test]
fn branches_may_branch() {
    let program =
        handler("parallel([|| parallel([|| now(), || uuid()]).len(), || { now(); parallel([|| random()]) }])");
    let mut host = RecordingHost::default();
    assert_eq!(run(&program, &mut host), TurnEnd::Finished(json!([2, [0.5]])));
    let paths: Vec<String> = host.journal.keys().map(ToString::to_string).collect();
    assert_eq!(paths, ["1.1.1.1.1", "1.1.1.2.1", "1.2.1", "1.2.2.1.1"]);
    assert_eq!(host.groups, [3, 1]);
}

#[test]
fn too_many_branches_are_refused() {
    assert!(fail("let items = []; items.pad(65, 1); parallel(items, |i| i)").message.contains("64 are allowed"));
}
