//! False answers: of a node that is behind, and of one that lies. Both are consistent in themselves, so that only other
//! nodes can tell.

use serde_json::{Value, json};

/// How many blocks a node is behind.
pub const BLOCKS_BEHIND: u64 = 20;
/// How many blocks a liar is ahead.
const BLOCKS_AHEAD: u64 = 1_000;
/// How many transactions a liar invents.
const TRANSACTIONS_MORE: u64 = 7;

/// What a node answers that is [`BLOCKS_BEHIND`] blocks behind.
pub async fn behind<F: Future<Output = Value>>(call: &Value, forward: impl Fn(Value) -> F) -> Value {
    let head = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": [] });
    let head = number(&forward(head).await["result"]).saturating_sub(BLOCKS_BEHIND);
    let mut call = call.clone();
    let mut is_beyond = false;
    for parameter in call["params"].as_array_mut().into_iter().flatten() {
        match parameter.as_str() {
            Some("latest" | "pending") => *parameter = json!(hex(head)),
            Some(tag) if tag.len() < 20 && tag.starts_with("0x") => is_beyond |= number(parameter) > head,
            _ => {}
        }
    }
    match call["method"].as_str().unwrap_or_default() {
        "eth_blockNumber" => answer(&call, json!(hex(head))),
        method if is_beyond && method != "eth_feeHistory" => {
            json!({ "jsonrpc": "2.0", "id": call["id"], "error": { "code": -32000, "message": "header not found" } })
        }
        "eth_getTransactionReceipt" | "eth_getTransactionByHash" => {
            let mut reply = forward(call).await;
            if number(&reply["result"]["blockNumber"]) > head {
                reply["result"] = Value::Null;
            }
            reply
        }
        _ => forward(call).await,
    }
}

/// What a liar answers.
pub async fn lie<F: Future<Output = Value>>(call: &Value, forward: impl Fn(Value) -> F) -> Value {
    let method = call["method"].as_str().unwrap_or_default();
    if method == "eth_sendRawTransaction" {
        return answer(call, json!(format!("0x{}", "00".repeat(32))));
    }
    let mut reply = forward(call.clone()).await;
    let result = &mut reply["result"];
    match method {
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
    reply
}

fn answer(call: &Value, result: Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": call["id"], "result": result })
}

fn hex(number: u64) -> String {
    format!("0x{number:x}")
}

fn number(value: &Value) -> u64 {
    u64::try_from(wide(value)).unwrap()
}

fn wide(value: &Value) -> u128 {
    value.as_str().map_or(0, |text| u128::from_str_radix(text.trim_start_matches("0x"), 16).unwrap())
}
