//! Payments and calls on a real chain: coin, a token that answers false, contracts, and what is refused before signing.

use serde_json::json;
use steward_adapters::chain::{Action, Amount, Chain, ChainError, Consistency, TransactionStatus};
use steward_adapters::conformance::send;
use steward_adapters::fee::Fee;
use steward_adapters_evm::{EvmChain, Mining};

use super::{SOMEBODY, anvil, chain, deploy, point, rpc};

const FEE: Fee = Fee { price: 10_000_000_000, tip: 1 };
/// What the token's maker has in the beginning.
const MINTED: u128 = 1_000_000;

fn pay(token: Option<&str>, units: u128) -> Action {
    Action::Transfer { to: SOMEBODY.to_owned(), amount: Amount::new(units), asset: token.map(str::to_owned) }
}

/// The token that answers false where others fail; the chain's account has all of it.
async fn token(chain: &EvmChain) -> String {
    let code = format!("0x{}", include_str!("token/QuietToken.hex").trim());
    let transaction = json!([{ "from": chain.account(), "data": code, "gas": "0x100000" }]);
    let hash = rpc(chain, "eth_sendTransaction", transaction).await;
    loop {
        let receipt = rpc(chain, "eth_getTransactionReceipt", json!([hash])).await;
        if let Some(address) = receipt["contractAddress"].as_str() {
            return address.to_owned();
        }
    }
}

async fn balance(chain: &EvmChain, account: &str, token: &str) -> Amount {
    chain.balance(account, Some(token), Consistency::Latest).await.unwrap()
}

#[tokio::test]
async fn a_token_is_paid_once_or_not_at_all() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let token = token(&chain).await;
    assert!(send(&chain, "payment", pay(Some(&token), 400_000)).await.succeeded);
    assert_eq!(balance(&chain, SOMEBODY, &token).await, Amount::new(400_000));
    assert_eq!(balance(&chain, chain.account(), &token).await, Amount::new(MINTED - 400_000));
    let sequence = chain.sequence(Consistency::Latest).await.unwrap().unwrap();
    let refused = chain.sign(&pay(Some(&token), 600_001), sequence, FEE).await.unwrap_err();
    assert!(refused.to_string().contains("would not pay"), "{refused}");
    let nowhere = "0x00000000000000000000000000000000000000ff";
    let refused = chain.sign(&pay(Some(nowhere), 1), sequence, FEE).await.unwrap_err();
    assert!(refused.to_string().contains("no token"), "{refused}");
    let unknown = chain.balance(SOMEBODY, Some(nowhere), Consistency::Latest).await.unwrap_err();
    assert!(matches!(unknown, ChainError::Rejected { .. }) && !unknown.is_endpoint_failure(), "{unknown}");
}

#[tokio::test]
async fn a_token_that_answers_false_in_the_block_has_not_paid() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let token = token(&chain).await;
    rpc(&chain, "evm_setAutomine", json!([false])).await;
    let sequence = chain.sequence(Consistency::Latest).await.unwrap().unwrap();
    // Either may be paid alone, so that both are signed.
    let mut signed = Vec::new();
    for (number, units) in [(0, 700_000), (1, 700_001)] {
        signed.push(chain.sign(&pay(Some(&token), units), sequence + number, FEE).await.unwrap());
    }
    for transaction in &signed {
        chain.broadcast(&transaction.bytes).await.unwrap();
    }
    rpc(&chain, "evm_mine", json!([])).await;
    for (transaction, expected) in signed.iter().zip([true, false]) {
        let status = chain.status(transaction).await.unwrap();
        let TransactionStatus::Included(inclusion) = status else { panic!("{status:?}") };
        assert_eq!(inclusion.succeeded, expected);
    }
    assert_eq!(balance(&chain, SOMEBODY, &token).await, Amount::new(700_000));
}

#[tokio::test]
async fn a_contract_is_called_and_read_as_of_a_block() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 3);
    let token = token(&chain).await;
    let balance_of = |account: &str| hex::decode(format!("70a08231{:0>64}", account.trim_start_matches("0x"))).unwrap();
    let input = balance_of(SOMEBODY);
    let transfer = format!("a9059cbb{:0>64}{:064x}", SOMEBODY.trim_start_matches("0x"), 5);
    let call =
        Action::Call { contract: token.clone(), input: hex::decode(transfer).unwrap().into(), value: Amount::ZERO };
    let before = chain.head().await.unwrap().block;
    let sequence = chain.sequence(Consistency::Latest).await.unwrap().unwrap();
    let signed = chain.sign(&call, sequence, FEE).await.unwrap();
    chain.broadcast(&signed.bytes).await.unwrap();
    // The block is made a moment after the transaction is taken.
    while !matches!(chain.status(&signed).await.unwrap(), TransactionStatus::Included(_)) {
        tokio::task::yield_now().await;
    }
    let read = async |at| {
        let answer = chain.read(&token, &input, at).await?;
        Ok::<u8, ChainError>(answer.last().copied().unwrap())
    };
    assert_eq!(read(Consistency::Latest).await.unwrap(), 5);
    assert_eq!(read(Consistency::Block(before)).await.unwrap(), 0);
    assert_eq!(read(Consistency::Block(before + 1)).await.unwrap(), 5);
    let behind = read(Consistency::Block(before + 2)).await.unwrap_err();
    assert!(matches!(behind, ChainError::Behind { block, .. } if block == before + 2), "{behind}");
    // Three blocks with its own make it final.
    rpc(&chain, "evm_mine", json!([])).await;
    let of_somebody = async |at| chain.balance(SOMEBODY, Some(&token), at).await.unwrap();
    assert_eq!(of_somebody(Consistency::Final).await, Amount::ZERO);
    rpc(&chain, "evm_mine", json!([])).await;
    assert_eq!(of_somebody(Consistency::Final).await, Amount::new(5));
}

#[tokio::test]
async fn a_call_that_would_fail_and_a_wrong_address_are_refused_before_signing() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1);
    let contract = deploy(&chain).await;
    let anchored = Action::Anchor { contract: contract.clone(), point: point(1, 1) };
    assert!(send(&chain, "anchor", anchored).await.succeeded);
    let sequence = chain.sequence(Consistency::Latest).await.unwrap().unwrap();
    let wrong = [
        Action::Call { contract, input: vec![1, 2, 3, 4].into(), value: Amount::ZERO },
        Action::Transfer { to: SOMEBODY.replace("aAeb", "aaeb"), amount: Amount::new(1), asset: None },
        Action::Transfer { to: "somebody".to_owned(), amount: Amount::new(1), asset: None },
        pay(None, u128::MAX),
    ];
    for action in wrong {
        let refused = chain.sign(&action, sequence, FEE).await.unwrap_err();
        assert!(matches!(refused, ChainError::Rejected { .. }), "{action:?}: {refused}");
    }
}
