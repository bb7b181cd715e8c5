//! What is on its way has spent its coin already, though no balance shows it.

use std::time::Duration;

use steward_adapters::chain::{Action, Amount};
use steward_adapters::courier::carry_out;
use steward_adapters::fee::FeePolicy;
use steward_adapters::ledger::{ENDOWMENT, Ledger};
use steward_adapters::memory::{MemoryChain, Mining};
use steward_adapters::outbox::{Effect, Event, Intent, Outbox};
use steward_types::Timestamp;

use crate::world::POLICY;

/// Carries out everything that may be done, once each.
async fn step(outbox: &mut Outbox, chain: &MemoryChain, now: Timestamp) {
    for effect in outbox.next(now, &POLICY) {
        let event = carry_out(chain, &FeePolicy::default(), effect).await.event.unwrap();
        outbox.apply(event, now, &POLICY).unwrap();
    }
}

#[tokio::test]
async fn a_payment_waits_while_another_may_take_what_it_needs() {
    let chain = MemoryChain::new("test:memory".parse().unwrap(), Ledger::new(1), Mining::Manual).with_funds_checked();
    let mut outbox = Outbox::default();
    let half = Amount::new(ENDOWMENT.units() / 2);
    for (key, to) in [("first", "bob"), ("second", "carol")] {
        let action = Action::Transfer { to: to.to_owned(), amount: half, asset: None };
        outbox.apply(Event::Submitted { key: key.to_owned(), action }, Timestamp::EPOCH, &POLICY).unwrap();
    }
    let mut now = Timestamp::EPOCH;
    for _ in 0..6 {
        step(&mut outbox, &chain, now).await;
        now = now.saturating_add(Duration::from_millis(10));
    }
    let tries = |outbox: &Outbox, key: &str| outbox.intent(key).unwrap().attempts.len();
    assert_eq!((tries(&outbox, "first"), tries(&outbox, "second")), (1, 0), "each alone can be paid for, both cannot");
    let waits = outbox.intent("second").and_then(|intent: &Intent| intent.last_error.clone()).unwrap();
    assert!(waits.contains("the account's other transactions"), "{waits}");
    chain.with_ledger(|ledger| ledger.mine());
    let later = now.saturating_add(Duration::from_millis(30));
    step(&mut outbox, &chain, later).await;
    let later = later.saturating_add(Duration::from_millis(200));
    step(&mut outbox, &chain, later).await; // it asks first where the chain stands
    let sign = outbox.next(later, &POLICY);
    let reserved = sign.into_iter().find_map(|effect| match effect {
        Effect::Sign { reserved, .. } => Some(reserved),
        _ => None,
    });
    assert_eq!(reserved, Some(Amount::ZERO), "what has landed is in the balance");
}
