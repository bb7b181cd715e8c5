//! Between the node's types and the wire's: one file for each part of the package.

pub(crate) mod approvals;
pub(crate) mod budgets;
pub(crate) mod chains;
pub(crate) mod models;
pub(crate) mod operations;
pub(crate) mod projects;
pub(crate) mod receipts;
pub(crate) mod sessions;
pub(crate) mod stall;
pub(crate) mod triggers;
pub(crate) mod wallets;

use std::time::Duration;

use serde_json::Value;
use steward_actors::service::Failure;
use steward_types::Timestamp;

/// A time on the wire.
pub(crate) fn time(time: Timestamp) -> Option<prost_types::Timestamp> {
    let millis = time.as_millis();
    let seconds = i64::try_from(millis / 1000).ok()?;
    let nanos = i32::try_from(millis % 1000).ok()? * 1_000_000;
    Some(prost_types::Timestamp { seconds, nanos })
}

/// A time from the wire.
pub(crate) fn time_from(field: &str, time: &prost_types::Timestamp) -> Result<Timestamp, Failure> {
    let wrong = || Failure::field(field, "not a time after 1970");
    let seconds = u64::try_from(time.seconds).map_err(|_| wrong())?;
    let millis = u64::try_from(time.nanos).map_err(|_| wrong())? / 1_000_000;
    Ok(Timestamp::from_millis(seconds.checked_mul(1000).and_then(|s| s.checked_add(millis)).ok_or_else(wrong)?))
}

/// A span on the wire.
pub(crate) fn span(millis: u64) -> Option<prost_types::Duration> {
    prost_types::Duration::try_from(Duration::from_millis(millis)).ok()
}

/// A span from the wire.
pub(crate) fn span_from(field: &str, span: prost_types::Duration) -> Result<Duration, Failure> {
    Duration::try_from(span).map_err(|_| Failure::field(field, "not a span of time"))
}

/// A JSON value on the wire; nothing when it is null.
pub(crate) fn json(value: &Value) -> String {
    if value.is_null() { String::new() } else { value.to_string() }
}
