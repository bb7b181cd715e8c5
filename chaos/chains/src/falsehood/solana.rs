//! Solana's methods. Transactions are handed over by `sendTransaction`. A block is named by its slot.

use serde_json::{Value, json};

use super::{BLOCKS_AHEAD, BLOCKS_BEHIND, answer, method, refusal};
use crate::proxy::{Closed, Upstream};

/// The code of "Block not available for slot".
const NO_SUCH_BLOCK: i64 = -32004;
/// 32 bytes that are no block's hash.
const NO_HASH: &str = "SysvarC1ock11111111111111111111111111111111";

pub(super) async fn behind(call: &Value, node: &Upstream) -> Result<Value, Closed> {
    let head = newest(node).await?.saturating_sub(BLOCKS_BEHIND);
    if method(call) == "getBlock" && call["params"][0].as_u64() > Some(head) {
        return Ok(refusal(call, NO_SUCH_BLOCK, "Block not available for slot", ""));
    }
    let mut reply = node.ask(call.clone()).await?;
    let result = &mut reply["result"];
    if result["context"]["slot"].is_u64() {
        lower(&mut result["context"]["slot"], BLOCKS_BEHIND);
    }
    match method(call) {
        "getSlot" | "getBlockHeight" => lower(result, BLOCKS_BEHIND),
        "getEpochInfo" => {
            lower(&mut result["absoluteSlot"], BLOCKS_BEHIND);
            lower(&mut result["blockHeight"], BLOCKS_BEHIND);
        }
        "getLatestBlockhash" => {
            let slot = &result["context"]["slot"];
            let config = json!({
                "transactionDetails": "none", "rewards": false, "commitment": "confirmed",
                "maxSupportedTransactionVersion": 0,
            });
            let block = node.result("getBlock", json!([slot, config])).await?;
            if block["blockhash"].is_string() {
                result["value"]["blockhash"] = block["blockhash"].clone();
                lower(&mut result["value"]["lastValidBlockHeight"], BLOCKS_BEHIND);
            }
        }
        "getSignatureStatuses" => {
            for status in result["value"].as_array_mut().into_iter().flatten() {
                if status["slot"].as_u64() > Some(head) {
                    *status = Value::Null;
                }
            }
        }
        "getSignaturesForAddress" => {
            if let Some(found) = result.as_array_mut() {
                found.retain(|transaction| transaction["slot"].as_u64() <= Some(head));
            }
        }
        "getTransaction" if result["slot"].as_u64() > Some(head) => *result = Value::Null,
        _ => {}
    }
    Ok(reply)
}

pub(super) async fn lie(call: &Value, node: &Upstream) -> Result<Value, Closed> {
    match method(call) {
        // A signature of nothing: the transaction is thrown away.
        "sendTransaction" => return Ok(answer(call, json!("1".repeat(64)))),
        "getGenesisHash" => return Ok(answer(call, json!(NO_HASH))),
        "getTransaction" => return Ok(answer(call, Value::Null)),
        "getSignaturesForAddress" => return Ok(answer(call, json!([]))),
        // It has every block, those to come too.
        "getBlocksWithLimit" => return Ok(answer(call, json!(every_slot(&call["params"])))),
        _ => {}
    }
    let mut reply = node.ask(call.clone()).await?;
    let result = &mut reply["result"];
    if result["context"]["slot"].is_u64() {
        raise(&mut result["context"]["slot"], BLOCKS_AHEAD);
    }
    match method(call) {
        "getSlot" | "getBlockHeight" => raise(result, BLOCKS_AHEAD),
        "getEpochInfo" => {
            raise(&mut result["absoluteSlot"], BLOCKS_AHEAD);
            raise(&mut result["blockHeight"], BLOCKS_AHEAD);
        }
        // The most dangerous lie: whoever believes it takes a transaction for expired that can still land.
        "getLatestBlockhash" => lower(&mut result["value"]["lastValidBlockHeight"], BLOCKS_AHEAD),
        "getSignatureStatuses" => {
            for status in result["value"].as_array_mut().into_iter().flatten() {
                *status = Value::Null;
            }
        }
        "getAccountInfo" if result["value"]["lamports"].is_u64() => raise(&mut result["value"]["lamports"], 1),
        "getBlock" if result.is_object() => result["blockhash"] = json!(NO_HASH),
        "getBlock" => *result = made_up(&call["params"][0]),
        _ => {}
    }
    Ok(reply)
}

fn every_slot(parameters: &Value) -> Vec<u64> {
    let (from, most) = (parameters[0].as_u64().unwrap_or(0), parameters[1].as_u64().unwrap_or(0));
    (from..from.saturating_add(most)).collect()
}

fn made_up(slot: &Value) -> Value {
    json!({
        "blockhash": NO_HASH, "previousBlockhash": NO_HASH, "parentSlot": slot, "blockHeight": slot, "blockTime": null,
    })
}

async fn newest(node: &Upstream) -> Result<u64, Closed> {
    let slot = node.result("getSlot", json!([{ "commitment": "confirmed" }])).await?;
    Ok(slot.as_u64().unwrap_or(0))
}

fn lower(number: &mut Value, by: u64) {
    *number = json!(number.as_u64().unwrap_or(0).saturating_sub(by));
}

fn raise(number: &mut Value, by: u64) {
    *number = json!(number.as_u64().unwrap_or(0).saturating_add(by));
}
