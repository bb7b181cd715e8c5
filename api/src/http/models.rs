//! `/v1/models`: what can be called, in OpenAI's shape.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};
use steward_actors::service::{Failure, ModelState, ModelView, Steward};
use steward_types::ErrorCode;

use super::failure::HttpFailure;

/// Every model that is ready.
pub(super) async fn list(State(steward): State<Steward>, headers: HeaderMap) -> Result<Json<Value>, HttpFailure> {
    super::caller(&steward, &headers).await?;
    let views = steward.models().await;
    let ready: Vec<Value> = views.iter().filter(|view| is_ready(view)).map(shown).collect();
    Ok(Json(json!({ "object": "list", "data": ready })))
}

/// One model.
pub(super) async fn get(
    State(steward): State<Steward>,
    Path(model): Path<String>,
    headers: HeaderMap,
) -> Result<Json<Value>, HttpFailure> {
    super::caller(&steward, &headers).await?;
    let views = steward.models().await;
    let found = views.iter().find(|view| view.id.as_str() == model && is_ready(view));
    let missing = || Failure::new(ErrorCode::ModelNotFound, format!("there is no model {model:?}"));
    Ok(Json(shown(found.ok_or_else(missing)?)))
}

fn is_ready(view: &ModelView) -> bool {
    matches!(view.state, ModelState::Ready(_))
}

fn shown(view: &ModelView) -> Value {
    json!({ "id": view.id, "object": "model", "created": 0, "owned_by": "steward" })
}
