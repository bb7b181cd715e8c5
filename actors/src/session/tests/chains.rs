//! Sessions that order transactions, on a chain in memory: through policy only, each once, whatever is killed, with the
//! budget exact to one micro-unit.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use steward_adapters::breaker::BreakerPolicy;
use steward_adapters::chain::{Action, Amount};
use steward_adapters::ledger::Ledger;
use steward_adapters::memory::{Anchoring, Fault, MemoryChain, Mining};
use steward_adapters::outbox::OutboxPolicy;
use steward_receipts::Hash;
use steward_scripting::manifest::{Caps, SpendingRules};
use steward_storage::key::pack;
use steward_storage::{RangeRead, StoreExt};
use steward_types::Micros;
use steward_types::limits::{CHAIN_CALL_INPUT_BYTES_MAX, CHAIN_CALL_METHOD_BYTES_MAX};

use super::harness::*;
use crate::budget::{Audit, AuditReceipts, audit};
use crate::chain::{ChainSettings, FeePrice, SpendingTerms};
use crate::dying_store::Death;
use crate::host::EntityId;
use crate::pause::{self, Pause, PauseSubject};
use crate::session::answer::{Loaded, Taken, decide};
use crate::session::*;

const CHAIN: &str = "test:memory";
/// What a transaction on the chain in memory pays: 21 for each of 10 units of gas.
const FEE: u64 = 210;
/// What a send or a call costs, at 2 micro-units for one of the coin and 1 for the call.
const PRICE: u64 = 2 * FEE + 1;

const RULES: &str = r#"
[chains."test:memory"]
pay = ["bob", "carol"]
call = ["shop:buy(uint256)", "broken:buy(uint256)"]
coin = { max_per_transaction = "100", max_per_day = "250", approve_above = "50" }
assets.gold = { max_per_transaction = "5", max_per_day = "5" }
"#;

const PAYER: &str = r#"
fn on_message(msg) {
    let memory = chain("test:memory");
    let ids = [];
    ids.push(memory.send("bob", 40));
    ids.push(memory.call("shop", "buy(uint256)", [7], #{value: 3}));
    ids.push(memory.send("carol", 60));
    let ends = ids.map(|id| memory.wait(id));
    reply(ends.map(|end| end.succeeded));
    reply(memory.balance("bob"));
    ends.map(|end| [end.fee, end.price])
}"#;

fn terms() -> SpendingTerms {
    let caps = Caps { max_per_transaction: 1_000.into(), max_per_day: 200.into(), approve_above: None };
    let rules = SpendingRules {
        pay: vec!["*".to_owned()],
        call: vec!["shop:*".to_owned(), "broken:*".to_owned()],
        coin: caps,
        assets: BTreeMap::from([("gold".to_owned(), caps)]),
    };
    let fee_price = FeePrice { micros: 2, per: Amount::new(1) };
    SpendingTerms { fee_max: Amount::from(1_000), fee_price, projects: BTreeMap::from([("acme".to_owned(), rules)]) }
}

/// A world with a chain, and what an operator lets projects spend on it.
async fn outside(spending: Option<SpendingTerms>) -> (Outside, Arc<MemoryChain>) {
    let chain = MemoryChain::new(CHAIN.parse().unwrap(), Ledger::new(2), Mining::Automatic);
    on(Arc::new(chain), spending).await
}

async fn on(chain: Arc<MemoryChain>, spending: Option<SpendingTerms>) -> (Outside, Arc<MemoryChain>) {
    let settings = ChainSettings {
        outbox: OutboxPolicy { poll_ms: 2, retry_ms: 2, ..OutboxPolicy::default() },
        breaker: BreakerPolicy { failures_max: 2, open_ms_min: 5, open_ms_max: 20 },
        spending,
        ..ChainSettings::new(Arc::clone(&chain) as _)
    };
    let mut outside = Outside::new().await;
    outside.chains = Arc::new(BTreeMap::from([(CHAIN.to_owned(), settings)]));
    outside.agents.add_with("payer", PAYER, RULES);
    (outside, chain)
}

/// What one handler's body comes to, as the agent of these rules.
async fn run(outside: &Outside, body: &str) -> Value {
    outside.agents.add_with(
        "payer",
        &format!("fn on_message(msg) {{ let memory = chain(\"{CHAIN}\"); {body} }}"),
        RULES,
    );
    let node = outside.start().await;
    node.open(session(1), "payer").await;
    // A message's key may not be as long as a handler.
    let sent = node.send(session(1), &format!("run {}", body.len())).await;
    finished(&node.turn(session(1), sent.turn).await)
}

fn finished(events: &[SessionEvent]) -> Value {
    match &events.last().unwrap().body {
        EventBody::TurnFinished { value, .. } => value.clone(),
        other => panic!("{other:?}"),
    }
}

/// The code and the data of the exception that an expression raises.
fn refused(expression: &str) -> String {
    let caught = "catch (problem) { return [problem.code, problem.data]; }";
    format!("[0].map(|_nothing| {{ try {{ {expression}; return [\"done\"]; }} {caught} }})[0]")
}

async fn audited(outside: &Outside) -> Audit {
    let audited = audit(&*outside.store, &project(), AuditReceipts::Compare).await.unwrap();
    assert!(audited.is_exact(), "{:#?}", audited.differences);
    audited
}

fn landed(chain: &MemoryChain) -> Vec<Action> {
    chain.with_ledger(|ledger| ledger.landed().cloned().collect())
}

/// Drives the payer to its end; every request may have been made before.
async fn converse(node: &Node) -> Result<(), String> {
    let id = EntityId::from(&session(1));
    let ask = async |request| {
        let asked = node.host.ask::<Session>(&id, request, node.host.deadline(PATIENCE)).await;
        asked.map_err(|error| error.to_string())
    };
    ask(SessionRequest::Open(open("payer"))).await?;
    ask(SessionRequest::Send(Send { key: "1".into(), message: json!({}) })).await?;
    let asked = |body: &EventBody| matches!(body, EventBody::ApprovalRequested { .. }) || ends_turn(body);
    let events = node.events_until(session(1), asked).await;
    ask(SessionRequest::Decide(agree(&approval_of(&events), true))).await?;
    node.turn(session(1), 1).await;
    ask(SessionRequest::End { reason: "done".into() }).await?;
    Ok(())
}

fn agree(approval: &ApprovalId, approved: bool) -> Decide {
    let decided_by = "alice".to_owned();
    Decide { approval: approval.clone(), approved, answer: Value::Null, comment: None, decided_by }
}

async fn assert_paid_once(outside: &Outside, node: &Node, chain: &MemoryChain, when: &str) {
    let events = node.turn(session(1), 1).await;
    let paid = json!([FEE.to_string(), PRICE]);
    assert_eq!(finished(&events), json!([paid, paid, paid]), "{when}");
    assert_eq!(replies(&events), [json!([true, true, true]), json!("40")], "{when}");
    let landed = landed(chain);
    let transfer = |to: &str, amount: u64| Action::Transfer { to: to.to_owned(), amount: amount.into(), asset: None };
    assert_eq!(landed.len(), 3, "{when}: {landed:?}");
    assert!(landed.contains(&transfer("bob", 40)) && landed.contains(&transfer("carol", 60)), "{when}: {landed:?}");
    let audited = audited(outside).await;
    // Three orders and a question.
    assert_eq!((audited.steps_open, audited.steps_settled, audited.receipts), (0, 4, 4), "{when}: {audited:#?}");
    assert_eq!(audited.settled, Micros::new(3 * PRICE + 1), "{when}");
    assert_eq!(audited.outstanding, Micros::ZERO, "{when}: {audited:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_pays_through_policy_and_its_budget_pays_the_fee() {
    let (outside, chain) = outside(Some(terms())).await;
    let node = outside.start().await;
    converse(&node).await.unwrap();
    assert_paid_once(&outside, &node, &chain, "nothing died").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_commit_a_node_dies_at_each_payment_is_made_once_and_the_budget_is_exact() {
    let mut deaths = 0;
    for death in [Death::Before, Death::Behind] {
        for commits in 1.. {
            let (outside, chain) = outside(Some(terms())).await;
            let (_first, survived) =
                outside.live_until(commits, death, async |node: &Node| converse(node).await.is_ok()).await;
            let node = outside.start().await;
            converse(&node).await.unwrap();
            assert_paid_once(&outside, &node, &chain, &format!("died {death:?} commit {commits}")).await;
            if survived {
                break;
            }
            deaths += 1;
        }
    }
    assert!(deaths > 30, "the node died {deaths} times only");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_rules_do_not_allow_is_refused_with_its_cap_and_orders_nothing() {
    let (outside, chain) = outside(Some(terms())).await;
    let mut body = String::from("let found = [];");
    for expression in [
        "memory.send(\"mallory\", 1)",
        "memory.send(\"bob\", 1, #{asset: \"silver\"})",
        "memory.call(\"shop\", \"sell(uint256)\", [1])",
        "memory.send(\"bob\", 101)",
        "memory.send(\"bob\", 6, #{asset: \"gold\"})",
        "chain(\"test:other\").send(\"bob\", 1)",
        "memory.send(\"no address!\", 1)",
        "memory.balance(\"no address!\")",
        &format!("memory.call(\"shop\", \"buy(uint256)\", [\"{}\"])", "x".repeat(CHAIN_CALL_INPUT_BYTES_MAX)),
        &format!("memory.call(\"shop\", \"{}()\", [])", "x".repeat(CHAIN_CALL_METHOD_BYTES_MAX)),
        "memory.wait(\"nothing\")",
        "memory.wait(\"ses_00000000000000000000000000000000.1.1\")",
    ] {
        body += &format!("found.push({});", refused(expression));
    }
    let codes = run(&outside, &format!("{body} found.map(|found| found[0])")).await;
    let expected = json!([
        "CHAIN_FORBIDDEN",
        "CHAIN_FORBIDDEN",
        "CHAIN_FORBIDDEN",
        "CHAIN_LIMIT_REACHED",
        "CHAIN_LIMIT_REACHED",
        "CHAIN_FORBIDDEN",
        "STEP_INVALID",
        "STEP_INVALID",
        "STEP_INVALID",
        "STEP_INVALID",
        "STEP_INVALID",
        "ORDER_NOT_FOUND",
    ]);
    assert_eq!(codes, expected);
    assert!(landed(&chain).is_empty());
    assert_eq!(audited(&outside).await.steps_settled, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_days_cap_counts_what_was_spent_and_says_when_it_begins_again() {
    let (outside, chain) = outside(Some(terms())).await;
    // The operator's 200 a day are less than the manifest's 250.
    let body =
        format!("for i in 0..4 {{ memory.wait(memory.send(\"bob\", 50)); }} {}", refused("memory.send(\"bob\", 1)"));
    let found = run(&outside, &body).await;
    assert_eq!(found[0], "CHAIN_LIMIT_REACHED");
    let data = &found[1];
    let named = (&data["of"], &data["cap"], &data["allowed"], &data["spent"]);
    assert_eq!(named, (&json!("operator"), &json!("max_per_day"), &json!("200"), &json!("200")));
    assert_eq!(data["resets_ms"].as_u64().unwrap() % 86_400_000, 0);
    assert_eq!(landed(&chain).len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_operators_terms_nothing_is_sent_and_a_chain_can_be_read() {
    let (outside, chain) = outside(None).await;
    let found = run(&outside, &format!("[{}, memory.balance(\"account\")]", refused("memory.send(\"bob\", 1)"))).await;
    assert_eq!((&found[0][0], &found[1]), (&json!("CHAIN_FORBIDDEN"), &json!("1000000000000000000")));
    assert!(landed(&chain).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_does_not_agree_to_is_not_sent() {
    let (outside, chain) = outside(Some(terms())).await;
    outside.agents.add_with(
        "payer",
        &format!("fn on_message(msg) {{ let memory = chain(\"{CHAIN}\"); {} }}", refused("memory.send(\"bob\", 51)")),
        RULES,
    );
    let node = outside.start().await;
    node.open(session(1), "payer").await;
    node.send(session(1), "pay").await;
    let asks = |body: &EventBody| matches!(body, EventBody::ApprovalRequested { .. });
    let events = node.events_until(session(1), asks).await;
    let EventBody::ApprovalRequested { question, .. } = &events.last().unwrap().body else { unreachable!() };
    assert_eq!(question, "May payer pay bob 51 of the chain's coin on test:memory?");
    node.decide(&approval_of(&events), false).await;
    assert_eq!(finished(&node.turn(session(1), 1).await)[0], "APPROVAL_REJECTED");
    assert!(landed(&chain).is_empty());
}

/// A session whose call waits for consent, and the approval's row.
async fn asking(outside: &Outside, arguments: &str) -> (Node, Approval) {
    let call = format!("memory.call(\"shop\", \"buy(uint256)\", [{arguments}], #{{value: 60}})");
    let body = refused(&call);
    let program = format!("fn on_message(msg) {{ let memory = chain(\"{CHAIN}\"); {body} }}");
    outside.agents.add_with("payer", &program, RULES);
    let node = outside.start().await;
    node.open(session(1), "payer").await;
    node.send(session(1), "call").await;
    let asks = |body: &EventBody| matches!(body, EventBody::ApprovalRequested { .. });
    let id = approval_of(&node.events_until(session(1), asks).await);
    let row = key::approval(&project(), &id);
    let approval = outside.store.begin().load::<Approval>(&row).await.unwrap().unwrap();
    (node, approval)
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_consents_to_a_call_sees_what_the_contract_is_told() {
    let (outside, _chain) = outside(Some(terms())).await;
    let (_node, approval) = asking(&outside, "7, \"gold\"").await;
    let question =
        "May payer call buy(uint256) of shop, telling it [7,\"gold\"], with 60 of the chain's coin on test:memory?";
    assert_eq!(approval.question, question);
    let details = &approval.details;
    assert_eq!((&details["signature"], &details["arguments"]), (&json!("buy(uint256)"), &json!([7, "gold"])));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_long_arguments_whoever_consents_sees_the_beginning_and_the_hash() {
    let (outside, _chain) = outside(Some(terms())).await;
    let long = "x".repeat(CHAIN_CALL_INPUT_BYTES_MAX - 10);
    let (_node, approval) = asking(&outside, &format!("\"{long}\"")).await;
    assert!(approval.question.contains("xxx…, with 60"), "{}", approval.question);
    let details = &approval.details;
    let text = json!([long]).to_string();
    assert_eq!((&details["arguments"], &details["arguments_bytes"]), (&Value::Null, &json!(text.len())));
    assert_eq!(details["arguments_sha256"], Hash::of(text.as_bytes()).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn consent_that_comes_when_its_time_is_over_counts_for_nothing() {
    let (outside, chain) = outside(Some(terms())).await;
    let (node, approval) = asking(&outside, "7").await;
    drop(node);
    let approval = &approval;
    let taken = outside.store.run(|txn| async move {
        let mut loaded = Loaded::load(&txn, session(1)).await?;
        let decision = Decision {
            approved: true,
            answer: Value::Null,
            comment: None,
            decided_by: "alice".to_owned(),
            decided: approval.expires,
        };
        let taken = decide(&txn, &mut loaded, &mut approval.clone(), decision).await?;
        loaded.save(&txn)?;
        Ok::<_, SessionError>(taken)
    });
    assert_eq!(taken.await.unwrap(), Taken::Late);
    let node = outside.start().await;
    assert_eq!(finished(&node.turn(session(1), 1).await)[0], "APPROVAL_REJECTED");
    assert!(landed(&chain).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_the_chain_refuses_beforehand_fails_with_its_reason_and_costs_nothing() {
    let chain = MemoryChain::new(CHAIN.parse().unwrap(), Ledger::new(2), Mining::Automatic);
    let (outside, chain) = on(Arc::new(chain.with_anchoring(Anchoring::Memo)), Some(terms())).await;
    let end = run(&outside, "memory.wait(memory.call(\"broken\", \"buy(uint256)\", [1]))").await;
    assert_eq!((&end["succeeded"], &end["price"], &end["transaction"]), (&json!(false), &json!(0), &Value::Null));
    assert!(end["reason"].as_str().unwrap().contains("it has no contracts"), "{end}");
    let audited = audited(&outside).await;
    assert_eq!((audited.steps_open, audited.settled, audited.receipts), (0, Micros::ZERO, 0), "{audited:#?}");
    assert!(landed(&chain).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_is_down_is_told_at_once_and_an_order_goes_when_it_is_back() {
    let (outside, chain) = outside(Some(terms())).await;
    chain.set_fault(Some(Fault::Down));
    let body = format!(
        "let id = memory.send(\"bob\", 1); [{}, {}, id]",
        refused("memory.balance(\"bob\")"),
        refused("memory.wait(id, #{timeout: \"20ms\"})")
    );
    let found = run(&outside, &body).await;
    assert_eq!((&found[0][0], &found[1][0]), (&json!("CHAIN_UNAVAILABLE"), &json!("DEADLINE_EXCEEDED")));
    let waiters = RangeRead::prefix(&pack(&("chain_waiter", CHAIN)));
    let left = outside.store.begin().range(waiters).await.unwrap();
    assert_eq!(left.rows, [], "a step that waits no more leaves nothing behind");
    chain.set_fault(None);
    let id = found[2].as_str().unwrap();
    let end = run(&outside, &format!("memory.wait(\"{id}\")")).await;
    assert_eq!(end["succeeded"], true);
    assert_eq!(landed(&chain).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_chain_is_paused_nothing_is_ordered() {
    let (outside, chain) = outside(Some(terms())).await;
    let pause = Pause {
        subject: PauseSubject::Chain(CHAIN.to_owned()),
        since: outside.clock.now(),
        by: "key".to_owned(),
        reason: "a drill".to_owned(),
    };
    let set = &pause;
    outside.store.run(|txn| async move { pause::pause(&txn, set).await }).await.unwrap();
    assert_eq!(run(&outside, &refused("memory.send(\"bob\", 1)")).await[0], "PAUSED");
    let subject = &pause.subject;
    outside.store.run(|txn| async move { pause::resume(&txn, subject).await }).await.unwrap();
    assert_eq!(run(&outside, "memory.wait(memory.send(\"bob\", 1)).succeeded").await, true);
    assert_eq!(landed(&chain).len(), 1);
}
