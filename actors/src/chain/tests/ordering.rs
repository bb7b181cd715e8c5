//! Orders that cannot be signed: they keep nobody else back, and end.

use steward_adapters::chain::{Amount, ChainError, SignedTransaction, TransactionStatus};
use steward_adapters::fee::Fee;
use steward_adapters::outbox::{Effect, Event, Sequences, Standing};
use steward_scripting::manifest::{Caps, SpendingRules};
use steward_types::limits::{
    CHAIN_ORDER_REFUSALS_MAX, CHAIN_ORDER_UNSIGNED_TIME_MAX, CHAIN_ORDERS_TAKEN_PROJECT_MAX, CHAIN_WAITERS_MAX,
};

use super::rows::order;
use super::*;
use crate::chain::desk::{Desk, End};
use crate::chain::orders::{self, NewOrder, Order};
use crate::chain::records::Stored;
use crate::chain::spending::{Act, Policy, Spend};

fn pay(number: u32) -> Order {
    order(number, Action::Transfer { to: "bob".to_owned(), amount: Amount::new(1), asset: None })
}

/// A desk that knows where the chain stands, with these orders in its outbox.
fn desk(orders: &[Order]) -> Desk {
    // The chain is asked once, however long these tests take.
    let policy = OutboxPolicy { stuck_ms: u64::MAX, ..OutboxPolicy::default() };
    let mut desk = Desk::new(Stored::default(), policy, Some("contract".to_owned()), Timestamp::EPOCH);
    let standing = Standing {
        sequences: Some(Sequences { latest: 0, finalized: 0 }),
        genesis: "genesis".to_owned(),
        account: "account".to_owned(),
        settled: None,
    };
    let mut events = vec![Event::Reconciled(standing)];
    for order in orders {
        events.push(Event::Submitted { key: order.id.to_string(), action: order.action.clone() });
        desk.orders.insert(order.id.to_string(), order.clone());
    }
    for event in events {
        desk.outbox.apply(event, Timestamp::EPOCH, &desk.policy).unwrap();
    }
    desk
}

fn at(time: Duration) -> Timestamp {
    Timestamp::EPOCH.saturating_add(time)
}

/// The intent that would be signed now.
fn next(desk: &Desk, now: Timestamp) -> Option<u64> {
    desk.outbox.next(now, &desk.policy).into_iter().find_map(|effect| match effect {
        Effect::Sign { intent, .. } => Some(intent),
        _ => None,
    })
}

fn take_in(desk: &mut Desk, event: Event, failure: Option<&ChainError>, now: Timestamp) {
    let event = desk.weigh(event, failure);
    desk.outbox.apply(event, now, &desk.policy).unwrap();
}

/// It was signed for more than is held for it.
fn signed_above_cap(desk: &mut Desk, intent: u64, now: Timestamp) {
    let transaction = Ledger::new(1).sign(&Action::Fill, 0, Fee { price: 1, tip: 1 });
    let transaction = steward_adapters::chain::SignedTransaction { fee_max: None, ..transaction };
    take_in(desk, Event::Signed { intent, transaction }, None, now);
}

#[test]
fn an_order_above_its_cap_waits_longer_each_time_and_lets_others_pass() {
    let mut desk = desk(&[pay(1), pay(2)]);
    let mut now = Timestamp::EPOCH;
    assert_eq!(next(&desk, now), Some(0));
    signed_above_cap(&mut desk, 0, now);
    assert_eq!(next(&desk, now), Some(1), "the newer one is signed meanwhile");
    signed_above_cap(&mut desk, 1, now);
    let mut waits = Vec::new();
    for _ in 0..8 {
        let since = now;
        while next(&desk, now).is_none() {
            now = now.saturating_add(Duration::from_secs(1));
        }
        waits.push(now.saturating_since(since).as_secs());
        signed_above_cap(&mut desk, 0, now);
        signed_above_cap(&mut desk, 1, now);
    }
    assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 320]);
}

#[test]
fn an_order_whose_deposit_is_above_its_cap_ends_with_the_reason_and_one_within_it_is_signed() {
    let mut order = pay(1);
    order.fee_max = Amount::new(2_000);
    let signed = |fee_max: u128, deposit: u128| {
        let transaction = Ledger::new(1).sign(&Action::Fill, 0, Fee { price: 1, tip: 1 });
        let (fee_max, deposit) = (Some(Amount::new(fee_max)), Amount::new(deposit));
        Event::Signed { intent: 0, transaction: SignedTransaction { fee_max, deposit, ..transaction } }
    };
    let chain = CHAIN.parse().unwrap();
    let mut within = desk(&[order.clone()]);
    take_in(&mut within, signed(2_000, 1_900), None, Timestamp::EPOCH);
    assert_eq!(within.outbox.intents()[&0].attempts.len(), 1);
    let mut above = desk(&[order]);
    for _ in 0..CHAIN_ORDER_REFUSALS_MAX {
        assert!(above.conclude(&chain, "ours", Timestamp::EPOCH).unwrap().is_empty());
        take_in(&mut above, signed(2_101, 2_001), None, Timestamp::EPOCH);
    }
    let ends = above.conclude(&chain, "ours", Timestamp::EPOCH).unwrap();
    let [End::Ordered(ended)] = &ends[..] else { panic!("{ends:?}") };
    let reason = ended.end.as_ref().unwrap_err();
    assert!(reason.contains("2001 as the deposit") && reason.contains("raise fee_max"), "{reason}");
}

#[test]
fn an_order_that_is_not_signed_in_time_is_refused_and_a_pause_does_not_count() {
    let mut desk = desk(&[pay(1)]);
    let chain = CHAIN.parse().unwrap();
    let paused = at(Duration::from_secs(60));
    desk.running_since = paused;
    signed_above_cap(&mut desk, 0, paused);
    let late = at(CHAIN_ORDER_UNSIGNED_TIME_MAX);
    assert!(desk.conclude(&chain, "ours", late).unwrap().is_empty(), "it was paused meanwhile");
    let ends = desk.conclude(&chain, "ours", paused.saturating_add(CHAIN_ORDER_UNSIGNED_TIME_MAX)).unwrap();
    let [End::Ordered(ended)] = &ends[..] else { panic!("{ends:?}") };
    let reason = ended.end.as_ref().unwrap_err();
    assert!(reason.contains("60 minutes") && reason.contains("waits for lower fees"), "{reason}");
    assert!(desk.orders.is_empty() && desk.outbox.is_settled());
}

#[test]
fn an_order_whose_node_was_away_for_longer_is_not_late() {
    let (chain, before) = (CHAIN.parse().unwrap(), desk(&[pay(1)]));
    let back = at(2 * CHAIN_ORDER_UNSIGNED_TIME_MAX);
    let mut desk = Desk::new(before.stored(), before.policy, before.contract, back);
    assert!(desk.conclude(&chain, "ours", back).unwrap().is_empty(), "nothing was tried yet");
    let late = back.saturating_add(CHAIN_ORDER_UNSIGNED_TIME_MAX);
    assert_eq!(desk.conclude(&chain, "ours", late).unwrap().len(), 1);
}

#[test]
fn an_order_whose_number_another_took_late_is_signed_again() {
    let (chain, mut desk) = (CHAIN.parse().unwrap(), desk(&[pay(1)]));
    let transaction = Ledger::new(1).sign(&desk.outbox.intents()[&0].action, 0, Fee::default());
    let transaction = SignedTransaction { fee_max: Some(Amount::ZERO), ..transaction };
    let replaced = vec![(transaction.hash.clone(), TransactionStatus::Replaced { is_final: true })];
    take_in(&mut desk, Event::Signed { intent: 0, transaction }, None, Timestamp::EPOCH);
    let late = at(2 * CHAIN_ORDER_UNSIGNED_TIME_MAX);
    assert!(desk.conclude(&chain, "ours", late).unwrap().is_empty(), "it is on its way");
    take_in(&mut desk, Event::Observed { intent: 0, statuses: replaced }, None, late);
    assert!(desk.conclude(&chain, "ours", late).unwrap().is_empty(), "it was not to be signed before");
    assert_eq!(next(&desk, late.saturating_add(Duration::from_millis(desk.policy.poll_ms))), Some(0));
}

#[test]
fn only_a_refusal_that_comes_again_ends_an_order() {
    let mut desk = desk(&[pay(1)]);
    let chain = CHAIN.parse().unwrap();
    let rejected = ChainError::Rejected { reason: "no".to_owned() };
    let failed = |is_own| Event::SignFailed { intent: 0, reason: "no".to_owned(), is_own };
    let tries = CHAIN_ORDER_REFUSALS_MAX;
    for _ in 0..tries {
        // The fee, or an endpoint's: not the order's own.
        take_in(&mut desk, failed(false), Some(&rejected), Timestamp::EPOCH);
    }
    for _ in 1..tries {
        take_in(&mut desk, failed(true), Some(&rejected), Timestamp::EPOCH);
    }
    assert!(desk.conclude(&chain, "ours", Timestamp::EPOCH).unwrap().is_empty());
    take_in(&mut desk, failed(true), Some(&rejected), Timestamp::EPOCH);
    let ends = desk.conclude(&chain, "ours", Timestamp::EPOCH).unwrap();
    assert!(matches!(&ends[..], [End::Ordered(ended)] if ended.end.is_err()), "{ends:?}");
}

/// Records an order as a session's transaction does.
async fn place(store: &Arc<dyn Store>, order: Order) {
    let caps = Caps { max_per_transaction: Amount::MAX, max_per_day: Amount::MAX, approve_above: None };
    let rules = SpendingRules { pay: vec!["*".to_owned()], call: Vec::new(), coin: caps, assets: BTreeMap::default() };
    let spend = Spend { act: Act::Pay { to: "bob".to_owned() }, asset: None, amount: Amount::new(1) };
    let policy = Policy { agent: rules.clone(), operator: rules };
    let new = NewOrder { chain: CHAIN.to_owned(), order, spend, policy };
    let txn = store.begin();
    orders::place(&txn, &new, Timestamp::EPOCH).await.unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn one_projects_orders_take_no_more_than_their_share_of_the_outbox() {
    let (store, chain) = parts(1);
    for number in 1..=20 {
        place(&store, pay(number)).await;
    }
    place(&store, Order { project: project("beta"), ..pay(21) }).await;
    chain.set_fault(Some(Outage::Down));
    let node = Node::start(&store, &chain).await;
    let ChainResponse::Done = node.ask(ChainRequest::Wake).await else { panic!() };
    let ChainResponse::Outbox(outbox) = node.ask(ChainRequest::Outbox).await else { panic!() };
    assert_eq!(outbox.total, CHAIN_ORDERS_TAKEN_PROJECT_MAX as u64 + 1, "{outbox:?}");
    assert!(outbox.intents.iter().any(|intent| intent.key == pay(21).id.to_string()), "{outbox:?}");
}

#[tokio::test]
async fn no_more_steps_wait_for_an_order_than_can_be_told_at_once() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let order = pay(1);
    let id = order.id.clone();
    place(&store, order).await;
    let step = |number| orders::Waiter { session: id.session, turn: 2, step: StepPath::top(number) };
    let most = u32::try_from(CHAIN_WAITERS_MAX).unwrap();
    // Not all in one transaction, which may last some seconds: each wait counts those before it.
    for numbers in (1..=most + 5).collect::<Vec<_>>().chunks(100) {
        let txn = store.begin();
        for number in numbers {
            orders::await_order(&txn, &id, &step(*number)).await.unwrap();
        }
        txn.commit().await.unwrap();
    }
    let txn = store.begin();
    let waiting = steward_storage::key::pack(&("chain_waiter", CHAIN));
    let range = steward_storage::RangeRead::prefix(&waiting);
    assert_eq!(txn.range(range.clone()).await.unwrap().rows.len(), CHAIN_WAITERS_MAX);
    orders::forget_waiter(&txn, &id, &step(1)).await.unwrap();
    assert_eq!(txn.range(range).await.unwrap().rows.len(), CHAIN_WAITERS_MAX - 1);
}
