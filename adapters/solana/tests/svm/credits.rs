//! Credits: a token that is made, minted, paid and burned through the outbox, each of it once.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use steward_adapters::chain::{Action, Amount, Chain as _, ChainError};
use steward_adapters::conformance::send;
use steward_adapters::fee::Fee;
use steward_adapters_solana::SolanaChain;
use steward_chaos_chains::sender::When;

use crate::cluster::{Cluster, balance, payment, sender, start};
use crate::sending::{SURE_EFFECTS, wallet};

/// What makes credits of this name, with six decimals.
pub fn creation(chain: &SolanaChain, name: &str) -> Action {
    let arguments = [("name", name), ("decimals", "6")].map(|(name, text)| (name.to_owned(), text.to_owned()));
    let arguments = chain.encode_deployment("credits", &BTreeMap::from(arguments)).unwrap();
    Action::Deploy { contract: "credits".to_owned(), arguments }
}

/// A call of a mint.
fn call(chain: &SolanaChain, mint: &str, signature: &str, arguments: Value) -> Action {
    let input = chain.encode_call(Some(signature), &arguments).unwrap().input;
    Action::Call { contract: mint.to_owned(), input, value: Amount::ZERO }
}

/// What gives a wallet new credits.
pub fn minting(chain: &SolanaChain, mint: &str, to: &str, amount: u64) -> Action {
    call(chain, mint, "mint(address,uint64)", json!([to, amount]))
}

/// What destroys credits of the account's own.
pub fn burning(chain: &SolanaChain, mint: &str, amount: u64) -> Action {
    call(chain, mint, "burn(uint64)", json!([amount]))
}

/// Credits that are there, of which the account has so many.
pub async fn made(chain: &SolanaChain, amount: u64) -> String {
    let mint = send(chain, "make", creation(chain, "compute credits")).await.creates.unwrap();
    assert!(send(chain, "first", minting(chain, &mint, chain.account(), amount)).await.succeeded);
    mint
}

async fn refusal(chain: &SolanaChain, action: &Action) -> String {
    let refused = chain.sign(action, 9, Fee::default()).await.unwrap_err();
    assert!(matches!(refused, ChainError::Rejected { .. }), "{refused}");
    refused.in_full()
}

/// The deposit in what an action said beforehand that it could cost, and what it cost: all that the account has less.
async fn cost_of(chain: &SolanaChain, action: Action) -> (Amount, Amount) {
    let signed = chain.sign(&action, 9, Fee::default()).await.unwrap();
    let before = balance(chain, chain.account(), None).await;
    let outcome = send(chain, &format!("{action:?}"), action.clone()).await;
    assert!(outcome.succeeded);
    let fee = outcome.fee.unwrap();
    assert_eq!(before - balance(chain, chain.account(), None).await, fee.units());
    assert!(fee <= signed.fee_max.unwrap() && signed.deposit <= fee, "{fee}: {signed:?}");
    (signed.deposit, fee)
}

#[tokio::test]
async fn credits_are_made_minted_paid_and_burned() {
    let Cluster { ours, strangers, devnet: _devnet } = start().await;
    let (deposit, _) = cost_of(&ours, creation(&ours, "cheap credits")).await;
    assert!(deposit > Amount::ZERO, "a mint is an account");
    let mint = made(&ours, 1_000).await;
    refusal(&ours, &creation(&ours, "compute credits")).await;
    // The receiver has no account for the token yet: the payment makes it, or the minting does.
    assert_eq!(balance(&strangers, strangers.account(), Some(&mint)).await, 0);
    let [(made, paid), (there, fee_only)] = [
        cost_of(&ours, payment(strangers.account(), 200, Some(mint.clone()))).await,
        cost_of(&ours, payment(strangers.account(), 100, Some(mint.clone()))).await,
    ];
    assert!(made > Amount::ZERO && there == Amount::ZERO, "{made} and {there}: the account is made once");
    assert_eq!(paid.units(), fee_only.units() + made.units());
    let [(made, _), (there, _)] = [
        cost_of(&ours, minting(&ours, &mint, &wallet(0), 5)).await,
        cost_of(&ours, minting(&ours, &mint, &wallet(0), 6)).await,
    ];
    assert!(made > Amount::ZERO && there == Amount::ZERO, "{made} and {there}");
    assert!(send(&ours, "burn", burning(&ours, &mint, 200)).await.succeeded);
    refusal(&ours, &burning(&ours, &mint, 501)).await;
    assert_eq!(balance(&ours, ours.account(), Some(&mint)).await, 500);
    assert_eq!(balance(&ours, strangers.account(), Some(&mint)).await, 300);
    assert_eq!(balance(&ours, &wallet(0), Some(&mint)).await, 11);
}

#[tokio::test]
async fn only_the_account_that_made_credits_mints_them() {
    let Cluster { ours, strangers, devnet: _devnet } = start().await;
    let mint = made(&ours, 10).await;
    refusal(&strangers, &minting(&strangers, &mint, strangers.account(), 1)).await;
    refusal(&strangers, &burning(&strangers, &mint, 1)).await;
    let with_coins = Action::Call {
        contract: mint.clone(),
        input: ours.encode_call(Some("burn(uint64)"), &json!([1])).unwrap().input,
        value: Amount::new(1),
    };
    assert!(refusal(&ours, &with_coins).await.contains("no coins"));
    assert!(refusal(&ours, &minting(&ours, ours.account(), ours.account(), 1)).await.contains("is not a mint"));
    let theirs = send(&strangers, "make", creation(&strangers, "compute credits")).await.creates.unwrap();
    assert_ne!(theirs, mint, "a name is its account's own");
}

#[tokio::test]
async fn an_outbox_killed_before_or_after_any_effect_makes_mints_and_burns_once() {
    let cluster = start().await;
    let ours = &cluster.ours;
    let mut sender = sender(ours);
    let moments = SURE_EFFECTS.flat_map(|effect| When::BOTH.map(|when| (effect, when)));
    for (round, (effect, when)) in (0..).zip(moments) {
        let mut finish = async |key: &str, action: Action| {
            let key = format!("{key} {round}");
            sender.submit(&key, action);
            sender.settle_and_die_at(effect, when, async || {}).await;
            let outcome = sender.intent(&key).outcome.clone().unwrap();
            assert!(outcome.succeeded, "{key}");
            sender.acknowledge(&key);
            outcome
        };
        let mint = finish("make", creation(ours, &format!("credits {round}"))).await.creates.unwrap();
        finish("mint", minting(ours, &mint, ours.account(), 10)).await;
        finish("burn", burning(ours, &mint, 3)).await;
        assert_eq!(balance(ours, ours.account(), Some(&mint)).await, 7, "round {round}");
    }
}
