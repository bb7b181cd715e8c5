//! `/v1/embeddings`.

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use steward_actors::service::{Caller, Failure, Steward};
use steward_types::limits::EMBED_TEXTS_MAX;

use super::{direct_call, openai_error};

/// What is read of a request; what else it has is ignored.
#[derive(Debug, Deserialize)]
struct Request {
    model: String,
    input: Value,
    encoding_format: Option<String>,
    dimensions: Option<u32>,
}

/// Embeds one text or many.
pub(super) async fn embed(
    State(steward): State<Steward>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    match answer(&steward, &caller, &body).await {
        Ok(value) => Json(value).into_response(),
        Err(failure) => openai_error(&failure).into_response(),
    }
}

async fn answer(steward: &Steward, caller: &Caller, body: &[u8]) -> Result<Value, Failure> {
    let request: Request = super::chat::read(body)?;
    let in_base64 = match request.encoding_format.as_deref() {
        None | Some("float") => false,
        Some("base64") => true,
        Some(_) => return Err(Failure::field("encoding_format", "use float or base64")),
    };
    let texts = texts(request.input)?;
    let call = direct_call(caller, &request.model)?;
    let model = steward.model(&call.model).await?;
    if let (Some(wanted), steward_actors::service::ModelState::Ready(card)) = (request.dimensions, &model.state)
        && wanted != card.embedding_dimensions
    {
        let message = format!("{} embeds into {} dimensions only", model.id, card.embedding_dimensions);
        return Err(Failure::field("dimensions", message));
    }
    let embedded = steward.embed(call, texts).await?;
    let data = embedded.vectors.iter().enumerate().map(|(index, vector)| {
        let embedding = if in_base64 { base64(vector) } else { json!(vector) };
        json!({ "object": "embedding", "index": index, "embedding": embedding })
    });
    let usage = embedded.usage;
    Ok(json!({
        "object": "list",
        "model": request.model,
        "data": data.collect::<Vec<_>>(),
        "usage": { "prompt_tokens": usage.prompt_tokens, "total_tokens": usage.prompt_tokens },
        "steward": { "receipt": usage.receipt, "price_micros": usage.price.get() },
    }))
}

fn texts(input: Value) -> Result<Vec<String>, Failure> {
    let wrong = || Failure::field("input", "a text or a list of texts; lists of token numbers are not supported");
    let texts = match input {
        Value::String(text) => vec![text],
        Value::Array(items) => items
            .into_iter()
            .map(|item| match item {
                Value::String(text) => Ok(text),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    if texts.is_empty() || texts.len() > EMBED_TEXTS_MAX {
        return Err(Failure::field("input", format!("1 to {EMBED_TEXTS_MAX} texts")));
    }
    if texts.iter().any(String::is_empty) {
        return Err(Failure::field("input", "a text must not be empty"));
    }
    Ok(texts)
}

/// 32-bit floats, little-endian: what OpenAI's own clients ask for and decode.
fn base64(vector: &[f32]) -> Value {
    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
    Value::String(STANDARD.encode(bytes))
}
