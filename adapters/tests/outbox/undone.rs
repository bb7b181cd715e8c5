//! What was final and is undone after all: it is noticed while it is looked after, nothing is sent meanwhile, and the same
//! bytes bring it back.

use std::time::Duration;

use steward_adapters::courier::carry_out;
use steward_adapters::fee::FeePolicy;
use steward_adapters::ledger::Ledger;
use steward_adapters::memory::{MemoryChain, Mining};
use steward_adapters::outbox::{Effect, Event, Outbox, Since, Stall};
use steward_types::Timestamp;

use crate::world::{POLICY, action};

/// An outbox that has paid once, finally, and taken note of it, and its chain.
async fn paid() -> (Outbox, MemoryChain, Timestamp) {
    let chain = MemoryChain::new("test:memory".parse().unwrap(), Ledger::new(2), Mining::Manual);
    let (mut outbox, mut now) = (Outbox::default(), Timestamp::EPOCH);
    submit(&mut outbox, 0, now);
    while !outbox.is_settled() {
        step(&mut outbox, &chain, now).await;
        chain.with_ledger(|ledger| ledger.mine());
        now = later(now, POLICY.poll_ms);
    }
    outbox.apply(Event::Acknowledged { key: "intent 0".to_owned() }, now, &POLICY).unwrap();
    assert!(outbox.intents().is_empty());
    (outbox, chain, now)
}

fn submit(outbox: &mut Outbox, number: u64, now: Timestamp) {
    let event = Event::Submitted { key: format!("intent {number}"), action: action(number) };
    outbox.apply(event, now, &POLICY).unwrap();
}

async fn step(outbox: &mut Outbox, chain: &MemoryChain, now: Timestamp) {
    for effect in outbox.next(now, &POLICY) {
        let event = carry_out(chain, &FeePolicy::default(), effect).await.event.unwrap();
        outbox.apply(event, now, &POLICY).unwrap();
    }
}

fn later(now: Timestamp, millis: u64) -> Timestamp {
    now.saturating_add(Duration::from_millis(millis))
}

/// What became of what was undone.
fn since(outbox: &Outbox) -> Option<Since> {
    match outbox.head().stall.as_ref()? {
        Stall::Undone { since, .. } => Some(*since),
        _ => None,
    }
}

fn landed(chain: &MemoryChain) -> usize {
    chain.with_ledger(|ledger| ledger.landed().count())
}

#[tokio::test]
async fn what_was_final_and_is_undone_is_noticed_with_nothing_to_do_and_comes_back() {
    let (mut outbox, chain, _) = paid().await;
    let due = outbox.wake_at(&POLICY).expect("what became final is looked after");
    let blocks = chain.with_ledger(|ledger| ledger.head().block);
    chain.with_ledger(|ledger| ledger.undo_final(blocks));
    assert_eq!(landed(&chain), 0, "the reorganisation took it out");
    step(&mut outbox, &chain, due).await;
    assert_eq!(since(&outbox), Some(Since::Gone));
    submit(&mut outbox, 1, due);
    let mut now = due;
    for _ in 0..3 {
        now = later(now, POLICY.retry_ms);
        assert!(matches!(outbox.next(now, &POLICY)[..], [Effect::Reconcile { settled: Some(_) }]), "nothing is sent");
        step(&mut outbox, &chain, now).await;
        assert!(outbox.head().stall.is_some());
    }
    chain.with_ledger(|ledger| (0..2).for_each(|_| ledger.mine()));
    step(&mut outbox, &chain, later(now, POLICY.retry_ms)).await;
    assert_eq!((outbox.head().stall.clone(), landed(&chain)), (None, 1), "the same bytes landed, once");
    assert!(matches!(outbox.next(later(now, POLICY.retry_ms), &POLICY)[..], [Effect::Sign { sequence: 1, .. }]));
}

#[tokio::test]
async fn what_another_took_is_said_for_a_while_and_then_others_go_on() {
    let (mut outbox, chain, now) = paid().await;
    let blocks = chain.with_ledger(|ledger| ledger.head().block);
    chain.with_ledger(|ledger| {
        ledger.undo_final(blocks);
        ledger.mine_stranger();
        ledger.mine();
    });
    let due = outbox.wake_at(&POLICY).unwrap();
    step(&mut outbox, &chain, due).await;
    assert_eq!(since(&outbox), Some(Since::Displaced));
    let over = later(now, 2 * POLICY.watch_ms);
    step(&mut outbox, &chain, over).await;
    assert_eq!(outbox.head().stall, None);
    assert_eq!(outbox.wake_at(&POLICY), None, "an idle chain is asked nothing any more");
}

#[tokio::test]
async fn a_start_long_after_asks_nothing_about_what_was_final() {
    let (outbox, _, now) = paid().await;
    let restarted = Outbox::from_parts(outbox.head().clone(), outbox.intents().clone());
    assert!(matches!(restarted.next(now, &POLICY)[..], [Effect::Reconcile { settled: Some(_) }]));
    let long_after = later(now, 2 * POLICY.watch_ms);
    assert_eq!(restarted.next(long_after, &POLICY), [Effect::Reconcile { settled: None }]);
}
