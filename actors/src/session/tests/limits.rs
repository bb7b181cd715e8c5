//! What stops a turn: a cancel, the budget's ceiling, a divergence, an unknown effect, a hostile script.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use steward_adapters::{HttpOutcome, HttpRequest, HttpTool};
use steward_inference::{
    Embedded, GenerateRequest, Generation, GenerationEvent, Model, ModelCard, ModelError, Prompt, ReplicaLoad,
    ScriptedModel, Usage,
};
use steward_types::{ErrorCode, Micros};
use tokio::sync::Notify;

use super::harness::*;
use crate::budget::{AuditReceipts, audit};
use crate::session::*;

/// A model that makes tokens as long as it is paid, and says how many it made.
#[derive(Debug)]
struct Endless(ScriptedModel, Arc<std::sync::atomic::AtomicU32>, Arc<Notify>);

#[async_trait]
impl Model for Endless {
    fn card(&self) -> &ModelCard {
        self.0.card()
    }

    async fn generate(&self, _: GenerateRequest) -> Result<Generation, ModelError> {
        let (made, dropped) = (Arc::clone(&self.1), Arc::clone(&self.2));
        Ok(Generation::from_stream(move |credit| {
            struct Gone(Arc<Notify>);
            impl Drop for Gone {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let gone = Gone(dropped);
            futures::stream::unfold((0, credit, gone), move |(index, credit, gone)| {
                let made = Arc::clone(&made);
                async move {
                    use steward_inference::CreditState;
                    if index == u32::MAX {
                        return None;
                    }
                    let event = match credit.settled().await {
                        CreditState::Granted => {
                            credit.spend();
                            made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            tokio::task::yield_now().await;
                            GenerationEvent::Token { text: "x ".into(), index }
                        }
                        _ => {
                            let usage = Usage { prompt_tokens: 1, completion_tokens: index, ..Usage::default() };
                            let end = GenerationEvent::Finished {
                                usage,
                                finish_reason: steward_inference::FinishReason::Budget,
                            };
                            return Some((Ok(end), (u32::MAX, credit, gone)));
                        }
                    };
                    Some((Ok(event), (index + 1, credit, gone)))
                }
            })
        }))
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embedded, ModelError> {
        self.0.embed(texts).await
    }

    async fn count_tokens(&self, _: &Prompt) -> Result<u32, ModelError> {
        Ok(1)
    }

    fn load(&self) -> ReplicaLoad {
        self.0.load()
    }
}

/// Puts an endless model in the place of `echo`.
fn endless(outside: &Outside) -> (Arc<std::sync::atomic::AtomicU32>, Arc<Notify>) {
    let (made, dropped) = (Arc::default(), Arc::new(Notify::new()));
    let model = Endless(ScriptedModel::echo("echo".parse().unwrap()), Arc::clone(&made), Arc::clone(&dropped));
    outside.models.insert(Arc::new(model));
    (made, dropped)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancel_stops_the_model_releases_the_hold_and_the_session_goes_on() {
    let outside = Outside::new().await;
    outside.agents.add(
        "a",
        r#"fn on_message(msg) { if msg.text == "go" { chat("x", #{ max_tokens: 4000 }); } reply(msg.text); }"#,
    );
    let (_, dropped) = endless(&outside);
    let node = outside.start().await;
    node.open(session(1), "a").await;
    node.send(session(1), "go").await;
    node.events_until(session(1), |body| matches!(body, EventBody::StepStarted { .. })).await;
    assert!(matches!(
        node.ask(session(1), SessionRequest::Cancel { reason: "no".into() }).await,
        SessionResponse::Done
    ));
    tokio::time::timeout(PATIENCE, dropped.notified()).await.unwrap();
    let events = node.turn(session(1), 1).await;
    assert!(
        matches!(&events.last().unwrap().body, EventBody::TurnCancelled { reason } if reason == "no"),
        "{events:#?}"
    );
    node.send(session(1), "again").await;
    assert_eq!(replies(&node.turn(session(1), 2).await), [json!("again")]);
    let audited = audit(&*outside.store, &project(), AuditReceipts::Compare).await.unwrap();
    assert!(audited.is_exact() && audited.steps_open == 0 && audited.settled == Micros::ZERO, "{audited:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_stops_exactly_at_its_ceiling() {
    let outside = Outside::new().await;
    outside.agents.add("a", r#"fn on_message(msg) { let a = chat("x", #{ max_tokens: 4000 }); reply(a.finish_reason); a.usage.completion_tokens }"#);
    let (made, _) = endless(&outside);
    // The prompt's token costs 0.15 and each token made 0.6 micro-units: 100 pay for 166.
    outside.give_budget(Some(Micros::new(100))).await;
    let node = outside.start().await;
    node.open(session(1), "a").await;
    node.send(session(1), "go").await;
    let events = node.turn(session(1), 1).await;
    assert_eq!(replies(&events), [json!("budget")], "{events:#?}");
    let EventBody::TurnFinished { value, price } = &events.last().unwrap().body else { panic!("{events:#?}") };
    assert_eq!((value, *price), (&json!(166), Micros::new(100)));
    assert_eq!(made.load(std::sync::atomic::Ordering::SeqCst), 166);
    node.send(session(1), "more").await;
    let events = node.turn(session(1), 2).await;
    let EventBody::TurnFailed { failure, .. } = &events.last().unwrap().body else { panic!("{events:#?}") };
    assert_eq!(failure.code, ErrorCode::BudgetExhausted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_changes_under_its_turn_is_found_out_by_line_and_step() {
    let outside = Outside::new().await;
    outside.agents.add("a", "fn on_message(msg) {\n  log(\"one\");\n  ask_human(\"?\");\n}");
    let node = outside.start().await;
    node.open(session(1), "a").await;
    node.send(session(1), "go").await;
    let events = node.events_until(session(1), |body| matches!(body, EventBody::Suspended { .. })).await;
    outside.agents.add("a", "fn on_message(msg) {\n\n  log(\"two\");\n  ask_human(\"?\");\n}");
    node.decide(&approval_of(&events), true).await;
    let events = node.turn(session(1), 1).await;
    let EventBody::TurnFailed { failure, .. } = &events.last().unwrap().body else { panic!("{events:#?}") };
    assert_eq!((failure.code, failure.line), (ErrorCode::ReplayDiverged, 3));
    assert_eq!(failure.step, Some(steward_types::StepPath::top(1)));
}

/// A server that never answers.
#[derive(Debug, Default)]
struct Silent(Notify);

#[async_trait]
impl HttpTool for Silent {
    async fn send(&self, _: HttpRequest) -> HttpOutcome {
        self.0.notify_one();
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_effect_of_unknown_outcome_is_not_repeated_and_the_script_hears_of_it() {
    let outside = Outside::new().await;
    let script = r#"fn on_message(msg) {
        try { http("POST", "http://world/pay"); reply("paid"); } catch (e) { reply(e.code); }
    }"#;
    outside.agents.add("a", script);
    let silent = Arc::new(Silent::default());
    let first = outside.start_with(Arc::clone(&outside.store), Arc::clone(&silent) as _).await.unwrap();
    first.open(session(1), "a").await;
    first.send(session(1), "go").await;
    tokio::time::timeout(PATIENCE, silent.0.notified()).await.unwrap();
    drop(first);
    let second = outside.start().await;
    assert_eq!(replies(&second.turn(session(1), 1).await), [json!("EFFECT_UNKNOWN")]);
    assert_eq!(*outside.world.effects.lock(), BTreeMap::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_asks_for_more_time_than_there_is_is_refused_with_the_most_and_costs_nothing() {
    let outside = Outside::new().await;
    let script = r#"fn on_message(msg) {
        try { http("POST", "http://world/pay", #{ timeout: "31s" }); } catch (e) { reply(e.message); }
    }"#;
    outside.agents.add("a", script);
    let node = outside.start().await;
    node.open(session(1), "a").await;
    node.send(session(1), "go").await;
    let told = "the timeout is 31000 ms; a call of `http` may take 30000 ms";
    assert_eq!(replies(&node.turn(session(1), 1).await), [json!(told)]);
    assert_eq!(*outside.world.effects.lock(), BTreeMap::new());
    let audited = audit(&*outside.store, &project(), AuditReceipts::Compare).await.unwrap();
    assert!(audited.is_exact() && audited.steps_settled == 0, "{:#?}", audited.differences);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_sessions_run_beside_hostile_scripts() {
    let outside = Outside::new().await;
    outside.agents.add(
        "fair",
        r#"fn on_message(msg) { let a = chat(msg.text); http("GET", "http://world/" + msg.text); reply(a.text); }"#,
    );
    outside.agents.add("loop", "fn on_message(msg) { loop { } }");
    outside.agents.add("deep", "fn f(n) { f(n + 1) } fn on_message(msg) { f(0) }");
    outside.agents.add("bomb", r#"fn on_message(msg) { let s = "x"; loop { s += s; } }"#);
    let node = outside.start().await;
    for (number, agent) in [(201, "loop"), (202, "deep"), (203, "bomb"), (204, "loop")] {
        node.open(session(number), agent).await;
        node.send(session(number), "go").await;
    }
    let turns = (0..200_u8).map(|number| {
        let node = node.clone();
        async move {
            let text = format!("hello {number}");
            node.open(session(number), "fair").await;
            node.send(session(number), &text).await;
            assert_eq!(replies(&node.turn(session(number), 1).await), [json!(text)]);
        }
    });
    futures::future::join_all(turns).await;
    for (number, code) in [(202, ErrorCode::ScriptDepth), (203, ErrorCode::ScriptMemory)] {
        let events = node.turn(session(number), 1).await;
        let EventBody::TurnFailed { failure, .. } = &events.last().unwrap().body else { panic!("{events:#?}") };
        assert_eq!(failure.code, code);
    }
    for number in [201, 204] {
        node.ask(session(number), SessionRequest::Cancel { reason: "enough".into() }).await;
        assert!(matches!(
            node.turn(session(number), 1).await.last().unwrap().body,
            EventBody::TurnCancelled { .. } | EventBody::TurnFailed { .. }
        ));
    }
    let audited = audit(&*outside.store, &project(), AuditReceipts::Compare).await.unwrap();
    assert!(audited.is_exact(), "{:#?}", audited.differences);
    assert_eq!((audited.steps_settled, audited.receipts), (400, 400));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_comes_back_misses_and_repeats_nothing() {
    use futures::StreamExt;
    let outside = Outside::new().await;
    outside.agents.add("a", r#"fn on_message(msg) { for i in 0..20 { emit("n", i); if i % 5 == 0 { http("GET", "http://world/" + i); } } }"#);
    let node = outside.start().await;
    node.open(session(1), "a").await;
    node.send(session(1), "go").await;
    let mut seen = Vec::new();
    let ended = loop {
        // Each watcher leaves after three events.
        let from = seen.len() as u64 + 1;
        let mut stream = Box::pin(watch(Arc::clone(&outside.store), session(1), from)).take(3);
        let mut ended = false;
        while let Some(event) = tokio::time::timeout(PATIENCE, stream.next()).await.unwrap() {
            let event = event.unwrap();
            assert_eq!(event.seq, seen.len() as u64 + 1);
            ended = ends_turn(&event.body);
            seen.push(event);
            if ended {
                break;
            }
        }
        if ended {
            break ended;
        }
    };
    let numbers = seen.iter().filter(|event| matches!(event.body, EventBody::Emitted { .. })).count();
    assert!(ended && numbers == 20);
    node.ask(session(1), SessionRequest::End { reason: "done".into() }).await;
    let all: Vec<_> = watch(Arc::clone(&outside.store), session(1), 0).collect().await;
    assert!(all.last().unwrap().as_ref().unwrap().body.is_last(), "the stream ends with the session");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_sleep_wakes_by_its_timer_and_an_approval_expires_by_its_own() {
    let outside = Outside::new().await;
    outside.agents.add(
        "a",
        r#"fn on_message(msg) {
        let start = now();
        sleep(200);
        let ok = ask_human("?", #{ timeout_ms: 150 });
        reply(#{ approved: ok.approved, expired: ok.expired });
        now() - start
    }"#,
    );
    let node = outside.start().await;
    node.open(session(1), "a").await;
    node.send(session(1), "go").await;
    let events = node.turn(session(1), 1).await;
    assert_eq!(replies(&events), [json!({ "approved": false, "expired": true })], "{events:#?}");
    let EventBody::TurnFinished { value, .. } = &events.last().unwrap().body else { panic!("{events:#?}") };
    assert!(value.as_u64().unwrap() >= 350 && Duration::from_millis(value.as_u64().unwrap()) < PATIENCE);
}
