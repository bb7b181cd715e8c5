//! A payment moves its amount once, all of it or nothing.

use super::{fee, number, send, until_included};
use crate::chain::{Action, Amount, Broadcast, Chain, ChainError, Consistency};

/// More than any chain asks an account to hold at least.
const AMOUNT: Amount = Amount::new(2_000_000);

pub(super) async fn check(chain: &dyn Chain, recipient: &str) {
    a_payment_moves_its_amount(chain, recipient).await;
    a_payment_sent_again_is_made_once(chain, recipient).await;
    a_payment_of_more_than_there_is_moves_nothing(chain, recipient).await;
}

fn payment(to: &str, amount: Amount) -> Action {
    Action::Transfer { to: to.to_owned(), amount, asset: None }
}

async fn balance(chain: &dyn Chain, account: &str, at: Consistency) -> Amount {
    chain.balance(account, None, at).await.expect("the chain answers")
}

fn more(balance: Amount) -> Amount {
    balance.checked_add(AMOUNT).expect("there is room for it")
}

async fn a_payment_moves_its_amount(chain: &dyn Chain, recipient: &str) {
    let payer = chain.account().to_owned();
    let (received, paid) =
        (balance(chain, recipient, Consistency::Final).await, balance(chain, &payer, Consistency::Final).await);
    let outcome = send(chain, "payment", payment(recipient, AMOUNT)).await;
    assert!(outcome.succeeded, "the payment was made");
    assert_eq!(outcome.creates, None);
    // What is final is so in every way of asking.
    for at in [Consistency::Final, Consistency::Confirmed, Consistency::Latest, Consistency::Block(outcome.block)] {
        assert_eq!(balance(chain, recipient, at).await, more(received), "{at:?}");
        let left = balance(chain, &payer, at).await;
        assert!(more(left) <= paid, "the payer had {paid} and has {left}");
    }
    let beyond = Consistency::Block(u64::MAX / 4);
    let answer = chain.balance(recipient, None, beyond).await;
    assert!(matches!(answer, Err(ChainError::Behind { .. })), "{answer:?}");
}

async fn a_payment_sent_again_is_made_once(chain: &dyn Chain, recipient: &str) {
    let before = balance(chain, recipient, Consistency::Latest).await;
    let signed =
        chain.sign(&payment(recipient, AMOUNT), number(chain).await, fee(chain).await).await.expect("it signs");
    assert_eq!(chain.broadcast(&signed.bytes).await.expect("it arrives"), Broadcast::Accepted);
    let again = chain.broadcast(&signed.bytes).await.expect("the chain answers");
    assert!(matches!(again, Broadcast::Accepted | Broadcast::SequenceUsed), "{again:?}");
    until_included(chain, &signed).await;
    assert_eq!(balance(chain, recipient, Consistency::Latest).await, more(before));
}

async fn a_payment_of_more_than_there_is_moves_nothing(chain: &dyn Chain, recipient: &str) {
    let before = balance(chain, recipient, Consistency::Latest).await;
    let all = balance(chain, chain.account(), Consistency::Latest).await;
    let too_much = payment(recipient, all.checked_add(Amount::new(1)).expect("the payer does not own everything"));
    // A driver may refuse to sign what cannot succeed, or the chain may let it fail.
    match chain.sign(&too_much, number(chain).await, fee(chain).await).await {
        Err(ChainError::Rejected { .. }) => {}
        Ok(_) => assert!(!send(chain, "too much", too_much).await.succeeded),
        Err(error) => panic!("{error}"),
    }
    assert_eq!(balance(chain, recipient, Consistency::Latest).await, before);
}
