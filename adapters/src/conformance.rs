//! What every driver of the `Chain` port must do, checked against a chain that makes blocks by itself.

use std::time::Duration;

use crate::chain::{Action, AnchorPoint, AnchoredHead, Broadcast, Chain, ChainError, Consistency, TransactionStatus};
use crate::courier::carry_out;
use crate::fee::FeePolicy;
use crate::outbox::{Event, Outbox, OutboxPolicy, Outcome};
use steward_types::{Clock, SystemClock};

/// Runs the whole suite on an account that nobody else uses. Panics where the driver is wrong.
pub async fn check(chain: &dyn Chain) {
    let outcome = send(chain, "deploy", Action::DeployReceiptLog).await;
    let contract = outcome.creates.expect("deploying creates a contract");
    assert!(outcome.succeeded, "the contract was deployed");
    a_signed_transaction_is_not_sent(chain, &contract).await;
    the_same_bytes_sent_again_land_once(chain, &contract).await;
    an_anchor_can_be_read_back_and_does_not_shrink(chain, &contract).await;
    a_displaced_transaction_is_seen_as_replaced(chain, &contract).await;
}

/// An anchor whose root is made of `byte`.
pub const fn point(tree_size: u64, byte: u8) -> AnchorPoint {
    AnchorPoint { log_id: [7; 32], tree_size, root: [byte; 32] }
}

/// Sends one action through an outbox until it is final, and returns its outcome.
pub async fn send(chain: &dyn Chain, key: &str, action: Action) -> Outcome {
    let policy = OutboxPolicy { poll_ms: 10, retry_ms: 10, ..OutboxPolicy::default() };
    let clock = SystemClock::new();
    let mut outbox = Outbox::default();
    let submitted = Event::Submitted { key: key.to_owned(), action };
    outbox.apply(submitted, clock.now(), &policy).expect("an empty outbox takes an intent");
    loop {
        for effect in outbox.next(clock.now(), &policy) {
            let carried = carry_out(chain, &FeePolicy::default(), effect).await;
            assert!(carried.failure.is_none(), "{:?}", carried.failure);
            let event = carried.event.expect("what did not fail has an event");
            outbox.apply(event, clock.now(), &policy).expect("the courier's events fit");
        }
        if let Some(outcome) = outbox.intent(key).and_then(|intent| intent.outcome.clone()) {
            return outcome;
        }
        clock.sleep(Duration::from_millis(5)).await;
    }
}

async fn fee(chain: &dyn Chain) -> crate::fee::Fee {
    let market = chain.market_fee().await.expect("the chain has a fee");
    FeePolicy::default().choose(market, None).expect("the fee is below the cap")
}

async fn a_signed_transaction_is_not_sent(chain: &dyn Chain, contract: &str) {
    let sequence = chain.sequence(Consistency::Latest).await.expect("the chain answers");
    let action = Action::Anchor { contract: contract.to_owned(), point: point(1, 1) };
    let signed = chain.sign(&action, sequence, fee(chain).await).await.expect("it signs");
    assert_eq!(signed.sequence, sequence);
    let status = chain.status(&signed.hash, sequence).await.expect("the chain answers");
    assert_eq!(status, TransactionStatus::Unknown);
    assert_eq!(chain.sequence(Consistency::Latest).await.expect("the chain answers"), sequence);
}

async fn the_same_bytes_sent_again_land_once(chain: &dyn Chain, contract: &str) {
    let sequence = chain.sequence(Consistency::Latest).await.expect("the chain answers");
    let action = Action::Anchor { contract: contract.to_owned(), point: point(2, 2) };
    let signed = chain.sign(&action, sequence, fee(chain).await).await.expect("it signs");
    assert_eq!(chain.broadcast(&signed.bytes).await.expect("it arrives"), Broadcast::Accepted);
    until_included(chain, &signed.hash, sequence).await;
    let again = chain.broadcast(&signed.bytes).await.expect("the chain answers");
    assert!(matches!(again, Broadcast::Accepted | Broadcast::SequenceUsed), "{again:?}");
    assert_eq!(chain.sequence(Consistency::Latest).await.expect("the chain answers"), sequence + 1);
}

async fn an_anchor_can_be_read_back_and_does_not_shrink(chain: &dyn Chain, contract: &str) {
    let anchored = point(10, 3);
    let outcome = send(chain, "anchor", Action::Anchor { contract: contract.to_owned(), point: anchored }).await;
    assert!(outcome.succeeded);
    let read = chain.read_anchor(contract, &anchored.log_id).await.expect("the chain answers");
    assert_eq!(read, Some(AnchoredHead::of(&anchored)));
    assert_eq!(chain.read_anchor(contract, &[0; 32]).await.expect("the chain answers"), None);
    for wrong in [point(9, 3), point(10, 4)] {
        // A driver may refuse to sign what cannot succeed, or the chain may let it fail.
        let action = Action::Anchor { contract: contract.to_owned(), point: wrong };
        let sequence = chain.sequence(Consistency::Latest).await.expect("the chain answers");
        match chain.sign(&action, sequence, fee(chain).await).await {
            Err(ChainError::Rejected { .. }) => {}
            Ok(_) => assert!(!send(chain, "wrong", action).await.succeeded, "{wrong:?}"),
            Err(error) => panic!("{error}"),
        }
        let read = chain.read_anchor(contract, &anchored.log_id).await.expect("the chain answers");
        assert_eq!(read, Some(AnchoredHead::of(&anchored)));
    }
}

async fn a_displaced_transaction_is_seen_as_replaced(chain: &dyn Chain, contract: &str) {
    let sequence = chain.sequence(Consistency::Latest).await.expect("the chain answers");
    let fee = fee(chain).await;
    let first = Action::Anchor { contract: contract.to_owned(), point: point(20, 5) };
    let other = Action::Anchor { contract: contract.to_owned(), point: point(21, 6) };
    let first = chain.sign(&first, sequence, fee).await.expect("it signs");
    let other = chain.sign(&other, sequence, fee).await.expect("it signs");
    assert_eq!(chain.broadcast(&other.bytes).await.expect("it arrives"), Broadcast::Accepted);
    until_included(chain, &other.hash, sequence).await;
    let status = chain.status(&first.hash, sequence).await.expect("the chain answers");
    assert!(matches!(status, TransactionStatus::Replaced { .. }), "{status:?}");
    assert_eq!(chain.broadcast(&first.bytes).await.expect("the chain answers"), Broadcast::SequenceUsed);
}

async fn until_included(chain: &dyn Chain, hash: &str, sequence: u64) {
    let clock = SystemClock::new();
    while !matches!(chain.status(hash, sequence).await.expect("the chain answers"), TransactionStatus::Included(_)) {
        clock.sleep(Duration::from_millis(5)).await;
    }
}
