//! What operators do to sessions: pause and resume, fork.

use serde_json::json;
use steward_storage::StoreExt;
use steward_types::{ErrorCode, Micros, Timestamp};

use super::harness::*;
use crate::pause::{self, Pause, PauseSubject};
use crate::session::*;

const COUNTER: &str = r#"fn on_message(msg) {
    let count = (state("count") ?? 0) + 1;
    set_state("count", count);
    let answer = chat(msg.text);
    reply(`${answer.text} ${count}`);
}"#;

pub(super) async fn pause(outside: &Outside, subject: PauseSubject) {
    let pause = &Pause { subject, since: Timestamp::EPOCH, by: "op".to_owned(), reason: "a test".to_owned() };
    outside.store.run(|txn| async move { pause::pause(&txn, pause).await }).await.unwrap();
}

pub(super) async fn resume(outside: &Outside, subject: PauseSubject) {
    let subject = &subject;
    assert!(outside.store.run(|txn| async move { pause::resume(&txn, subject).await }).await.unwrap());
}

fn subjects(agent: &str) -> [PauseSubject; 2] {
    [PauseSubject::Project(project()), PauseSubject::Agent(project(), agent.parse().unwrap())]
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_to_what_is_paused_wait_and_get_their_turns_once_it_is_resumed() {
    for subject in subjects("counter") {
        let outside = Outside::new().await;
        outside.agents.add("counter", COUNTER);
        let node = outside.start().await;
        node.open(session(1), "counter").await;
        let first = node.send(session(1), "before").await;
        node.turn(session(1), first.turn).await;
        pause(&outside, subject.clone()).await;
        let second = node.send(session(1), "while paused").await;
        node.ask(session(1), SessionRequest::Poke).await;
        let SessionResponse::View(view) = node.ask(session(1), SessionRequest::Show).await else { panic!("no view") };
        assert_eq!((view.status, view.turn, view.waiting_messages), (SessionStatus::Idle, 1, 1), "{subject}");
        resume(&outside, subject).await;
        node.waker.recover().await.unwrap();
        let events = node.turn(session(1), second.turn).await;
        assert_eq!(replies(&events), [json!("while paused 2")]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_outlives_the_node_and_a_turn_in_flight_goes_on() {
    let outside = Outside::new().await;
    outside
        .agents
        .add("asker", r#"fn on_message(msg) { reply(if ask_human("Go?").approved { "went" } else { "no" }); }"#);
    let node = outside.start().await;
    node.open(session(1), "asker").await;
    node.send(session(1), "one").await;
    let events = node.events_until(session(1), |body| matches!(body, EventBody::Suspended { .. })).await;
    pause(&outside, PauseSubject::Project(project())).await;
    node.send(session(1), "two").await;
    drop(node);
    let node = outside.start().await;
    node.waker.recover().await.unwrap();
    node.decide(&approval_of(&events), true).await;
    let ended = node.turn(session(1), 1).await;
    assert_eq!(replies(&ended), [json!("went")], "the turn in flight is not paused");
    let SessionResponse::View(view) = node.ask(session(1), SessionRequest::Show).await else { panic!("no view") };
    assert_eq!((view.turn, view.waiting_messages), (1, 1), "the next one is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_has_the_history_and_none_of_the_money() {
    let outside = Outside::new().await;
    outside.agents.add("counter", COUNTER);
    let node = outside.start().await;
    node.open(session(1), "counter").await;
    for text in ["one", "two", "three"] {
        let sent = node.send(session(1), text).await;
        node.turn(session(1), sent.turn).await;
    }
    let fork = |turn| Fork {
        from: session(1),
        turn,
        label: "again".to_owned(),
        project: project(),
        agent: "counter".parse().unwrap(),
        ceiling: Some(Micros::new(1_000_000)),
    };
    let asked = node.ask(session(2), SessionRequest::Fork(fork(2))).await;
    let SessionResponse::Opened(view) = asked else { panic!("{asked:?}") };
    assert_eq!((view.turn, view.waiting_messages, view.label.as_str()), (2, 0, "again"));
    assert_eq!(view.forked_from, Some(ForkedFrom { session: session(1), turn: 2 }));
    for turn in 1..=2 {
        let steps = read::journal(&outside.store, session(2), turn).await.unwrap();
        assert_eq!(steps.len(), read::journal(&outside.store, session(1), turn).await.unwrap().len());
        assert!(steps.iter().all(|(_, step)| step.price == Micros::ZERO && step.hold.is_none()));
    }
    let sent = node.send(session(2), "another three").await;
    let events = node.turn(session(2), sent.turn).await;
    assert_eq!(replies(&events), [json!("another three 3")], "the state is as it was after turn 2");
    let numbered: Vec<u64> = node_events(&outside, session(2)).await.iter().map(|event| event.seq).collect();
    assert_eq!(numbered, (1..=numbered.len() as u64).collect::<Vec<_>>());
    let again = node.ask(session(2), SessionRequest::Fork(fork(1))).await;
    assert!(matches!(again, SessionResponse::Opened(view) if view.turn == 3), "a repeated request changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fork_at_a_turn_that_has_not_ended_is_refused_and_leaves_nothing() {
    let outside = Outside::new().await;
    outside.agents.add("sleeper", r#"fn on_message(msg) { sleep(3600); }"#);
    let node = outside.start().await;
    node.open(session(1), "sleeper").await;
    node.send(session(1), "one").await;
    node.events_until(session(1), |body| matches!(body, EventBody::Suspended { .. })).await;
    let fork = Fork {
        from: session(1),
        turn: 1,
        label: String::new(),
        project: project(),
        agent: "sleeper".parse().unwrap(),
        ceiling: None,
    };
    let refused = node.ask(session(2), SessionRequest::Fork(fork)).await;
    let SessionResponse::Refused(refusal) = refused else { panic!("{refused:?}") };
    assert_eq!(refusal.code, ErrorCode::InvalidRequest);
    assert!(matches!(read::view(&outside.store, session(2)).await, Err(ReadError::NotFound(_))));
    assert!(read::turn(&outside.store, session(2), 1).await.unwrap().is_none());
}

async fn node_events(outside: &Outside, session: steward_types::SessionId) -> Vec<SessionEvent> {
    read::events(&outside.store, session, 1, 1000).await.unwrap()
}
