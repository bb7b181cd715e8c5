//! Errors become statuses here: a gRPC status with details that standard clients decode.

use std::time::Duration;

use prost::Message;
use prost_types::Any;
use steward_actors::service::Failure;
use steward_types::ErrorCode;
use tonic::{Code, Status};

use crate::proto::google_rpc::bad_request::FieldViolation;
use crate::proto::google_rpc::{BadRequest, ErrorInfo, RetryInfo, Status as RpcStatus};

/// Whose list the reasons are from.
const DOMAIN: &str = "steward";
/// How long to wait before a retry when the failure does not say.
const RETRY_TIME_DEFAULT: Duration = Duration::from_secs(1);

/// How long to wait before the same request is tried again, when that may help.
pub(crate) fn retry_after(failure: &Failure) -> Option<Duration> {
    failure.retry_after.or_else(|| failure.code.is_retryable().then_some(RETRY_TIME_DEFAULT))
}

/// The gRPC status of a failure, with ErrorInfo always, RetryInfo and BadRequest where they apply.
pub(crate) fn status(failure: &Failure) -> Status {
    if matches!(failure.code, ErrorCode::Internal | ErrorCode::RecordCorrupt) {
        let cause = std::error::Error::source(failure).map(ToString::to_string);
        tracing::error!(code = %failure.code, error = %failure, cause, "a request failed");
    }
    let code = Code::from_i32(failure.code.status() as i32);
    let info = ErrorInfo {
        reason: failure.code.reason().to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: failure.metadata.clone(),
    };
    let mut details = vec![any("ErrorInfo", &info)];
    if let Some(delay) = retry_after(failure) {
        let retry_delay = prost_types::Duration::try_from(delay).ok();
        details.push(any("RetryInfo", &RetryInfo { retry_delay }));
    }
    if !failure.violations.is_empty() {
        let violation = |found: &steward_actors::service::FieldViolation| FieldViolation {
            field: found.field.clone(),
            description: found.description.clone(),
        };
        let field_violations = failure.violations.iter().map(violation).collect();
        details.push(any("BadRequest", &BadRequest { field_violations }));
    }
    let message = failure.message.clone();
    let whole = RpcStatus { code: code as i32, message: message.clone(), details };
    Status::with_details(code, message, whole.encode_to_vec().into())
}

fn any(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: message.encode_to_vec() }
}

/// So that services can use `?` on the façade's answers.
pub(crate) trait OrStatus<T> {
    /// The value, or the status of the failure.
    fn or_status(self) -> Result<T, Status>;
}

impl<T> OrStatus<T> for Result<T, Failure> {
    fn or_status(self) -> Result<T, Status> {
        self.map_err(|failure| status(&failure))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_the_status_of_the_closed_list_and_details_that_decode() {
        for &code in ErrorCode::ALL {
            let status = status(&Failure::new(code, "why").with("project", "acme"));
            assert_eq!(status.code() as i32, code.status() as i32);
            let whole = RpcStatus::decode(status.details()).unwrap();
            let info = ErrorInfo::decode(whole.details[0].value.as_slice()).unwrap();
            assert_eq!((info.reason.as_str(), info.domain.as_str()), (code.reason(), "steward"));
            assert_eq!(whole.details.len() > 1, code.is_retryable());
        }
    }
}
