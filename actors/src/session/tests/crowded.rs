//! A node that works on as much as it may.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use steward_adapters::{HttpOutcome, HttpRequest, HttpTool};
use steward_types::ErrorCode;
use tokio::sync::Semaphore;

use super::harness::*;
use crate::crowd::CrowdLimits;
use crate::session::*;

/// A world that answers once it may.
#[derive(Debug)]
struct Slow {
    world: Arc<World>,
    asked: Semaphore,
    may_answer: Semaphore,
}

#[async_trait]
impl HttpTool for Slow {
    async fn send(&self, request: HttpRequest) -> HttpOutcome {
        self.asked.add_permits(1);
        self.may_answer.acquire().await.unwrap().forget();
        self.world.send(request).await
    }
}

async fn with_one_place() -> Outside {
    let crowd = CrowdLimits { at_work_max: NonZeroUsize::MIN, wait_time: Duration::from_millis(1) };
    let outside = Outside { crowd, ..Outside::new().await };
    outside.agents.add("echo", "fn on_message(msg) { reply(msg.text); }");
    outside.agents.add("asker", r#"fn on_message(msg) { reply(http("POST", "http://world/").status); }"#);
    outside
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_gets_no_place_is_refused_and_what_is_owed_goes_on() {
    let outside = with_one_place().await;
    outside.agents.add("person", r#"fn on_message(msg) { reply(ask_human("Go?").approved); }"#);
    let node = outside.start().await;
    node.open(session(1), "echo").await;
    node.open(session(2), "person").await;
    let asked = node.send(session(2), "x").await;
    let events = node.events_until(session(2), |body| matches!(body, EventBody::Suspended { .. })).await;
    let place = node.crowd.enter();
    let send = |text: &str| SessionRequest::Send(Send { key: text.to_owned(), message: json!({ "text": text }) });
    let SessionResponse::Refused(refusal) = node.ask(session(1), send("one")).await else { panic!("it got a place") };
    assert_eq!(refusal.code, ErrorCode::NodeBusy);
    assert!(refusal.message.contains("works on 1 messages and turns already"), "{refusal}");
    node.decide(&approval_of(&events), true).await;
    let answered = node.turn(session(2), asked.turn).await;
    assert_eq!(replies(&answered), [json!(true)], "an answer is not refused");
    drop(place);
    let accepted = node.send(session(1), "two").await;
    assert_eq!(accepted.turn, 1, "the message that was refused is nowhere");
    assert_eq!(replies(&node.turn(session(1), 1).await), [json!("two")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_waits_for_something_outside_leaves_its_place_to_others() {
    let outside = with_one_place().await;
    let slow =
        Arc::new(Slow { world: Arc::clone(&outside.world), asked: Semaphore::new(0), may_answer: Semaphore::new(0) });
    let node = outside.start_with(Arc::clone(&outside.store), Arc::clone(&slow) as _).await.unwrap();
    node.open(session(1), "asker").await;
    node.open(session(2), "echo").await;
    let asked = node.send(session(1), "ask").await;
    slow.asked.acquire().await.unwrap().forget();
    let sent = node.send(session(2), "meanwhile").await;
    assert_eq!(replies(&node.turn(session(2), sent.turn).await), [json!("meanwhile")]);
    slow.may_answer.add_permits(1);
    assert_eq!(replies(&node.turn(session(1), asked.turn).await), [json!(200)]);
}
