//! A node that dies at each of its commits in turn, is started again on the same store, and goes on. Whatever the
//! commit, the end is the same: replies, journal, money, receipts, and what was done to the world outside.

use serde_json::{Value, json};
use steward_types::{Micros, StepPath};

use super::harness::*;
use crate::budget::{AuditReceipts, audit};
use crate::dying_store::Death;
use crate::host::EntityId;
use crate::session::journal::StepState;
use crate::session::*;

const TREASURY: &str = r#"
fn on_message(msg) {
    let id = uuid();
    log("taking up " + msg.text);
    set_state("turns", (state("turns") ?? 0) + 1);
    remember("the treasury holds bonds");
    let facts = recall("bonds", 1);
    let plan = chat([system("You manage a treasury."), context(facts), user("count")]);
    let rates = parallel([
        || http("GET", "http://world/rate/eur").status,
        || chat("and another").text,
        || { sleep(1); embed("x").len() }
    ]);
    let paid = http("POST", "http://world/pay", #{ json: #{ id: id }, idempotent: true });
    let advice = call_agent("adviser", #{ text: "is " + plan.usage.completion_tokens + " much?" });
    sleep(150);
    let ok = ask_human("Move it?");
    emit("decided", ok.approved);
    reply(plan.text + "; " + advice + "; " + ok.approved);
    #{ rates: rates, paid: paid.status, turns: state("turns") }
}"#;

const ADVISER: &str = r#"fn on_message(msg) { chat(msg.text).text + " perhaps" }"#;

/// What must be the same whenever the node died.
#[derive(Debug, PartialEq)]
struct End {
    replies: Vec<Value>,
    value: Value,
    journal: Vec<(StepPath, String, Option<StepOutcome>)>,
    settled: Micros,
    steps_settled: u64,
    receipts: u64,
    effects: usize,
    deltas: Vec<(Option<StepPath>, String)>,
    memories: u64,
}

async fn outside() -> Outside {
    let outside = Outside::new().await;
    outside.agents.add("treasury", TREASURY);
    outside.agents.add("adviser", ADVISER);
    outside
}

/// Drives the conversation to its end; every request may have been made before.
async fn converse(node: &Node) -> Result<(), String> {
    let id = EntityId::from(&session(1));
    let ask = async |request| {
        let deadline = node.host.deadline(PATIENCE);
        let asked = node.host.ask::<Session>(&id, request, deadline).await;
        asked.map_err(|error| error.to_string())
    };
    ask(SessionRequest::Open(open("treasury"))).await?;
    ask(SessionRequest::Send(Send { key: "1".into(), message: json!({ "text": "go" }) })).await?;
    let events = node
        .events_until(session(1), |body| matches!(body, EventBody::ApprovalRequested { .. }) || ends_turn(body))
        .await;
    let decide = Decide {
        approval: approval_of(&events),
        approved: true,
        answer: Value::Null,
        comment: None,
        decided_by: "alice".into(),
    };
    ask(SessionRequest::Decide(decide)).await?;
    node.turn(session(1), 1).await;
    ask(SessionRequest::End { reason: "done".into() }).await?;
    Ok(())
}

async fn end(outside: &Outside, node: &Node) -> End {
    let events = node.turn(session(1), 1).await;
    let EventBody::TurnFinished { value, .. } = &events.last().unwrap().body else { panic!("{events:#?}") };
    let journal = read::journal(&outside.store, session(1), 1).await.unwrap();
    let journal = journal.into_iter().map(|(path, step)| {
        let outcome = match step.state {
            // These differ from run to run, and nothing outside depends on them.
            _ if step.function == "uuid" => None,
            StepState::Finished(outcome) => Some(without_times(outcome)),
            other => panic!("step {path} is {other:?}"),
        };
        (path, step.function, outcome)
    });
    let mut deltas: Vec<(Option<StepPath>, String)> = Vec::new();
    for event in &events {
        if let EventBody::Delta { offset, text } = &event.body {
            match deltas.iter_mut().find(|(step, _)| *step == event.step) {
                Some((_, before)) => {
                    assert_eq!(*offset as usize, before.len(), "a gap or a repeat");
                    before.push_str(text);
                }
                None => deltas.push((event.step.clone(), text.clone())),
            }
        }
    }
    deltas.sort();
    let audited = audit(&*outside.store, &project(), AuditReceipts::Compare).await.unwrap();
    assert!(audited.is_exact(), "{:#?}", audited.differences);
    assert_eq!((audited.steps_open, audited.outstanding), (0, Micros::ZERO), "{audited:#?}");
    assert_eq!(audited.settled, audited.receipts_sum);
    let txn = outside.store.begin();
    let effects = outside.world.effects.lock().len();
    End {
        replies: replies(&events),
        value: value.clone(),
        journal: journal.collect(),
        settled: audited.settled,
        steps_settled: audited.steps_settled,
        receipts: audited.receipts,
        effects,
        deltas,
        memories: crate::memory::count(&txn, &project()).await.unwrap(),
    }
}

fn without_times(outcome: StepOutcome) -> StepOutcome {
    match outcome {
        StepOutcome::Value(Value::Array(items)) => {
            let items = items.into_iter().map(|mut item| {
                if let Some(fields) = item.as_object_mut() {
                    fields.remove("at");
                }
                item
            });
            StepOutcome::Value(items.collect())
        }
        other => other,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_at_any_commit_comes_to_the_same_end() {
    let calm = outside().await;
    let node = calm.start().await;
    converse(&node).await.unwrap();
    let expected = end(&calm, &node).await;
    assert_eq!(calm.world.effects.lock().values().copied().collect::<Vec<_>>(), [1, 1]);
    let mut deaths = 0;
    for death in [Death::Before, Death::Behind] {
        for commits in 1.. {
            let outside = outside().await;
            let (_first, survived) =
                outside.live_until(commits, death, async |node: &Node| converse(node).await.is_ok()).await;
            let node = outside.start().await;
            converse(&node).await.unwrap();
            let found = end(&outside, &node).await;
            assert_eq!(found, expected, "died {death:?} commit {commits}");
            assert!(outside.world.effects.lock().values().all(|&count| count <= 2));
            if survived {
                assert!(commits > 20, "only {commits} commits in the whole conversation");
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 40, "the node died {deaths} times only");
}
