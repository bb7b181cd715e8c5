//! `/v1/models`.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use steward_actors::service::{ModelState, ModelView, Steward};

use super::openai_error;

/// The models that can be used.
pub(super) async fn list(State(steward): State<Steward>) -> Json<Value> {
    let models = steward.models().await;
    let ready = models.iter().filter(|model| matches!(model.state, ModelState::Ready(_)));
    Json(json!({ "object": "list", "data": ready.map(object).collect::<Vec<_>>() }))
}

/// One model.
pub(super) async fn get(State(steward): State<Steward>, Path(id): Path<String>) -> Response {
    let found = match crate::call::parse("model", &id) {
        Ok(id) => steward.model(&id).await,
        Err(failure) => Err(failure),
    };
    match found {
        Ok(model) => Json(object(&model)).into_response(),
        Err(failure) => openai_error(&failure).into_response(),
    }
}

fn object(model: &ModelView) -> Value {
    json!({ "id": model.id, "object": "model", "created": 0, "owned_by": "steward" })
}
