//! Failures in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}` under the code's HTTP status.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use steward_actors::service::Failure;
use steward_types::ErrorCode;

/// A failure on its way to an HTTP client.
#[derive(Debug)]
pub(super) struct HttpFailure(Failure);

impl From<Failure> for HttpFailure {
    fn from(failure: Failure) -> Self {
        Self(failure)
    }
}

impl From<JsonRejection> for HttpFailure {
    fn from(rejection: JsonRejection) -> Self {
        let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let code = if too_large { ErrorCode::RequestTooLarge } else { ErrorCode::InvalidRequest };
        Self(Failure::new(code, rejection.body_text()))
    }
}

impl HttpFailure {
    /// The body, for a response or for an event of a stream that has begun.
    pub(super) fn body(&self) -> Value {
        let Failure { code, message, violations, .. } = &self.0;
        let kind = match code.status().http() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 if *code == ErrorCode::BudgetExhausted => "insufficient_quota",
            429 => "rate_limit_error",
            status if status >= 500 => "server_error",
            _ => "invalid_request_error",
        };
        let param = violations.first().map(|violation| violation.field.as_str());
        json!({ "error": { "message": message, "type": kind, "param": param, "code": code.reason() } })
    }
}

impl IntoResponse for HttpFailure {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.code.status().http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if status.is_server_error() {
            tracing::error!(code = %self.0.code, error = %self.0, "an HTTP request failed");
        }
        let mut response = (status, Json(self.body())).into_response();
        if let Some(wait) = self.0.retry_after {
            // Whole seconds, rounded up: RFC 9110, section 10.2.3.
            let seconds = wait.as_millis().div_ceil(1000).to_string();
            if let Ok(value) = HeaderValue::from_str(&seconds) {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
        }
        response
    }
}
