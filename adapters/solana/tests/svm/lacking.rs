//! What endpoints leave out, or say of what they lack: it is taken for their failure, and not for what the chain says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use solana_signature::Signature;
use steward_adapters::chain::{Chain as _, ChainError, Consistency, InclusionClaim};
use steward_adapters::conformance::point;
use steward_adapters::fee::Fee;
use steward_adapters::signer::Signer as _;
use steward_adapters_solana::SolanaChain;

use crate::cluster::{key, payment};
use crate::endpoint::{GENESIS, asked, is_unavailable, newest};

const TOKEN_PROGRAM: &str = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA";
const MINT: &str = "7o36UsWR1JQLpZ9PE2gn9L4SQ69CNNiWAXd4Jt7rqz9Z";
const INVALID_PARAMETERS: i64 = -32602;

#[tokio::test]
async fn a_node_without_the_block_that_another_named_refuses_nothing() {
    let simulated = |error: Value| {
        move |method: &str, parameters: &Value| match method {
            "getLatestBlockhash" => Ok(newest(500)),
            "simulateTransaction" if parameters[1]["minContextSlot"] == 500 => Ok(json!({
                "context": { "slot": 500 },
                "value": { "err": error, "logs": [], "accounts": null, "unitsConsumed": 0, "returnData": null },
            })),
            other => panic!("{other} is not asked for with {parameters}"),
        }
    };
    let pay = payment(key(2).address(), 1, None);
    let sign = async |chain: &SolanaChain| chain.sign(&pay, 0, Fee::default()).await;
    is_unavailable(asked(simulated(json!("BlockhashNotFound")), sign).await);
    let refused = asked(simulated(json!("AccountNotFound")), sign).await.unwrap_err();
    assert!(matches!(refused, ChainError::Rejected { .. }), "{refused}");
    assert!(asked(simulated(Value::Null), sign).await.is_ok());
}

#[tokio::test]
async fn an_anchor_that_is_listed_and_not_there_is_not_passed_over() {
    let memo = point(3, 3).to_memo();
    let listed = json!([{
        "signature": Signature::from([7; 64]).to_string(), "slot": 1, "err": null,
        "memo": format!("[{}] {memo}", memo.len()),
    }]);
    let answer = |method: &str, _: &Value| match method {
        "getSignaturesForAddress" => Ok(listed.clone()),
        "getTransaction" => Ok(Value::Null),
        other => panic!("{other} is not asked for"),
    };
    is_unavailable(asked(answer, async |chain| chain.read_anchor("", &[7; 32]).await).await);
    let claim = InclusionClaim { log_id: [7; 32], leaf_hash: [0; 32], index: 0, path: Vec::new() };
    is_unavailable(asked(answer, async |chain| chain.verify_inclusion("", &claim).await).await);
}

#[tokio::test]
async fn an_endpoint_that_calls_a_question_invalid_has_failed() {
    let answer = |_: &str, _: &Value| Err(INVALID_PARAMETERS);
    is_unavailable(asked(answer, async |chain| chain.read_anchor("", &[7; 32]).await).await);
    let balance = async |chain: &SolanaChain| chain.balance(key(2).address(), None, Consistency::Final).await;
    is_unavailable(asked(answer, balance).await);
}

#[tokio::test]
async fn coins_at_the_address_of_a_token_account_are_no_tokens() {
    let mut mint = [0; 82];
    mint[45] = 1;
    let account = |owner: &str, data: &[u8]| {
        json!({
            "lamports": 1_000_000, "owner": owner, "data": [BASE64.encode(data), "base64"], "executable": false,
            "rentEpoch": 0, "space": data.len(),
        })
    };
    let kept_by = |program: &'static str| {
        move |method: &str, parameters: &Value| {
            assert_eq!(method, "getAccountInfo");
            let found = if parameters[0] == MINT { account(program, &mint) } else { account(GENESIS, &[]) };
            Ok(json!({ "context": { "slot": 1 }, "value": found }))
        }
    };
    let balance = async |chain: &SolanaChain| chain.balance(key(2).address(), Some(MINT), Consistency::Final).await;
    assert_eq!(asked(kept_by(TOKEN_PROGRAM), balance).await.unwrap().units(), 0);
    let refused = asked(kept_by(GENESIS), balance).await.unwrap_err();
    assert!(matches!(&refused, ChainError::Rejected { reason } if reason.contains("is not a mint")), "{refused}");
}
