//! Ethereum's methods. Transactions are handed over by `eth_sendRawTransaction`.

use serde_json::{Value, json};

use super::{BLOCKS_AHEAD, BLOCKS_BEHIND, answer, method, refusal};
use crate::proxy::{Closed, Upstream};

/// How many transactions a liar invents.
const TRANSACTIONS_MORE: u64 = 7;

pub(super) async fn behind(call: &Value, node: &Upstream) -> Result<Value, Closed> {
    let head = number(&node.result("eth_blockNumber", json!([])).await?).saturating_sub(BLOCKS_BEHIND);
    let mut call = call.clone();
    let mut is_beyond = false;
    for parameter in call["params"].as_array_mut().into_iter().flatten() {
        match parameter.as_str() {
            Some("latest" | "pending") => *parameter = json!(hex(head)),
            Some(tag) if tag.len() < 20 && tag.starts_with("0x") => is_beyond |= number(parameter) > head,
            _ => {}
        }
    }
    match method(&call) {
        "eth_blockNumber" => Ok(answer(&call, json!(hex(head)))),
        "eth_feeHistory" => node.ask(call).await,
        _ if is_beyond => Ok(refusal(&call, -32000, "header not found", "")),
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => {
            let mut reply = node.ask(call).await?;
            if number(&reply["result"]["blockNumber"]) > head {
                reply["result"] = Value::Null;
            }
            Ok(reply)
        }
        _ => node.ask(call).await,
    }
}

pub(super) async fn lie(call: &Value, node: &Upstream) -> Result<Value, Closed> {
    if method(call) == "eth_sendRawTransaction" {
        return Ok(answer(call, json!(format!("0x{}", "00".repeat(32)))));
    }
    let mut reply = node.ask(call.clone()).await?;
    let result = &mut reply["result"];
    match method(call) {
        "eth_getBalance" => *result = json!(format!("0x{:x}", wide(result) + 1)),
        "eth_getTransactionCount" => *result = json!(hex(number(result) + TRANSACTIONS_MORE)),
        "eth_blockNumber" => *result = json!(hex(number(result) + BLOCKS_AHEAD)),
        "eth_getBlockByNumber" if result.is_object() => {
            result["hash"] = json!(format!("0x{}", "11".repeat(32)));
            if call["params"][0] == "latest" {
                result["number"] = json!(hex(number(&result["number"]) + BLOCKS_AHEAD));
            }
        }
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => *result = Value::Null,
        "eth_call" => {
            if let Some(text) = result.as_str().filter(|text| text.len() > 2) {
                let last = if text.ends_with('0') { "1" } else { "0" };
                *result = json!(format!("{}{last}", &text[..text.len() - 1]));
            }
        }
        _ => {}
    }
    Ok(reply)
}

fn hex(number: u64) -> String {
    format!("0x{number:x}")
}

fn number(value: &Value) -> u64 {
    u64::try_from(wide(value)).unwrap_or(u64::MAX)
}

fn wide(value: &Value) -> u128 {
    value.as_str().map_or(0, |text| u128::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0))
}
