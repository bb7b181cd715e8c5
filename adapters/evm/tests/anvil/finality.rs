//! What is final where the chain's own consensus says so.

use serde_json::{Value, json};
use steward_adapters::chain::{Action, Chain as _, Consistency, TransactionStatus};
use steward_adapters_evm::{Finality, Mining};
use steward_chaos_chains::Sender;
use tokio::task::JoinSet;
use url::Url;

use crate::answering::{answering, forwarded};
use crate::{POLICY, SOMEBODY, anvil, chain, rpc, settle};

/// Anvil calls a block final that has two epochs of 32 blocks on it.
const BLOCKS_TO_FINAL: u64 = 64;
/// And safe that has one.
const BLOCKS_TO_SAFE: u64 = 32;

#[tokio::test]
async fn a_transaction_is_final_once_the_chain_says_so_and_nothing_is_counted_in_its_place() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1).with_finality(Finality::Tagged);
    rpc(&chain, "anvil_mine", json!([format!("{BLOCKS_TO_FINAL:#x}")])).await;
    let fee = steward_adapters::fee::FeePolicy::default().choose(chain.market_fee().await.unwrap(), None).unwrap();
    let sequence = chain.sequence(Consistency::Latest).await.unwrap().unwrap();
    let signed = chain.sign(&Action::DeployReceiptLog, sequence, fee).await.unwrap();
    chain.broadcast(&signed.bytes).await.unwrap();
    let is_final = async || loop {
        match chain.status(&signed).await.unwrap() {
            TransactionStatus::Included(inclusion) => return inclusion.is_final,
            // Anvil answers a broadcast before it has mined.
            TransactionStatus::Pending => tokio::task::yield_now().await,
            other => panic!("{other:?}"),
        }
    };
    assert!(!is_final().await, "one block would be enough if blocks were counted");
    assert_eq!(chain.sequence(Consistency::Final).await.unwrap(), Some(sequence));
    rpc(&chain, "anvil_mine", json!([format!("{:#x}", BLOCKS_TO_FINAL - 1)])).await;
    assert!(!is_final().await);
    rpc(&chain, "anvil_mine", json!(["0x1"])).await;
    assert!(is_final().await);
    assert_eq!(chain.sequence(Consistency::Final).await.unwrap(), Some(sequence + 1));
    let head = chain.head().await.unwrap();
    assert_eq!(head.block - head.final_block, BLOCKS_TO_FINAL);
    assert_eq!(head.block - chain.confirmed_block().await.unwrap(), BLOCKS_TO_SAFE);
}

#[tokio::test]
async fn a_confirmed_read_is_of_the_safe_block() {
    let anvil = anvil(Mining::Automatic).await;
    let chain = chain(anvil.url(), 1).with_finality(Finality::Tagged);
    rpc(&chain, "anvil_mine", json!([format!("{BLOCKS_TO_FINAL:#x}")])).await;
    rpc(&chain, "anvil_setBalance", json!([SOMEBODY, "0x7"])).await;
    rpc(&chain, "anvil_mine", json!(["0x1"])).await;
    let balance = async |at| chain.balance(SOMEBODY, None, at).await.unwrap().units();
    for (blocks, expected) in [(0, [7, 0, 0]), (BLOCKS_TO_SAFE, [7, 7, 0]), (BLOCKS_TO_SAFE, [7, 7, 7])] {
        for _ in 0..blocks {
            rpc(&chain, "anvil_mine", json!(["0x1"])).await;
        }
        for (at, expected) in
            [Consistency::Latest, Consistency::Confirmed, Consistency::Final].into_iter().zip(expected)
        {
            assert_eq!(balance(at).await, expected, "{at:?}, {blocks} blocks later");
        }
    }
}

/// A node whose chain has no finalized block, and no safe one: it answers so to what asks for them, as nodes of such
/// chains do, and passes everything else on.
async fn without_tags(node: Url, answer: Value) -> (Url, JoinSet<()>) {
    let client = reqwest::Client::new();
    let answer = move |call: Value| {
        let (client, node, mut reply) = (client.clone(), node.clone(), answer.clone());
        async move {
            if call["params"][0] != "finalized" && call["params"][0] != "safe" {
                return forwarded(client, node, call).await;
            }
            (reply["jsonrpc"], reply["id"]) = (json!("2.0"), call["id"].clone());
            reply.to_string().into_bytes()
        }
    };
    answering(answer).await
}

#[tokio::test]
async fn a_chain_without_finalized_blocks_is_unavailable_and_never_counted_unless_told_to() {
    let anvil = anvil(Mining::Automatic).await;
    for (answer, told) in [
        (json!({"result": null}), "give confirmations as a number of blocks"),
        (json!({"error": {"code": -39001, "message": "Unknown block"}}), "Unknown block"),
        (
            json!({"error": {"code": -32602, "message": "invalid argument 0: hex string without 0x prefix"}}),
            "0x prefix",
        ),
    ] {
        let (url, _server) = without_tags(anvil.url().clone(), answer).await;
        let tagged = chain(&url, 1).with_finality(Finality::Tagged);
        for failure in [tagged.head().await.unwrap_err(), tagged.confirmed_block().await.unwrap_err()] {
            assert!(failure.is_endpoint_failure() && failure.in_full().contains(told), "{}", failure.in_full());
        }
        let at = |at| tagged.sequence(at);
        assert!(at(Consistency::Final).await.is_err() && at(Consistency::Confirmed).await.is_err());
        assert!(at(Consistency::Latest).await.is_ok(), "the newest block has no tag");
        let mut sender = Sender::new(&tagged, POLICY);
        sender.submit("deploy", Action::DeployReceiptLog);
        sender.step().await;
        assert!(sender.failures > 0 && sender.intent("deploy").attempts.is_empty(), "nothing is signed");
        let counted = chain(&url, 2);
        let mut counting = Sender::new(&counted, POLICY);
        counting.outbox = sender.outbox;
        settle(&mut counting, &counted).await;
        assert!(counting.intent("deploy").outcome.clone().unwrap().succeeded, "the operator gave a number of blocks");
    }
}
