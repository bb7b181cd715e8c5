//! Endpoints that lag, have forgotten or never end: what they do not know is not taken for what did not happen.

use std::sync::Arc;

use serde_json::{Value, json};
use solana_signature::Signature;
use steward_adapters::chain::{Amount, Chain as _, ChainError, SignedTransaction, TransactionStatus};
use steward_adapters::fee::Fee;
use steward_adapters_solana::{SolanaChain, SolanaConfig};
use steward_types::limits::{SOLANA_EXPIRY_MARGIN, SOLANA_LIFETIME};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::cluster::key;

/// A transaction that can land up to this block height.
const EXPIRES: u64 = 10_000;
/// The block whose hash it names.
const SIGNED: u64 = EXPIRES - SOLANA_LIFETIME - SOLANA_EXPIRY_MARGIN;

/// What an endpoint claims.
#[derive(Debug, Clone, Copy)]
struct Claims {
    /// The height and the slot of its newest final block.
    finalized: (u64, u64),
    /// The slot as of which it looks for transactions.
    looks_at: u64,
    /// The slot of the oldest block that it has, and that block's height.
    oldest: (u64, u64),
}

impl Claims {
    fn answer(self, method: &str) -> Value {
        match method {
            "getSignatureStatuses" => json!({ "context": { "slot": self.looks_at }, "value": [null] }),
            "getEpochInfo" => json!({
                "epoch": 1, "slotIndex": 1, "slotsInEpoch": 432_000, "transactionCount": 1,
                "absoluteSlot": self.finalized.1, "blockHeight": self.finalized.0,
            }),
            "getFirstAvailableBlock" => json!(self.oldest.0),
            "getBlock" => json!({
                "previousBlockhash": "1", "blockhash": "1", "parentSlot": 0, "blockTime": null,
                "blockHeight": self.oldest.1,
            }),
            other => panic!("{other} is not asked for"),
        }
    }
}

/// What the driver makes of an endpoint that never saw the transaction and claims this.
async fn status(claims: Claims) -> Result<TransactionStatus, ChainError> {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let config = SolanaConfig { chain: format!("solana:{}", "1".repeat(32)).parse().unwrap(), endpoint, units_max: 1 };
    let chain = SolanaChain::new(config, Arc::new(key(1))).unwrap();
    let transaction = SignedTransaction {
        bytes: Vec::new().into(),
        hash: Signature::from([1; 64]).to_string(),
        sequence: 0,
        expires: Some(EXPIRES),
        fee: Fee::default(),
        fee_max: None,
        deposit: Amount::ZERO,
        creates: None,
    };
    tokio::select! {
        () = serve_all(listener, claims) => unreachable!(),
        status = chain.status(&transaction) => status,
    }
}

async fn serve_all(listener: TcpListener, claims: Claims) {
    loop {
        serve(listener.accept().await.unwrap().0, claims).await;
    }
}

/// Answers the requests of one connection.
async fn serve(mut stream: TcpStream, claims: Claims) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
        let text = String::from_utf8_lossy(&bytes);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(request) = serde_json::from_str::<Value>(body) else { continue };
        let result = claims.answer(request["method"].as_str().unwrap());
        let body = json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        bytes.clear();
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_transaction_has_expired_only_where_the_endpoint_would_know_it() {
    let good = Claims { finalized: (EXPIRES, 20_000), looks_at: 20_031, oldest: (SIGNED, SIGNED - 7) };
    assert_eq!(status(good).await.unwrap(), TransactionStatus::Expired);
    let too_early = Claims { finalized: (EXPIRES - 1, 19_999), ..good };
    assert_eq!(status(too_early).await.unwrap(), TransactionStatus::Unknown);
    let by_height = Claims { oldest: (15_000, SIGNED), ..good };
    assert_eq!(status(by_height).await.unwrap(), TransactionStatus::Expired, "slots without blocks do not count");
    let lagging = status(Claims { looks_at: 19_000, ..good }).await.unwrap_err();
    assert!(matches!(lagging, ChainError::Behind { block: 20_000, .. }), "{lagging}");
    let forgetful = status(Claims { oldest: (15_000, SIGNED + 1), ..good }).await.unwrap_err();
    assert!(matches!(forgetful, ChainError::Unavailable { .. }), "{forgetful}");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_and_held_against_its_endpoint() {
    let chain = |url: &Url| {
        let id = format!("solana:{}", "1".repeat(32)).parse().unwrap();
        let config = SolanaConfig { chain: id, endpoint: url.clone(), units_max: 1 };
        Arc::new(SolanaChain::new(config, Arc::new(key(1))).unwrap()) as _
    };
    steward_chaos_chains::check_endless(chain).await;
}
