//! Whether the node lives, and whether it takes work. No key is needed.

use axum::extract::State;
use axum::http::StatusCode;
use steward_actors::service::Steward;

/// The process answers.
pub(super) async fn alive() -> &'static str {
    "alive\n"
}

/// The node takes work, and its store answers.
pub(super) async fn ready(State(steward): State<Steward>) -> (StatusCode, &'static str) {
    if steward.is_ready().await {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}
