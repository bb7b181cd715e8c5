//! What a service knows of the call in hand: who calls, for which project, and how long there is.

use std::str::FromStr;
use std::time::Duration;

use serde_json::Value;
use steward_actors::host::Deadline;
use steward_actors::project::Role;
use steward_actors::service::{Caller, Failure, Steward};
use steward_types::limits::{PAGE_ITEMS_DEFAULT, PAGE_ITEMS_MAX};
use steward_types::{ErrorCode, ProjectId};
use tonic::{Request, Status};

use crate::status::status;

/// The time that a call has, from when it came in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallTime {
    /// When it must be answered.
    pub deadline: Deadline,
    /// Whether the caller named the time itself; a stream ends only at such a deadline.
    pub named: bool,
}

/// Who calls.
pub(crate) fn caller<T>(request: &Request<T>) -> Result<Caller, Status> {
    let found = request.extensions().get::<Caller>().cloned();
    found.ok_or_else(|| status(&Failure::new(ErrorCode::Unauthenticated, "the call carries no API key")))
}

/// When the call must be answered.
pub(crate) fn deadline<T>(request: &Request<T>, steward: &Steward) -> Deadline {
    request.extensions().get::<CallTime>().map_or_else(|| steward.host().deadline_default(), |time| time.deadline)
}

/// When a stream must end; absent when its caller named no time.
pub(crate) fn stream_deadline<T>(request: &Request<T>) -> Option<Deadline> {
    request.extensions().get::<CallTime>().filter(|time| time.named).map(|time| time.deadline)
}

/// The project that a request is about: the one named, which must be the key's own, or the key's own.
pub(crate) fn project(caller: &Caller, named: &str) -> Result<ProjectId, Failure> {
    match (&caller.project, named) {
        (Some(own), "") => Ok(own.clone()),
        (None, "") => Err(Failure::field("project", "an operator's key has no project of its own: name one")),
        (None, named) => parse("project", named),
        (Some(own), named) if own.as_str() == named => Ok(own.clone()),
        // The same whether the project exists or not, so that nothing is learnt of other tenants.
        (Some(_), _) => Err(Failure::new(ErrorCode::PermissionDenied, "the API key is not this project's")),
    }
}

/// Refuses a caller whose key may do less than `role`.
pub(crate) fn require(caller: &Caller, role: Role) -> Result<(), Failure> {
    if caller.role >= role {
        return Ok(());
    }
    let needed = match role {
        Role::Root => "an operator's key",
        Role::Admin => "an admin key",
        Role::Member => "a key",
    };
    Err(Failure::new(ErrorCode::PermissionDenied, format!("this needs {needed}")))
}

/// Reads a field.
pub(crate) fn parse<T: FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| Failure::field(field, error.to_string()))
}

/// Reads a field that may be empty.
pub(crate) fn parse_optional<T: FromStr<Err: std::fmt::Display>>(
    field: &str,
    text: &str,
) -> Result<Option<T>, Failure> {
    if text.is_empty() { Ok(None) } else { parse(field, text).map(Some) }
}

/// Reads a field of JSON; null when it is empty.
pub(crate) fn parse_json(field: &str, text: &str) -> Result<Value, Failure> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|error| Failure::field(field, format!("not JSON: {error}")))
}

/// How many items a page may have.
pub(crate) fn page_size(asked: u32) -> usize {
    match usize::try_from(asked).unwrap_or(PAGE_ITEMS_MAX) {
        0 => PAGE_ITEMS_DEFAULT,
        asked => asked.min(PAGE_ITEMS_MAX),
    }
}

/// The value of a `grpc-timeout` header: at most eight digits and a unit (gRPC over HTTP/2).
pub(crate) fn parse_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let fits = !digits.is_empty() && digits.len() <= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = digits.parse().ok().filter(|_| fits)?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_reads_as_grpc_writes_it() {
        let check = |text, time| assert_eq!(parse_timeout(text), time, "{text:?}");
        check("5S", Some(Duration::from_secs(5)));
        check("99999999m", Some(Duration::from_millis(99_999_999)));
        check("2H", Some(Duration::from_secs(7200)));
        for bad in ["", "5", "S", "5s", "123456789m", "-1S", "ä"] {
            check(bad, None);
        }
    }

    #[test]
    fn a_key_sees_its_own_project_only() {
        let key = |project: Option<&str>| Caller {
            key: "k".to_owned(),
            project: project.map(|project| project.parse().unwrap()),
            role: Role::Admin,
        };
        assert_eq!(project(&key(Some("acme")), "").unwrap().as_str(), "acme");
        assert_eq!(project(&key(Some("acme")), "acme").unwrap().as_str(), "acme");
        assert_eq!(project(&key(Some("acme")), "other").unwrap_err().code, ErrorCode::PermissionDenied);
        assert_eq!(project(&key(None), "other").unwrap().as_str(), "other");
        assert_eq!(project(&key(None), "").unwrap_err().code, ErrorCode::InvalidRequest);
    }
}
