//! Straight scripts: steps in order, values both ways, errors that a script can catch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use steward_scripting::testing::{RecordingHost, plausible_answer};
use steward_scripting::{Bundle, HostCall, Limits, StepAnswer, StepCall, StepError, StopReason, TurnEnd};
use steward_types::ErrorCode;

use crate::{checked, fail, finish, handler, program, run, run_with};

#[test]
fn a_script_makes_its_steps_in_order_with_path_place_and_named_arguments() {
    let program = handler(
        r#"let answer = chat([system("Be short."), context([]), user(msg.text)], #{max_tokens: 5});
reply(answer.text);
answer.usage.prompt_tokens"#,
    );
    let mut host = RecordingHost::default();
    assert_eq!(run_with(&program, &json!({"text": "hi"}), &mut host), TurnEnd::Finished(json!(3)));
    let steps: Vec<String> = host
        .journal
        .values()
        .map(|step| format!("{} {} {}", step.call.path, step.call.position, step.call.arguments))
        .collect();
    assert_eq!(
        steps,
        [
            r#"1 agent.rhai:2:14 {"messages":[{"role":"system","content":"Be short."},{"role":"user","content":"hi"}],"options":{"max_tokens":5}}"#,
            r#"2 agent.rhai:3:1 {"value":"answer 1"}"#,
        ]
    );
}

#[test]
fn every_host_function_reads_back_as_a_typed_call() {
    let program = handler(
        r##"chat("hi"); generate("once", #{seed: 1, temperature: 0}); embed("x"); remember("x", #{a: 1}); recall("x", 2);
http("get", "http://a/", #{headers: #{x: "y"}, timeout: "2s"}); http_get("http://a/"); http_post("http://a/", #{n: 1});
ask_human("ok?", #{timeout: "2h", choices: ["a", "b"]}); sleep(5); sleep("2h"); now(); uuid(); random();
call_agent("other", #{q: 1}); state("k"); set_state("k", [1]); reply(()); emit("e", 1.5); log("l"); log("warn", "w"); log(1.5)"##,
    );
    let mut host = RecordingHost::new(|call| {
        HostCall::parse(call).unwrap();
        plausible_answer(call)
    });
    assert_eq!(run(&program, &mut host), TurnEnd::Finished(Value::Null));
    let of = |path: &str| host.journal[&path.parse().unwrap()].call.arguments.clone();
    assert_eq!(
        of("6"),
        json!({"method": "GET", "url": "http://a/", "options": {"headers": {"x": "y"}, "timeout_ms": 2000}})
    );
    assert_eq!(of("8")["options"], json!({"json": {"n": 1}}));
    assert_eq!(of("9")["options"], json!({"choices": ["a", "b"], "timeout_ms": 7_200_000}));
    assert_eq!((of("10"), of("11")), (json!({"millis": 5}), json!({"millis": 7_200_000})));
    assert_eq!(of("22"), json!({"level": "info", "text": "1.5"}));
}

#[test]
fn a_failed_step_is_an_exception_with_code_message_function_and_step() {
    let program =
        handler(r#"try { chat("x"); } catch (e) { return [e.code, e.message, e.function, e.step, e.data.left]; }"#);
    let failing = |_: &StepCall| {
        let data = json!({"left": 7});
        StepAnswer::Error(StepError { code: ErrorCode::BudgetExhausted, message: "no money".to_owned(), data })
    };
    let end = run(&program, &mut RecordingHost::new(failing));
    assert_eq!(end, TurnEnd::Finished(json!(["BUDGET_EXHAUSTED", "no money", "chat", "1", 7])));
    let TurnEnd::Failed(error) = run(&handler("now();\nchat(\"x\");"), &mut RecordingHost::new(failing)) else {
        panic!("an uncaught exception fails the turn");
    };
    assert_eq!((error.code, error.position.to_string()), (ErrorCode::BudgetExhausted, "agent.rhai:2:1".to_owned()));
    assert_eq!(error.step.unwrap().to_string(), "1");
}

#[test]
fn wrong_arguments_are_refused_in_the_authors_words_before_they_become_a_step() {
    let check = |body: &str, part: &str| {
        let error = fail(body);
        assert_eq!(error.code, ErrorCode::StepInvalid, "{body}: {error}");
        assert!(error.message.contains(part), "{body}: {error}");
    };
    check("chat(5)", "chat: a message is text");
    check("chat([])", "there are no messages");
    check("chat(\"x\", #{max_token: 5})", "unknown field `max_token`");
    check("chat(\"x\", 5)", "must be a map");
    check("embed(1)", "text must be text, but it is a number");
    check("recall(\"x\", 0)", "from 1 to 100");
    check("sleep(\"soon\")", "\"90s\"");
    check("sleep(-1)", "\"90s\"");
    check("sleep(\"999d\")", "longer than");
    check("sleep(0.5)", "\"90s\"");
    check("http(\"BREW\", \"http://a/\")", "is no method");
    check("http(\"GET\", \"http://a/\", #{body: \"a\", json: 1})", "not both");
    check("reply(|x| x)", "a closure cannot be passed on");
    check("reply(0.0 / 0.0)", "not a finite number");
    check("log(\"loud\", \"x\")", "is no level");
    check("parallel([1])", "array of closures");
}

#[test]
fn a_replay_that_differs_names_the_step_and_both_calls() {
    let mut host = RecordingHost::default();
    run(&handler("now();\nchat(\"one\");"), &mut host);
    let TurnEnd::Failed(error) = run(&handler("now();\n\n  uuid();"), &mut host) else { panic!("it must diverge") };
    assert_eq!(error.code, ErrorCode::ReplayDiverged);
    assert_eq!(error.position.to_string(), "agent.rhai:4:3");
    assert_eq!(error.message, "step 2 is uuid(…) now, but its journal has chat at agent.rhai:3:1");
}

#[test]
fn modules_share_functions_and_constants_and_errors_name_their_file() {
    let bundle = Bundle::new("import \"pricing\" as pricing;\nconst FEE = 2;\nfn on_message(msg) { pricing::quote(msg.n) + global::FEE }")
        .with_module("pricing", "import \"rates\" as rates;\nfn quote(n) {\n  if n < 0 { throw \"negative\"; }\n  let t = now();\n  rates::twice(n)\n}")
        .with_module("rates", "const TWO = 2;\nfn twice(n) { n * global::TWO }");
    let program = checked(&bundle);
    let mut host = RecordingHost::default();
    assert_eq!(run_with(&program, &json!({"n": 4}), &mut host), TurnEnd::Finished(json!(10)));
    assert_eq!(host.journal.values().next().unwrap().call.position.to_string(), "pricing.rhai:4:11");
    let TurnEnd::Failed(error) = run_with(&program, &json!({"n": -1}), &mut RecordingHost::default()) else {
        panic!("it throws");
    };
    assert_eq!((error.position.to_string().as_str(), error.message.as_str()), ("pricing.rhai:3:14", "negative"));
    assert_eq!(error.code, ErrorCode::ScriptFailed);
}

#[test]
fn a_pending_step_suspends_and_no_script_can_catch_it() {
    let script = r#"
        try { ask_human("ok?"); } catch { reply("caught"); }
        [3, 1, 2].sort(|a, b| { ask_human("?"); 1 });
        reply("done");"#;
    let program = handler(script);
    let mut host = RecordingHost::default();
    host.hold("1");
    assert_eq!(run(&program, &mut host), TurnEnd::Suspended { waiting_for: vec!["1".parse().unwrap()] });
    assert!(host.journal.is_empty());
    host.answer(&"1".parse().unwrap());
    host.hold("2");
    assert_eq!(run(&program, &mut host), TurnEnd::Suspended { waiting_for: vec!["2".parse().unwrap()] });
    host.answer(&"2".parse().unwrap());
    assert_eq!(run(&program, &mut host), TurnEnd::Finished(Value::Null));
    assert_eq!(host.replies(), [&json!("done")]);
}

#[test]
fn the_host_stops_a_script_at_a_step_and_between_steps() {
    let reason = StopReason { code: ErrorCode::Cancelled, message: "by ada".to_owned() };
    let stopping = reason.clone();
    let mut host = RecordingHost::new(move |_| StepAnswer::Stop(stopping.clone()));
    let program = handler("try { now(); } catch { } reply(1)");
    assert_eq!(run(&program, &mut host), TurnEnd::Stopped(reason.clone()));
    let mut host = RecordingHost::default();
    host.cancel(reason.clone());
    assert_eq!(run(&handler("loop { }"), &mut host), TurnEnd::Stopped(reason));
}

#[test]
fn the_time_limit_counts_only_between_host_calls() {
    let seconds = Arc::new(AtomicU64::new(0));
    let computed = Arc::clone(&seconds);
    let mut host = RecordingHost::new(move |call| {
        seconds.fetch_add(60, Ordering::Relaxed);
        plausible_answer(call)
    });
    host.let_compute(move || Duration::from_secs(computed.load(Ordering::Relaxed)));
    let program = handler("for i in 0..20_000 { if i % 5_000 == 0 { now(); } } 1");
    let end = program.run_turn("on_message", &Value::Null, &mut host, &Limits::default());
    assert_eq!(end, TurnEnd::Finished(json!(1)));
}

#[test]
fn exit_ends_a_turn_with_its_value_and_a_missing_handler_is_an_error() {
    assert_eq!(finish("exit(5); reply(1)"), json!(5));
    let program = program("fn on_message(m) { }");
    assert!(program.has_handler("on_message") && !program.has_handler("on_start"));
    let mut host = RecordingHost::default();
    let end = program.run_turn("on_start", &Value::Null, &mut host, &Limits::default());
    assert!(matches!(end, TurnEnd::Failed(error) if error.code == ErrorCode::ScriptFailed));
}

#[test]
fn texts_are_replaced_as_in_the_standard_library() {
    assert_eq!(
        finish(r#"let s = "a-b-c"; s.replace("-", "+"); s.replace('a', "xx"); s.replace('c', 'd'); s"#),
        json!("xx+b+d")
    );
}
