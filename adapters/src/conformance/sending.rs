//! What is the same for every transaction: signing sends nothing, the same bytes land once, one of two lands.

use super::{fee, number, point, until_included};
use crate::chain::{Action, Broadcast, Chain, Consistency, TransactionStatus};

pub(super) async fn check(chain: &dyn Chain, contract: &str) {
    a_signed_transaction_is_not_sent(chain, contract).await;
    the_same_bytes_sent_again_land_once(chain, contract).await;
    if chain.sequence(Consistency::Latest).await.expect("the chain answers").is_some() {
        a_displaced_transaction_is_seen_as_replaced(chain, contract).await;
    }
}

async fn a_signed_transaction_is_not_sent(chain: &dyn Chain, contract: &str) {
    let sequence = number(chain).await;
    let action = Action::Anchor { contract: contract.to_owned(), point: point(1, 1) };
    let signed = chain.sign(&action, sequence, fee(chain).await).await.expect("it signs");
    assert_eq!(signed.sequence, sequence);
    let status = chain.status(&signed).await.expect("the chain answers");
    assert_eq!(status, TransactionStatus::Unknown);
    assert_eq!(number(chain).await, sequence);
}

async fn the_same_bytes_sent_again_land_once(chain: &dyn Chain, contract: &str) {
    let before = chain.sequence(Consistency::Latest).await.expect("the chain answers");
    let action = Action::Anchor { contract: contract.to_owned(), point: point(2, 2) };
    let signed = chain.sign(&action, before.unwrap_or_default(), fee(chain).await).await.expect("it signs");
    assert_eq!(chain.broadcast(&signed.bytes).await.expect("it arrives"), Broadcast::Accepted);
    until_included(chain, &signed).await;
    let again = chain.broadcast(&signed.bytes).await.expect("the chain answers");
    assert!(matches!(again, Broadcast::Accepted | Broadcast::SequenceUsed), "{again:?}");
    let after = chain.sequence(Consistency::Latest).await.expect("the chain answers");
    assert_eq!(after, before.map(|sequence| sequence + 1));
}

async fn a_displaced_transaction_is_seen_as_replaced(chain: &dyn Chain, contract: &str) {
    let sequence = number(chain).await;
    let fee = fee(chain).await;
    let first = Action::Anchor { contract: contract.to_owned(), point: point(20, 5) };
    let other = Action::Anchor { contract: contract.to_owned(), point: point(21, 6) };
    let first = chain.sign(&first, sequence, fee).await.expect("it signs");
    let other = chain.sign(&other, sequence, fee).await.expect("it signs");
    assert_eq!(chain.broadcast(&other.bytes).await.expect("it arrives"), Broadcast::Accepted);
    until_included(chain, &other).await;
    let status = chain.status(&first).await.expect("the chain answers");
    assert!(matches!(status, TransactionStatus::Replaced { .. }), "{status:?}");
    assert_eq!(chain.broadcast(&first.bytes).await.expect("the chain answers"), Broadcast::SequenceUsed);
}
