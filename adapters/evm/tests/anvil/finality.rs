//! What is final where the chain's own consensus says so.

use serde_json::json;
use steward_adapters::chain::{Action, Chain as _, Consistency, TransactionStatus};
use steward_adapters_evm::{Finality, Mining};

use crate::{anvil, chain, rpc};

/// Anvil calls a block final that has two epochs of 32 blocks on it.
const BLOCKS_TO_FINAL: u64 = 64;

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
}
