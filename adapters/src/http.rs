//! The `http` tool's port: one request under an allow-list, and an outcome that says whether it may have had an effect.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use steward_types::ErrorCode;

mod address;
mod allow;

pub use address::is_public;
pub use allow::AllowList;

/// Sends requests for agents.
#[async_trait]
pub trait HttpTool: Send + Sync + fmt::Debug + 'static {
    /// Sends one request and follows its redirects, each checked against the rules again. Never retries: whether a
    /// request may be sent twice is the caller's to decide. Dropping the future may leave the request sent.
    async fn send(&self, request: HttpRequest) -> HttpOutcome;
}

/// A world without servers: sends nothing, and says so.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoHttp;

#[async_trait]
impl HttpTool for NoHttp {
    async fn send(&self, _: HttpRequest) -> HttpOutcome {
        let message = "this node sends no requests".to_owned();
        HttpOutcome::NotSent(HttpFailure { code: ErrorCode::ToolForbidden, message })
    }
}

/// One request of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpRequest {
    /// The method, in upper case.
    pub method: String,
    /// The absolute URL.
    pub url: String,
    /// Headers.
    pub headers: BTreeMap<String, String>,
    /// The body.
    pub body: Bytes,
    /// Longest time from the first byte sent to the last byte received.
    pub timeout: Duration,
    /// Sent as the header `idempotency-key`, unless the request has one of its own: the same for every attempt of the
    /// same step.
    pub idempotency_key: String,
    /// URL patterns that may be reached, as in an agent's manifest.
    pub allow: Vec<String>,
    /// Whether an allowed name may resolve to a private, loopback or link-local address.
    pub allow_private: bool,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HttpOutcome {
    /// The server answered, with whatever status.
    Answered(HttpResponse),
    /// Nothing left this machine: it was forbidden, or no connection was made. It had no effect.
    NotSent(HttpFailure),
    /// It was sent, or may have been, and no whole answer came: it may have had its effect.
    Unknown(HttpFailure),
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, at most [`HTTP_RESPONSE_BYTES_MAX`](steward_types::limits::HTTP_RESPONSE_BYTES_MAX).
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpFailure {
    /// `TOOL_FORBIDDEN` when a rule forbids it, `STEP_INVALID` for a malformed request, `EFFECT_UNKNOWN` when a request
    /// other than GET or HEAD may have had its effect, `TOOL_FAILED` else.
    pub code: ErrorCode,
    /// What happened, for people.
    pub message: String,
}

impl HttpFailure {
    /// A failure.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}
