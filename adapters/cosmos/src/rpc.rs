//! CometBFT's JSON-RPC over HTTP: one request, one answer. Knows nothing of transactions, and never asks twice.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use steward_adapters::endpoint::{AnswerBody, AnswerTooLong, request_sent, retry_after};
use steward_types::limits::CHAIN_CALL_TIME_MAX;
use thiserror::Error;
use url::Url;

/// One endpoint.
#[derive(Debug)]
pub struct Rpc {
    client: Client,
    endpoint: Url,
    /// The number of the next request.
    next: AtomicU64,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum RpcError {
    /// The endpoint cannot be reached, or was too slow, or what came was cut short.
    #[error("the endpoint cannot be reached")]
    Unreachable(#[source] reqwest::Error),
    /// It asks to be left alone for a while.
    #[error("the endpoint throttles")]
    Throttled {
        /// How long it asks for; nothing when it does not say.
        retry_after: Option<Duration>,
    },
    /// It does not end its answer.
    #[error("the endpoint does not end its answer")]
    TooLong(#[source] AnswerTooLong),
    /// It answered with an HTTP status and no JSON-RPC.
    #[error("the endpoint answered with the HTTP status {0}")]
    Status(StatusCode),
    /// The node says no.
    #[error("the node says: {message}")]
    Refused {
        /// What it said: the error's message and its data.
        message: String,
    },
    /// The answer is not what the method gives.
    #[error("the answer to {method} cannot be read: {reason}")]
    Malformed {
        /// What was asked.
        method: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// An answer: of `result` and `error` there is one.
#[derive(Deserialize)]
struct Answer {
    /// The request's number.
    #[serde(default)]
    id: Value,
    result: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    message: String,
    #[serde(default)]
    data: String,
}

impl Rpc {
    /// The endpoint at this address. Does not connect.
    ///
    /// # Errors
    /// The client's, which needs TLS roots.
    pub fn new(endpoint: Url) -> reqwest::Result<Self> {
        let client = Client::builder()
            .timeout(CHAIN_CALL_TIME_MAX)
            .connect_timeout(CHAIN_CALL_TIME_MAX / 2)
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self { client, endpoint, next: AtomicU64::new(1) })
    }

    /// Calls a method, within `CHAIN_CALL_TIME_MAX`.
    pub async fn call<T: DeserializeOwned>(&self, method: &'static str, parameters: Value) -> Result<T, RpcError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": parameters });
        request_sent();
        let response = self.client.post(self.endpoint.clone()).json(&request).send().await;
        let response = response.map_err(|error| RpcError::Unreachable(error.without_url()))?;
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(RpcError::Throttled { retry_after: retry_after(response.headers()) });
        }
        let body = read(response).await?;
        // A node sends some refusals with a status of 500; a proxy in front of it sends no JSON-RPC.
        let malformed = |error: serde_json::Error| RpcError::Malformed { method, reason: error.to_string() };
        let other = || RpcError::Malformed { method, reason: "it is the answer to another question".to_owned() };
        match serde_json::from_slice(&body) {
            // Who could not read the question answers with an error and another number, or none.
            Ok(Answer { id: found, error: None, .. }) if found != id => Err(other()),
            Ok(Answer { id: found, error: Some(_), .. }) if found.as_u64().is_some_and(|found| found != id) => {
                Err(other())
            }
            Ok(Answer { error: Some(Refusal { message, data }), .. }) => {
                Err(RpcError::Refused { message: format!("{message}: {data}") })
            }
            Ok(Answer { result: Some(result), .. }) => serde_json::from_value(result).map_err(malformed),
            _ if !status.is_success() => Err(RpcError::Status(status)),
            Ok(_) => Err(RpcError::Malformed { method, reason: "it has neither result nor error".to_owned() }),
            Err(error) => Err(malformed(error)),
        }
    }
}

/// The answer's body, up to its bound.
async fn read(mut response: Response) -> Result<Vec<u8>, RpcError> {
    let mut body = AnswerBody::announced(response.content_length()).map_err(RpcError::TooLong)?;
    while let Some(piece) = response.chunk().await.map_err(|error| RpcError::Unreachable(error.without_url()))? {
        body.push(&piece).map_err(RpcError::TooLong)?;
    }
    Ok(body.into_bytes())
}
