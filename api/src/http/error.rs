//! Errors in OpenAI's shape, so that its clients raise what their users expect.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};
use steward_actors::service::Failure;
use steward_types::ErrorCode;

use crate::status::retry_after;

/// A failure as a response.
pub(crate) fn openai_error(failure: &Failure) -> impl IntoResponse + use<> {
    let status = StatusCode::from_u16(failure.code.status().http()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        tracing::warn!(code = %failure.code, error = %failure, "a request failed");
    }
    let mut response: Response = (status, Json(body(failure))).into_response();
    if let Some(wait) = retry_after(failure) {
        let seconds = wait.as_secs().max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// A failure as OpenAI's error object. The code is the reason of the closed list, in lower case, as OpenAI writes them.
pub(super) fn body(failure: &Failure) -> Value {
    let kind = match failure.code {
        ErrorCode::Unauthenticated => "authentication_error",
        ErrorCode::PermissionDenied => "permission_error",
        ErrorCode::RateLimited => "rate_limit_error",
        ErrorCode::BudgetExhausted => "insufficient_quota",
        code if code.status().http() < 500 => "invalid_request_error",
        _ => "server_error",
    };
    json!({ "error": {
        "message": failure.message,
        "type": kind,
        "param": failure.violations.first().map(|violation| violation.field.as_str()),
        "code": failure.code.reason().to_ascii_lowercase(),
    }})
}
