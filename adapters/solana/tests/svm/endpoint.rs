//! An endpoint that answers what a test makes up, and what the driver makes of one whose answers never end.

use std::fmt::Debug;
use std::sync::Arc;

use serde_json::{Value, json};
use steward_adapters::chain::ChainError;
use steward_adapters_solana::{SolanaChain, SolanaConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

use crate::cluster::key;

/// What an endpoint answers: the result, or an error's code.
pub type Answer = Result<Value, i64>;

/// The first block's hash of the cluster that such an endpoint is on.
pub const GENESIS: &str = "11111111111111111111111111111111";

/// What the question gets from a driver whose endpoint answers this to a method with its parameters.
pub async fn asked<T>(answer: impl Fn(&str, &Value) -> Answer, question: impl AsyncFnOnce(&SolanaChain) -> T) -> T {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    let chain = chain(&endpoint);
    tokio::select! {
        () = serve_all(listener, &answer) => unreachable!(),
        answer = question(&chain) => answer,
    }
}

/// The newest block, as such an endpoint tells it.
pub fn newest(slot: u64) -> Value {
    json!({ "context": { "slot": slot }, "value": { "blockhash": GENESIS, "lastValidBlockHeight": 150 } })
}

pub fn is_unavailable<T: Debug>(answer: Result<T, ChainError>) {
    assert!(matches!(answer, Err(ChainError::Unavailable { .. })), "{answer:?}");
}

fn chain(endpoint: &Url) -> SolanaChain {
    let id = format!("solana:{GENESIS}").parse().unwrap();
    let config = SolanaConfig { chain: id, endpoint: endpoint.clone(), units_max: 400_000 };
    SolanaChain::new(config, Arc::new(key(1))).unwrap()
}

async fn serve_all(listener: TcpListener, answer: &impl Fn(&str, &Value) -> Answer) {
    loop {
        serve(listener.accept().await.unwrap().0, answer).await;
    }
}

/// Answers the one request of a connection: several may be asked at a time.
async fn serve(mut stream: TcpStream, answer: &impl Fn(&str, &Value) -> Answer) {
    let mut bytes = Vec::new();
    while stream.read_buf(&mut bytes).await.unwrap_or(0) > 0 {
        let text = String::from_utf8_lossy(&bytes);
        let Some((_, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(request) = serde_json::from_str::<Value>(body) else { continue };
        let mut reply = json!({ "jsonrpc": "2.0", "id": request["id"] });
        match answer(request["method"].as_str().unwrap(), &request["params"]) {
            Ok(result) => reply["result"] = result,
            Err(code) => reply["error"] = json!({ "code": code, "message": "made up" }),
        }
        let body = reply.to_string();
        let head = format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        return;
    }
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_and_held_against_its_endpoint() {
    steward_chaos_chains::check_endless(|url: &Url| Arc::new(chain(url)) as _).await;
}
