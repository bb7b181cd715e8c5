//! HTTP beside gRPC: OpenAI-compatible routes, health and metrics.

mod chat;
mod embeddings;
mod error;
mod models;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use http::{StatusCode, header};
use serde_json::json;
use steward_actors::service::{Caller, DirectCall, Failure, Steward};
use steward_types::ErrorCode;
use steward_types::limits::REQUEST_BYTES_MAX;
use tokio::sync::watch;

pub(crate) use self::error::openai_error;
use crate::auth::{self, Gate};
use crate::config::{ApiConfig, Readiness};
use crate::metric;
use crate::server::Peer;

/// Everything that is not gRPC.
pub(crate) fn router(steward: &Steward, gate: &Gate, config: &ApiConfig) -> Router {
    let openai = Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::get))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(from_fn_with_state(gate.clone(), auth::http))
        .layer(crate::grpc::cors(config));
    let open = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    let open = open.layer(Extension(config.readiness.clone()));
    openai.merge(open).fallback(unknown).with_state(steward.clone())
}

/// Ready: the store answers, and the node takes new work.
async fn ready(
    State(steward): State<Steward>,
    Extension(readiness): Extension<watch::Receiver<Readiness>>,
) -> Response {
    let refuse = |why: String| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    let readiness = *readiness.borrow();
    if readiness == Readiness::Draining || !steward.host().is_accepting() {
        return refuse("the node is draining\n".to_owned());
    }
    if readiness == Readiness::Starting {
        return refuse("the node has no shards yet\n".to_owned());
    }
    match steward.projects(None, 1).await {
        Ok(_) => "ready\n".into_response(),
        Err(failure) => refuse(format!("{failure}\n")),
    }
}

/// Metrics: for whoever asks from this machine, and for operators from anywhere.
async fn metrics(State(steward): State<Steward>, Extension(Peer(peer)): Extension<Peer>, request: Request) -> Response {
    if !peer.ip().to_canonical().is_loopback() {
        let key = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let key = key.and_then(|value| value.split_once(' ')).map_or("", |(_, key)| key.trim());
        let caller = steward.authenticate(key).await;
        if !caller.is_ok_and(|caller| caller.project.is_none()) {
            let message = "metrics are for this machine, or for an operator's key\n";
            return (StatusCode::UNAUTHORIZED, message).into_response();
        }
    }
    metrics::gauge!("steward_live_entities")
        .set(f64::from(u32::try_from(steward.host().live_entities()).unwrap_or(u32::MAX)));
    steward.show_metrics();
    match metric::render() {
        Some(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        None => (StatusCode::NOT_FOUND, "another recorder has the metrics of this process\n").into_response(),
    }
}

/// A path that is nobody's: an unimplemented method to a gRPC client, not found to everyone else.
async fn unknown(request: Request) -> Response {
    let content = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content.is_some_and(|content| content.starts_with("application/grpc")) {
        let status = tonic::Status::unimplemented(format!("there is no method {}", request.uri().path()));
        return status.into_http::<axum::body::Body>();
    }
    let message = format!("there is nothing at {}", request.uri().path());
    let body = json!({ "error": { "message": message, "type": "invalid_request_error", "param": null, "code": null } });
    (StatusCode::NOT_FOUND, Json(body)).into_response()
}

/// Who pays for a direct call to which model.
fn direct_call(caller: &Caller, model: &str) -> Result<DirectCall, Failure> {
    let project = caller.project.clone();
    let project = project.ok_or_else(|| {
        Failure::new(ErrorCode::PermissionDenied, "an operator's key has no budget: use a project's key")
    })?;
    Ok(DirectCall { project, key: caller.key.clone(), model: crate::call::parse("model", model)? })
}
