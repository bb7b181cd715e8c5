//! `/v1/embeddings`, with vectors as numbers or as base64 of little-endian floats, which the official client asks for.

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::HeaderMap;
use base64::Engine as _;
use serde::Deserialize;
use serde_json::{Value, json};
use steward_actors::service::{Failure, Steward};
use steward_types::limits::EMBED_TEXTS_MAX;

use super::failure::HttpFailure;

/// What is asked. Fields that OpenAI has and we don't know are ignored.
#[derive(Debug, Deserialize)]
pub(super) struct EmbeddingRequest {
    model: String,
    input: Input,
    #[serde(default)]
    encoding_format: Encoding,
    dimensions: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "input is a text or an array of texts")]
enum Input {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    #[default]
    Float,
    Base64,
}

/// Embeds texts.
pub(super) async fn embed(
    State(steward): State<Steward>,
    headers: HeaderMap,
    request: Result<Json<EmbeddingRequest>, JsonRejection>,
) -> Result<Json<Value>, HttpFailure> {
    let Json(request) = request?;
    let call = super::call(&steward, &headers, &request.model).await?;
    let texts = match request.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
    };
    if texts.is_empty() || texts.len() > EMBED_TEXTS_MAX {
        return Err(Failure::field("input", format!("1 to {EMBED_TEXTS_MAX} texts, not {}", texts.len())).into());
    }
    let embedded = steward.embed(call, texts).await?;
    let has = embedded.vectors.first().map_or(0, Vec::len);
    if request.dimensions.is_some_and(|wanted| wanted as usize != has) {
        return Err(Failure::field("dimensions", format!("this model's vectors have {has} dimensions")).into());
    }
    let data = embedded.vectors.iter().enumerate().map(|(index, vector)| {
        json!({ "object": "embedding", "index": index, "embedding": encoded(vector, request.encoding_format) })
    });
    let tokens = embedded.usage.prompt_tokens;
    Ok(Json(json!({
        "object": "list",
        "model": request.model,
        "data": data.collect::<Vec<_>>(),
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
        "steward": { "receipt": embedded.usage.receipt, "price_micros": embedded.usage.price },
    })))
}

fn encoded(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
            base64::engine::general_purpose::STANDARD.encode(bytes).into()
        }
    }
}
