//! JSON-RPC over HTTP as the client's transport: one question, one answer, and the answer must be to that question.
//!
//! The client's own takes whatever answer comes, and waits by itself where an endpoint throttles; others could be asked
//! meanwhile.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use reqwest::{Client, Response, StatusCode, redirect};
use serde::Deserialize;
use serde_json::Value;
use solana_client::client_error::{ClientError, ClientErrorKind, Result};
use solana_client::rpc_request::{RpcError, RpcRequest, RpcResponseErrorData};
use solana_client::rpc_sender::{RpcSender, RpcTransportStats};
use steward_adapters::endpoint::{AnswerBody, AnswerTooLong, request_sent, retry_after};
use steward_types::limits::CHAIN_CALL_TIME_MAX;
use thiserror::Error;
use url::Url;

/// The error code by which providers say that they were asked too often: that of HTTP.
const TOO_MANY_REQUESTS: i64 = 429;

/// Sends to one endpoint.
#[derive(Debug)]
pub(crate) struct Sender {
    client: Client,
    endpoint: Url,
    /// The number of the next request.
    next: AtomicU64,
}

/// The endpoint asks to be left alone for a while.
#[derive(Debug, Error)]
#[error("the endpoint throttles: {reason}")]
pub(crate) struct Throttled {
    /// How long it asks for; nothing when it does not say.
    pub retry_after: Option<Duration>,
    /// What it said.
    pub reason: String,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    id: Value,
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    message: String,
}

impl Sender {
    /// The endpoint at this address. Does not connect.
    pub(crate) fn new(endpoint: Url) -> Self {
        let client = Client::builder()
            .timeout(CHAIN_CALL_TIME_MAX)
            .connect_timeout(CHAIN_CALL_TIME_MAX / 2)
            .redirect(redirect::Policy::none())
            .build()
            .expect("a client without roots of its own is made");
        Self { client, endpoint, next: AtomicU64::new(1) }
    }

    async fn answer(&self, id: u64, request: RpcRequest, parameters: Value) -> Result<Value> {
        let body = request.build_request_json(id, parameters);
        request_sent();
        let response = self.client.post(self.endpoint.clone()).json(&body).send().await.map_err(unreachable)?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = read(response).await?;
        if status == StatusCode::TOO_MANY_REQUESTS {
            return Err(throttled(retry_after, &String::from_utf8_lossy(&body)));
        }
        match serde_json::from_slice(&body) {
            // Who could not read the question answers with an error and no number.
            Ok(Answer { id: found, error, .. }) if found != id && !(found.is_null() && error.is_some()) => {
                Err(unserved("the answer is one to another question".to_owned()))
            }
            Ok(Answer { error: Some(Refusal { code: TOO_MANY_REQUESTS, message }), .. }) => {
                Err(throttled(retry_after, &message))
            }
            Ok(Answer { error: Some(Refusal { code, message }), .. }) => {
                Err(ClientErrorKind::from(RpcError::RpcResponseError {
                    code,
                    message,
                    data: RpcResponseErrorData::Empty,
                })
                .into())
            }
            Ok(Answer { result, .. }) if status.is_success() => Ok(result),
            Ok(_) => Err(unserved(format!("the endpoint answered with the HTTP status {status}"))),
            Err(_) if !status.is_success() => {
                Err(unserved(format!("the endpoint answered with the HTTP status {status}")))
            }
            Err(error) => Err(ClientErrorKind::from(error).into()),
        }
    }
}

#[async_trait]
impl RpcSender for Sender {
    async fn send(&self, request: RpcRequest, parameters: Value) -> Result<Value> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.answer(id, request, parameters).await
    }

    fn get_transport_stats(&self) -> RpcTransportStats {
        RpcTransportStats::default()
    }

    fn url(&self) -> String {
        self.endpoint.to_string()
    }
}

/// The answer's body, up to its bound.
async fn read(mut response: Response) -> Result<Vec<u8>> {
    let mut body = AnswerBody::announced(response.content_length()).map_err(endless)?;
    while let Some(piece) = response.chunk().await.map_err(unreachable)? {
        body.push(&piece).map_err(endless)?;
    }
    Ok(body.into_bytes())
}

fn endless(error: AnswerTooLong) -> ClientError {
    ClientErrorKind::from(io::Error::other(error)).into()
}

fn throttled(retry_after: Option<Duration>, said: &str) -> ClientError {
    let reason = said.chars().take(200).collect();
    ClientErrorKind::from(io::Error::other(Throttled { retry_after, reason })).into()
}

/// The error without the endpoint's address, which may hold a provider's key and would end up in logs.
fn unreachable(error: reqwest::Error) -> ClientError {
    ClientErrorKind::from(io::Error::other(error.without_url())).into()
}

fn unserved(reason: String) -> ClientError {
    ClientErrorKind::Custom(reason).into()
}
