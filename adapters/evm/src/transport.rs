//! JSON-RPC over HTTP as alloy's transport: one question, one answer, and the answer must be to that question.
//!
//! alloy's own takes whatever answer comes, and forgets `Retry-After` when a refusal is written in JSON-RPC.

use std::task::{Context, Poll};

use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use reqwest::{Client, Response, StatusCode, redirect};
use steward_adapters::endpoint::{AnswerBody, request_sent, retry_after};
use steward_types::limits::CHAIN_CALL_TIME_MAX;
use tower::Service;
use url::Url;

/// One endpoint.
#[derive(Debug, Clone)]
pub struct HttpTransport {
    client: Client,
    endpoint: Url,
}

impl HttpTransport {
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
        Ok(Self { client, endpoint })
    }

    async fn send(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        request.requests().iter().for_each(|_| request_sent());
        let sent = self.client.post(self.endpoint).headers(request.headers()).json(&request).send().await;
        let response = sent.map_err(TransportErrorKind::custom)?;
        let (status, retry_after) = (response.status(), retry_after(response.headers()));
        let body = read(response).await?;
        let text = || String::from_utf8_lossy(&body).into_owned();
        if status == StatusCode::TOO_MANY_REQUESTS || (!status.is_success() && retry_after.is_some()) {
            return Err(TransportErrorKind::http_error_with_retry_after(status.as_u16(), text(), retry_after));
        }
        if !is_of_a_node(status) {
            return Err(TransportErrorKind::http_error(status.as_u16(), text()));
        }
        match serde_json::from_slice::<ResponsePacket>(&body) {
            Ok(answer) if answers(&request, &answer) => Ok(answer),
            Ok(_) => Err(TransportErrorKind::custom_str("the answer is one to another question")),
            Err(_) if !status.is_success() => Err(TransportErrorKind::http_error(status.as_u16(), text())),
            Err(error) => Err(TransportError::deser_err(error, text())),
        }
    }
}

impl Service<RequestPacket> for HttpTransport {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), TransportError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> TransportFut<'static> {
        Box::pin(self.clone().send(request))
    }
}

/// Whether an answer of this status may be a node's. Nodes send some refusals with 400 or 500; any other failure is of those
/// who sit before them, whether or not they write it in JSON-RPC: a key that they do not know, a quota, a time that is over.
fn is_of_a_node(status: StatusCode) -> bool {
    status.is_success() || matches!(status, StatusCode::BAD_REQUEST | StatusCode::INTERNAL_SERVER_ERROR)
}

/// The answer's body, up to its bound.
async fn read(mut response: Response) -> Result<Vec<u8>, TransportError> {
    let mut body = AnswerBody::announced(response.content_length()).map_err(TransportErrorKind::custom)?;
    while let Some(piece) = response.chunk().await.map_err(TransportErrorKind::custom)? {
        body.push(&piece).map_err(TransportErrorKind::custom)?;
    }
    Ok(body.into_bytes())
}

/// Whether it is the answer to this question. Who could not read the question answers with an error and no number.
fn answers(request: &RequestPacket, answer: &ResponsePacket) -> bool {
    match (request.as_single(), answer.as_single()) {
        (Some(asked), Some(answer)) => answer.id == *asked.id() || (answer.id.is_none() && answer.is_error()),
        // Batches, which alloy tells apart by their numbers.
        (None, _) => true,
        (Some(_), None) => false,
    }
}
