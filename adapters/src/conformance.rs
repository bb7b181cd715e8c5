//! What every driver of the `Chain` port must do, checked against a chain that makes blocks by itself.

mod anchoring;
mod events;
mod paying;
mod sending;

use std::time::Duration;

use steward_types::{Clock, SystemClock};

use crate::chain::{Action, AnchorPoint, Chain, ChainError, Consistency, SignedTransaction, TransactionStatus};
use crate::courier::carry_out;
use crate::fee::{Fee, FeePolicy};
use crate::outbox::{Event, Outbox, OutboxPolicy, Outcome};

pub use self::events::{Emission, check_events};

/// Runs the whole suite on an account that nobody else uses and that has something to pay to `recipient`, an address of
/// somebody else's. Panics where the driver is wrong.
pub async fn check(chain: &dyn Chain, recipient: &str) {
    let contract = contract(chain).await;
    sending::check(chain, &contract).await;
    anchoring::check(chain, &contract).await;
    paying::check(chain, recipient).await;
    a_confirmed_block_is_between_the_final_one_and_the_head(chain).await;
}

async fn a_confirmed_block_is_between_the_final_one_and_the_head(chain: &dyn Chain) {
    let before = chain.head().await.expect("the chain answers");
    let confirmed = chain.confirmed_block().await.expect("the chain answers");
    let after = chain.head().await.expect("the chain answers");
    assert!((before.final_block..=after.block).contains(&confirmed), "{before:?} {confirmed} {after:?}");
}

/// What anchors go to: a new contract, or nothing where the chain needs none and says so.
async fn contract(chain: &dyn Chain) -> String {
    if chain.needs_contract() {
        let outcome = send(chain, "deploy", Action::DeployReceiptLog).await;
        assert!(outcome.succeeded, "the contract was deployed");
        return outcome.creates.expect("deploying creates a contract");
    }
    let refused = chain.sign(&Action::DeployReceiptLog, number(chain).await, fee(chain).await).await;
    assert!(matches!(refused, Err(ChainError::Rejected { .. })), "{refused:?}");
    String::new()
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

async fn fee(chain: &dyn Chain) -> Fee {
    let market = chain.market_fee().await.expect("the chain has a fee");
    FeePolicy::default().choose(market, None).expect("the fee is below the cap")
}

/// The number to sign with: the account's next one, or any where the chain counts none.
async fn number(chain: &dyn Chain) -> u64 {
    chain.sequence(Consistency::Latest).await.expect("the chain answers").unwrap_or_default()
}

async fn until_included(chain: &dyn Chain, transaction: &SignedTransaction) {
    let clock = SystemClock::new();
    while !matches!(chain.status(transaction).await.expect("the chain answers"), TransactionStatus::Included(_)) {
        clock.sleep(Duration::from_millis(5)).await;
    }
}
