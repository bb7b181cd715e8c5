//! What became of a transaction, asked of nodes that lag, forget, or stand behind somebody who does not let us through: what
//! they do not have is not taken for what did not happen.

use steward_adapters::chain::{Amount, SignedTransaction};
use steward_adapters::courier::carry_out;
use steward_adapters::fee::{Fee, FeePolicy};
use steward_adapters::outbox::Event;
use steward_adapters::pool::{Pool, PoolPolicy};
use steward_types::SystemClock;
use tokio::task::JoinSet;

use super::answering::{answering, answering_with, forwarded};
use super::*;

const FEE: Fee = Fee { price: 10_000_000_000, tip: 1_000_000_000 };
/// How old a state is that a node has forgotten, in blocks.
const KEPT_BLOCKS: u64 = 3;

async fn payment(chain: &EvmChain, amount: u64) -> SignedTransaction {
    let action = Action::Transfer { to: SOMEBODY.to_owned(), amount: amount.into(), asset: None };
    let sequence = chain.sequence(Consistency::Latest).await.unwrap().unwrap();
    chain.sign(&action, sequence, FEE).await.unwrap()
}

/// A node that answers as anvil does, but for what `changed` makes of a call and its answer.
async fn changed(
    node: &Url,
    changed: impl Fn(&Value, &mut Value) + Clone + Send + Sync + 'static,
) -> (EvmChain, JoinSet<()>) {
    let (client, node) = (reqwest::Client::new(), node.clone());
    let answer = move |call: Value| {
        let (client, node, changed) = (client.clone(), node.clone(), changed.clone());
        async move {
            let bytes = forwarded(client, node, call.clone()).await;
            let mut answer = serde_json::from_slice(&bytes).unwrap();
            changed(&call, &mut answer);
            serde_json::to_vec(&answer).unwrap()
        }
    };
    let (url, server) = answering(answer).await;
    (chain(&url, 1), server)
}

/// What makes a node answer nothing to these methods.
fn without(methods: &'static [&'static str]) -> impl Fn(&Value, &mut Value) + Clone + Send + Sync {
    move |call, answer| {
        if methods.contains(&call["method"].as_str().unwrap_or_default()) {
            *answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": null });
        }
    }
}

fn fail(answer: &mut Value, code: i64, message: &str) {
    *answer = json!({ "jsonrpc": "2.0", "id": answer["id"], "error": { "code": code, "message": message } });
}

#[tokio::test]
async fn a_payment_that_one_node_behind_an_address_does_not_have_is_not_taken_for_replaced() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 1);
    let paid = payment(&direct, 1).await;
    direct.broadcast(&paid.bytes).await.unwrap();
    // The node that is asked for transactions is behind; the one that is asked for numbers and blocks is not.
    let behind = without(&["eth_getTransactionReceipt", "eth_getTransactionByHash"]);
    let (balanced, _server) = changed(anvil.url(), behind).await;
    for blocks in [0, 40] {
        rpc(&direct, "anvil_mine", json!([blocks])).await;
        let error = balanced.status(&paid).await.unwrap_err();
        assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
        assert!(error.in_full().contains("has no receipt of the transaction"), "{}", error.in_full());
    }
    // One that has the transaction, and no receipts so old.
    let (pruned, _server) = changed(anvil.url(), without(&["eth_getTransactionReceipt"])).await;
    let error = pruned.status(&paid).await.unwrap_err();
    assert!(error.in_full().contains("use one that keeps receipts"), "{}", error.in_full());
    assert!(matches!(direct.status(&paid).await.unwrap(), TransactionStatus::Included(_)));
}

#[tokio::test]
async fn that_another_took_the_number_is_said_when_its_block_was_read_and_not_where_it_is_forgotten() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 1);
    rpc(&direct, "anvil_mine", json!([7])).await;
    let (ours, theirs) = (payment(&direct, 1).await, payment(&direct, 2).await);
    assert_eq!(ours.sequence, theirs.sequence);
    direct.broadcast(&theirs.bytes).await.unwrap();
    let replaced = TransactionStatus::Replaced { is_final: true };
    let forgetful = |head: u64| {
        move |call: &Value, answer: &mut Value| {
            let block = call["params"][1].as_str().and_then(|block| block.strip_prefix("0x"));
            let block = block.and_then(|block| u64::from_str_radix(block, 16).ok());
            let is_old = block.is_some_and(|block| block + KEPT_BLOCKS < head);
            if call["method"] == "eth_getTransactionCount" && is_old {
                fail(answer, -32000, "missing trie node 5a1e (path )");
            }
        }
    };
    for blocks in [0_u64, 1, 2, 30] {
        rpc(&direct, "anvil_mine", json!([blocks])).await;
        assert_eq!(direct.status(&ours).await.unwrap(), replaced, "{blocks} blocks later");
    }
    let head = direct.head().await.unwrap().block;
    let (forgetful, _server) = changed(anvil.url(), forgetful(head)).await;
    assert!(matches!(forgetful.status(&theirs).await.unwrap(), TransactionStatus::Included(_)));
    let query = |transactions| Effect::Query { intent: 3, transactions };
    let carried = carry_out(&forgetful, &FeePolicy::default(), query(vec![ours.clone()])).await;
    assert!(carried.failure.is_none(), "nothing fails: {carried:?}");
    let Some(Event::Unseen { intent: 3, reason }) = carried.event else { panic!("{carried:?}") };
    assert!(reason.contains("block"), "{reason}");
    // Of several, it is enough that one has landed.
    let carried = carry_out(&forgetful, &FeePolicy::default(), query(vec![ours, theirs])).await;
    let Some(Event::Observed { statuses, .. }) = carried.event else { panic!("{carried:?}") };
    assert!(matches!(&statuses[..], [(_, TransactionStatus::Included(_))]), "{statuses:?}");
}

#[tokio::test]
async fn an_endpoint_that_does_not_know_our_key_is_no_chain_that_refuses() {
    let anvil = anvil(Mining::Automatic).await;
    let refusal = br#"{"jsonrpc":"2.0","id":0,"error":{"code":-32600,"message":"Must be authenticated!"}}"#;
    let (closed, _server) = answering_with("401 Unauthorized", async |_| refusal.to_vec()).await;
    let (open, closed) = (chain(anvil.url(), 1), chain(&closed, 1));
    let paid = payment(&open, 1).await;
    let action = Action::Transfer { to: SOMEBODY.to_owned(), amount: Amount::from(1_u64), asset: None };
    for error in [
        closed.head().await.unwrap_err(),
        closed.genesis().await.unwrap_err(),
        closed.status(&paid).await.unwrap_err(),
        closed.sign(&action, 0, FEE).await.unwrap_err(),
    ] {
        assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
        assert!(error.in_full().contains("401"), "{}", error.in_full());
    }
    let endpoints = vec![("closed".to_owned(), Arc::new(closed) as _), ("open".to_owned(), Arc::new(open) as _)];
    let pool = Pool::new(endpoints, PoolPolicy::default(), Arc::new(SystemClock::new())).unwrap();
    assert_eq!(Chain::status(&pool, &paid).await.unwrap(), TransactionStatus::Unknown, "the other one is asked");
    assert!(pool.sign(&action, 0, FEE).await.is_ok());
}

#[tokio::test]
async fn a_rollups_fee_on_the_chain_below_it_is_part_of_the_fee() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 1);
    let paid = payment(&direct, 1).await;
    direct.broadcast(&paid.bytes).await.unwrap();
    let rollup = |call: &Value, answer: &mut Value| {
        if call["method"] == "eth_getTransactionReceipt" {
            answer["result"]["l1Fee"] = json!("0x7b");
        }
    };
    let (rollup, _server) = changed(anvil.url(), rollup).await;
    let fee = async |chain: &EvmChain| match chain.status(&paid).await.unwrap() {
        TransactionStatus::Included(inclusion) => inclusion.fee.unwrap().units(),
        other => panic!("{other:?}"),
    };
    assert_eq!(fee(&rollup).await, fee(&direct).await + 0x7b);
}

#[tokio::test]
async fn the_first_block_is_the_chains_whatever_a_node_has_forgotten() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 1);
    rpc(&direct, "anvil_mine", json!([5])).await;
    let first = direct.genesis().await.unwrap();
    let block = rpc(&direct, "eth_getBlockByNumber", json!(["0x0", false])).await;
    assert_eq!(block["hash"], json!(first));
    // As geth does with its history expired: the block is gone, its header is not.
    let pruned = move |call: &Value, answer: &mut Value| match call["method"].as_str() {
        Some("eth_getBlockByNumber") => fail(answer, 4444, "pruned history unavailable"),
        Some("eth_getHeaderByNumber") => *answer = json!({ "jsonrpc": "2.0", "id": call["id"], "result": block }),
        _ => {}
    };
    let (pruned, _server) = changed(anvil.url(), pruned).await;
    assert_eq!(pruned.genesis().await.unwrap(), first);
    let forgotten = without(&["eth_getBlockByNumber", "eth_getHeaderByNumber"]);
    let (forgotten, _server) = changed(anvil.url(), forgotten).await;
    let error = forgotten.genesis().await.unwrap_err();
    assert!(error.in_full().contains("forgotten the chain's first block"), "{}", error.in_full());
}
