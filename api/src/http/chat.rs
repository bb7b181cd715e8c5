//! `/v1/chat/completions`.

mod request;
mod stream;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use steward_actors::service::{Caller, DirectUsage, Failure, Steward};
use steward_inference::FinishReason;

pub(super) use self::request::Request;
use super::{direct_call, openai_error};

/// Completes a chat, at once or as a stream of server-sent events.
pub(super) async fn complete(
    State(steward): State<Steward>,
    Extension(caller): Extension<Caller>,
    body: Bytes,
) -> Response {
    match answer(&steward, &caller, &body).await {
        Ok(response) => response,
        Err(failure) => openai_error(&failure).into_response(),
    }
}

async fn answer(steward: &Steward, caller: &Caller, body: &[u8]) -> Result<Response, Failure> {
    let request: Request = read(body)?;
    let call = direct_call(caller, &request.model)?;
    // A seed that JSON clients can send back.
    let seed = steward.entropy().next_u64() >> 11;
    let generate = request.generate(seed)?;
    let answer = Answer {
        id: format!("chatcmpl-{:016x}", steward.entropy().next_u64()),
        created: steward.clock().now().as_millis() / 1000,
        model: request.model.clone(),
    };
    let chat = steward.chat(call, generate).await?;
    if request.stream {
        return Ok(stream::events(chat, answer, request.include_usage()).into_response());
    }
    let (text, usage, reason) = chat.complete().await?;
    let message = json!({ "role": "assistant", "content": text, "refusal": null });
    let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": finish(reason) });
    let mut whole = answer.object("chat.completion", json!([choice]));
    whole["usage"] = usage_object(usage);
    whole["steward"] = steward_object(usage, reason);
    Ok(Json(whole).into_response())
}

/// Reads a body; what is wrong with it is told as OpenAI does.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|error| Failure::field("body", error.to_string()))
}

/// What every part of an answer repeats.
struct Answer {
    id: String,
    created: u64,
    model: String,
}

impl Answer {
    fn object(&self, object: &str, choices: Value) -> Value {
        json!({
            "id": self.id,
            "object": object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": null,
            "choices": choices,
        })
    }
}

/// OpenAI has no word for an empty budget; `steward.ended_by` has.
fn finish(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length | FinishReason::Budget => "length",
    }
}

fn usage_object(usage: DirectUsage) -> Value {
    json!({
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    })
}

/// What Steward adds: the receipt, the price, and why it ended.
fn steward_object(usage: DirectUsage, reason: FinishReason) -> Value {
    json!({ "receipt": usage.receipt, "price_micros": usage.price.get(), "ended_by": reason })
}
