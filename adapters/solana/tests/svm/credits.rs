//! Credits: a token that is made, minted, paid through the outbox, and burned.

use steward_adapters::chain::{
    Action, Amount, Broadcast, Chain as _, ChainError, SignedTransaction, TransactionStatus,
};
use steward_adapters::conformance::send;
use steward_adapters::fee::Fee;
use steward_adapters_solana::{Credits, SolanaChain};

use crate::cluster::{Cluster, balance, payment, sender, start};

/// Sends a signed transaction until it is final.
async fn finish(chain: &SolanaChain, transaction: SignedTransaction) {
    let sender = sender(chain);
    loop {
        match chain.status(&transaction).await.unwrap() {
            TransactionStatus::Included(inclusion) if inclusion.is_final => return assert!(inclusion.succeeded),
            TransactionStatus::Unknown => {
                assert_eq!(chain.broadcast(&transaction.bytes).await.unwrap(), Broadcast::Accepted);
            }
            TransactionStatus::Included(_) | TransactionStatus::Pending => {}
            other => panic!("{other:?}"),
        }
        sender.wait().await;
    }
}

/// The deposit in what a payment said beforehand that it could cost, and what it cost: all that the account has less.
async fn cost_of(chain: &SolanaChain, payment: Action) -> (Amount, Amount) {
    let signed = chain.sign(&payment, 9, Fee::default()).await.unwrap();
    let before = balance(chain, chain.account(), None).await;
    let outcome = send(chain, &format!("{payment:?}"), payment.clone()).await;
    assert!(outcome.succeeded);
    let fee = outcome.fee.unwrap();
    assert_eq!(before - balance(chain, chain.account(), None).await, fee.units());
    assert!(fee <= signed.fee_max.unwrap() && signed.deposit <= fee, "{fee}: {signed:?}");
    (signed.deposit, fee)
}

#[tokio::test]
async fn credits_are_made_minted_paid_and_burned() {
    let Cluster { ours, strangers, devnet: _devnet } = start().await;
    let credits = Credits::new(&ours, "compute credits", 6).unwrap();
    let (mint, fee) = (credits.mint(), Fee::default());
    let missing = ours.sign(&payment(strangers.account(), 1, Some(mint.clone())), 0, fee).await.unwrap_err();
    assert!(matches!(missing, ChainError::Rejected { .. }), "{missing}");
    finish(&ours, credits.sign_creation(0, fee).await.unwrap()).await;
    let again = credits.sign_creation(1, fee).await.unwrap_err();
    assert!(matches!(again, ChainError::Rejected { .. }), "{again}");
    finish(&ours, credits.sign_minting(ours.account(), 1_000, 2, fee).await.unwrap()).await;
    // The receiver has no account for the token yet: the payment makes it.
    assert_eq!(balance(&strangers, strangers.account(), Some(&mint)).await, 0);
    let [(made, paid), (there, fee_only)] = [
        cost_of(&ours, payment(strangers.account(), 200, Some(mint.clone()))).await,
        cost_of(&ours, payment(strangers.account(), 100, Some(mint.clone()))).await,
    ];
    assert!(made > Amount::ZERO && there == Amount::ZERO, "{made} and {there}: the account is made once");
    assert_eq!(paid.units(), fee_only.units() + made.units());
    finish(&ours, credits.sign_burning(200, 3, fee).await.unwrap()).await;
    let too_many = credits.sign_burning(501, 4, fee).await.unwrap_err();
    assert!(matches!(too_many, ChainError::Rejected { .. }), "{too_many}");
    assert_eq!(balance(&ours, ours.account(), Some(&mint)).await, 500);
    assert_eq!(balance(&ours, strangers.account(), Some(&mint)).await, 300);
    let theirs = Credits::new(&strangers, "compute credits", 6).unwrap();
    assert_ne!(theirs.mint(), mint, "a name is its account's own");
}
