//! `steward receipts prove --for-contract`: a receipt with its place in the log as contracts on EVM chains take them, so
//! that whoever calls one has nothing to encode. It says no more than the proof file, and is checked by the contract.

use anyhow::{Context as _, ensure};
use serde_json::json;
use steward_api::proto::v1;

use super::super::Session;

/// What a contract wants to know of a receipt, under the newest root that the chain has: JSON, bytes as `0x…`.
///
/// # Errors
/// What the node refused; that the chain's anchors are in no contract.
pub async fn of(session: &Session, id: &str, chain: &str) -> anyhow::Result<String> {
    let request = v1::ProveReceiptRequest {
        id: id.to_owned(),
        tree_size: 0,
        project: session.project.clone(),
        chain: chain.to_owned(),
        newest: true,
    };
    written(&session.client.receipts().prove(request).await?.into_inner(), chain)
}

fn written(proof: &v1::ProveReceiptResponse, chain: &str) -> anyhow::Result<String> {
    let anchor = proof.anchors.first().with_context(|| format!("the proof names no anchor on {chain}"))?;
    ensure!(!anchor.contract.is_empty(), "anchors on {chain} are memos: it has no contract to ask about a receipt");
    let receipt = proof.receipt.as_ref().context("the node gave a proof without its receipt")?;
    let origin = proof.checkpoint.lines().next().context("the node gave a proof without its checkpoint")?;
    let text = json!({
        "chain": chain,
        "log": anchor.contract,
        "account": anchor.account,
        "log_id": prefixed(steward_receipts::log_id(origin).as_bytes()),
        "tree_size": proof.tree_size,
        "leaf": prefixed(&proof.leaf),
        "leaf_hash": format!("0x{}", receipt.leaf_hash),
        "index": proof.leaf_index,
        "path": proof.path.iter().map(|hash| prefixed(hash)).collect::<Vec<_>>(),
        "prompt_hash": format!("0x{}", receipt.prompt_hash),
        "model_hash": format!("0x{:0>64}", receipt.model_hash),
    });
    Ok(serde_json::to_string_pretty(&text)? + "\n")
}

fn prefixed(bytes: &[u8]) -> String {
    format!("0x{}", hex::encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_written_as_contracts_take_it() {
        let receipt = v1::Receipt {
            leaf_hash: "ab".repeat(32),
            prompt_hash: "cd".repeat(32),
            model_hash: String::new(),
            ..Default::default()
        };
        let anchor = v1::Anchor { contract: "0x5f".to_owned(), account: "0xf3".to_owned(), ..Default::default() };
        let proof = v1::ProveReceiptResponse {
            receipt: Some(receipt),
            leaf: vec![1, 2],
            leaf_index: 4,
            tree_size: 5,
            path: vec![vec![7; 32]],
            checkpoint: "log\n5\n".to_owned(),
            anchors: vec![anchor],
            ..Default::default()
        };
        let text: serde_json::Value = serde_json::from_str(&written(&proof, "eip155:1").unwrap()).unwrap();
        let log_id = prefixed(steward_receipts::log_id("log").as_bytes());
        let expected = json!({
            "chain": "eip155:1", "log": "0x5f", "account": "0xf3", "log_id": log_id, "tree_size": 5, "leaf": "0x0102",
            "leaf_hash": format!("0x{}", "ab".repeat(32)), "index": 4, "path": [format!("0x{}", "07".repeat(32))],
            "prompt_hash": format!("0x{}", "cd".repeat(32)), "model_hash": format!("0x{}", "00".repeat(32)),
        });
        assert_eq!(text, expected);
        let memo = v1::ProveReceiptResponse { anchors: vec![v1::Anchor::default()], ..proof };
        assert!(written(&memo, "cosmos:wasm-1").unwrap_err().to_string().contains("memos"));
    }
}
