//! Single turns: replies, streams, waits, calls, failures.

use serde_json::json;
use steward_types::ErrorCode;

use super::harness::*;
use crate::session::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_runs_to_its_reply() {
    let outside = Outside::new().await;
    outside
        .agents
        .add("echo", r#"fn on_message(msg) { let a = chat(msg.text); reply(a.text); a.usage.completion_tokens }"#);
    let node = outside.start().await;
    node.open(session(1), "echo").await;
    let accepted = node.send(session(1), "hello there world").await;
    let events = node.turn(session(1), accepted.turn).await;
    assert_eq!(replies(&events), [json!("hello there world")], "{events:#?}");
    let deltas: String = events
        .iter()
        .filter_map(|event| match &event.body {
            EventBody::Delta { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(deltas, "hello there world");
    assert!(matches!(&events.last().unwrap().body, EventBody::TurnFinished { value, .. } if *value == json!(3)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_waits_without_a_live_entity_and_the_answer_resumes_the_turn() {
    let outside = Outside::new().await;
    let script = r#"fn on_message(msg) {
        let r = http("POST", "http://world/pay");
        let ok = ask_human("Pay?");
        reply(if ok.approved { "paid by " + ok.by } else { "not paid" });
    }"#;
    outside.agents.add("payer", script);
    let node = outside.start().await;
    node.open(session(1), "payer").await;
    node.send(session(1), "go").await;
    let events = node.events_until(session(1), |body| matches!(body, EventBody::Suspended { .. })).await;
    let approval = approval_of(&events);
    assert!(matches!(node.decide(&approval, true).await, SessionResponse::Decided(_)));
    assert!(matches!(node.decide(&approval, true).await, SessionResponse::Decided(_)), "the same again");
    let SessionResponse::Refused(refusal) = node.decide(&approval, false).await else { panic!("decided twice") };
    assert_eq!(refusal.code, ErrorCode::ApprovalDecided);
    let events = node.turn(session(1), 1).await;
    assert_eq!(replies(&events), [json!("paid by alice")], "{events:#?}");
    assert_eq!(outside.world.effects.lock().values().copied().collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_turn_names_its_place_and_the_session_goes_on() {
    let outside = Outside::new().await;
    let script = "fn on_message(msg) {\n  if msg.text == \"bad\" {\n    throw \"no good\";\n  }\n  reply(msg.text);\n}";
    outside.agents.add("picky", script);
    let node = outside.start().await;
    node.open(session(1), "picky").await;
    node.send(session(1), "bad").await;
    let events = node.turn(session(1), 1).await;
    let EventBody::TurnFailed { failure, .. } = &events.last().unwrap().body else { panic!("{events:#?}") };
    assert_eq!((failure.code, failure.line), (ErrorCode::ScriptFailed, 3));
    node.send(session(1), "good").await;
    assert_eq!(replies(&node.turn(session(1), 2).await), [json!("good")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_with_the_same_key_is_taken_once() {
    let outside = Outside::new().await;
    outside.agents.add("echo", "fn on_message(msg) { reply(msg.text); }");
    let node = outside.start().await;
    node.open(session(1), "echo").await;
    let first = node.send(session(1), "a").await;
    let second = node.send(session(1), "a").await;
    assert_eq!((first.turn, first.seq, second.repeated), (second.turn, second.seq, true));
    assert_eq!(node.send(session(1), "b").await.turn, 2);
}
