//! CometBFT's methods, and the application's queries in `abci_query`. Transactions are handed over by
//! `broadcast_tx_sync`. Numbers of 64 bits are strings.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{BLOCKS_AHEAD, BLOCKS_BEHIND, answer, method, refusal};
use crate::proxy::{Closed, Upstream};

/// The SDK's code of a query about a block that is not there yet (`types/errors/errors.go`).
const INVALID_HEIGHT: u32 = 26;

pub(super) async fn behind(call: &Value, node: &Upstream) -> Result<Value, Closed> {
    let head = newest(node).await?.saturating_sub(BLOCKS_BEHIND).max(1);
    let mut call = call.clone();
    match method(&call) {
        "status" => status_at(head, call, node).await,
        "abci_query" if !is_simulation(&call) => {
            let height = number(&call["params"]["height"]);
            if height > head {
                let response = json!({ "code": INVALID_HEIGHT, "codespace": "sdk", "log": "invalid height" });
                return Ok(answer(&call, json!({ "response": response })));
            }
            if height == 0 {
                call["params"]["height"] = json!(head.to_string());
            }
            node.ask(call).await
        }
        "tx" => {
            let reply = node.ask(call.clone()).await?;
            Ok(if number(&reply["result"]["height"]) > head { unknown(&call) } else { reply })
        }
        "tx_search" => {
            let mut reply = node.ask(call).await?;
            if let Some(found) = reply["result"]["txs"].as_array_mut() {
                found.retain(|transaction| number(&transaction["height"]) <= head);
                reply["result"]["total_count"] = json!(found.len().to_string());
            }
            Ok(reply)
        }
        "blockchain" if number(&call["params"]["minHeight"]) > head => {
            Ok(refusal(&call, -32603, "Internal error", "min height is above the newest block"))
        }
        _ => node.ask(call).await,
    }
}

pub(super) async fn lie(call: &Value, node: &Upstream) -> Result<Value, Closed> {
    match method(call) {
        "broadcast_tx_sync" => {
            return Ok(answer(call, json!({ "code": 0, "codespace": "", "log": "", "hash": "00".repeat(32) })));
        }
        "tx" => return Ok(unknown(call)),
        "tx_search" => return Ok(answer(call, json!({ "txs": [], "total_count": "0" }))),
        "unconfirmed_txs" => return Ok(answer(call, json!({ "n_txs": "0", "total": "0", "txs": [] }))),
        _ => {}
    }
    let mut reply = node.ask(call.clone()).await?;
    let result = &mut reply["result"];
    match method(call) {
        "status" => {
            let ahead = number(&result["sync_info"]["latest_block_height"]) + BLOCKS_AHEAD;
            result["sync_info"]["latest_block_height"] = json!(ahead.to_string());
            result["sync_info"]["latest_block_hash"] = json!("11".repeat(32));
        }
        "blockchain" => {
            for block in result["block_metas"].as_array_mut().into_iter().flatten() {
                block["block_id"]["hash"] = json!("11".repeat(32));
            }
        }
        "abci_query" if !is_simulation(call) => {
            let value = &mut result["response"]["value"];
            if let Some(other) = value.as_str().and_then(other_value) {
                *value = json!(other);
            }
        }
        _ => {}
    }
    Ok(reply)
}

/// The answer with its last byte changed, which is the last digit of a balance, and a byte of a sequence number.
fn other_value(value: &str) -> Option<String> {
    let mut bytes = STANDARD.decode(value).ok()?;
    let last = bytes.last_mut()?;
    *last = match *last {
        b'9' => b'8',
        0x7f.. => 0x7e,
        other => other + 1,
    };
    Some(STANDARD.encode(bytes))
}

async fn status_at(head: u64, call: Value, node: &Upstream) -> Result<Value, Closed> {
    let height = head.to_string();
    let blocks = node.result("blockchain", json!({ "minHeight": height, "maxHeight": height })).await?;
    let mut reply = node.ask(call).await?;
    let sync = &mut reply["result"]["sync_info"];
    sync["latest_block_height"] = json!(height);
    sync["latest_block_hash"] = blocks["block_metas"][0]["block_id"]["hash"].clone();
    Ok(reply)
}

async fn newest(node: &Upstream) -> Result<u64, Closed> {
    Ok(number(&node.result("status", json!({})).await?["sync_info"]["latest_block_height"]))
}

/// A simulation runs on what the node has now, whatever it says of its height.
fn is_simulation(call: &Value) -> bool {
    call["params"]["path"].as_str().is_some_and(|path| path.ends_with("/Simulate"))
}

fn unknown(call: &Value) -> Value {
    refusal(call, -32603, "Internal error", "tx not found")
}

fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or(0)
}
