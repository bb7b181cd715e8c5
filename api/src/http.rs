//! HTTP beside gRPC, on the same port: OpenAI's chat completions, embeddings and models; health and metrics.
//!
//! It translates and checks; money, models and receipts are the façade's. Nothing but health, and metrics on loopback,
//! is answered without a key.

mod chat;
mod embeddings;
mod failure;
mod health;
mod models;
mod telemetry;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use steward_actors::service::{Caller, DirectCall, Failure, Steward};
use steward_types::limits::REQUEST_BYTES_MAX;
use steward_types::{ErrorCode, ModelId, ProjectId};

use self::failure::HttpFailure;

/// The header by which an operator's key, which belongs to no project, names one. OpenAI's clients can set it.
const PROJECT_HEADER: &str = "openai-project";

/// The HTTP routes of a node.
pub fn router(steward: Steward) -> Router {
    telemetry::install();
    Router::new()
        .route("/v1/chat/completions", post(chat::complete))
        .route("/v1/embeddings", post(embeddings::embed))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::get))
        .route("/metrics", get(telemetry::scrape))
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(steward)
}

/// Who calls, by the bearer key.
async fn caller(steward: &Steward, headers: &HeaderMap) -> Result<Caller, HttpFailure> {
    let header = headers.get(axum::http::header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = header.and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
    let missing = || Failure::new(ErrorCode::Unauthenticated, "send the API key as `Authorization: Bearer stw_…`");
    Ok(steward.authenticate(key.ok_or_else(missing)?).await?)
}

/// The project whose money is spent: the key's own, or the one that an operator names.
fn project(caller: &Caller, headers: &HeaderMap) -> Result<ProjectId, HttpFailure> {
    let named = headers.get(PROJECT_HEADER).and_then(|value| value.to_str().ok()).map(str::parse::<ProjectId>);
    let named = named.transpose().map_err(Failure::from)?;
    match (&caller.project, named) {
        (Some(own), None) => Ok(own.clone()),
        (Some(own), Some(named)) if *own == named => Ok(named),
        (Some(_), Some(named)) => {
            Err(Failure::new(ErrorCode::PermissionDenied, format!("the key is not of the project {named}")).into())
        }
        (None, Some(named)) => Ok(named),
        (None, None) => {
            let message = format!("an operator's key names a project in the header {PROJECT_HEADER}");
            Err(Failure::field(PROJECT_HEADER, message).into())
        }
    }
}

/// The direct call that a request makes.
async fn call(steward: &Steward, headers: &HeaderMap, model: &str) -> Result<DirectCall, HttpFailure> {
    let caller = caller(steward, headers).await?;
    let project = project(&caller, headers)?;
    let model: ModelId = model.parse().map_err(|_| {
        Failure::new(ErrorCode::ModelNotFound, format!("there is no model {model:?}")).with("model", model)
    })?;
    Ok(DirectCall { project, key: caller.key, model })
}
