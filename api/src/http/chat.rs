//! `/v1/chat/completions`, whole or as server-sent events. Its shapes are those of OpenAI's API reference.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;
use serde::Deserialize;
use serde_json::{Value, json};
use steward_actors::service::{DirectChat, DirectChatEvent, DirectUsage, Failure, Steward};
use steward_inference::{ChatMessage, FinishReason, GenerateRequest, Role};
use steward_types::limits::GENERATE_TOKENS_DEFAULT;

use super::failure::HttpFailure;

/// What is asked. Fields that change nothing we do are ignored; those that we cannot honour are refused.
#[derive(Debug, Deserialize)]
pub(super) struct ChatRequest {
    model: String,
    messages: Vec<Message>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    stop: Option<Stop>,
    seed: Option<i64>,
    #[serde(default)]
    stream: bool,
    stream_options: Option<StreamOptions>,
    n: Option<u32>,
    tools: Option<Vec<Value>>,
    functions: Option<Vec<Value>>,
    response_format: Option<Value>,
    logprobs: Option<bool>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    logit_bias: Option<serde_json::Map<String, Value>>,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Content>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "content is a text or an array of text parts")]
enum Content {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Debug, Deserialize)]
struct Part {
    r#type: String,
    text: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "stop is a text or an array of texts")]
enum Stop {
    One(String),
    Many(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

/// Completes a chat.
pub(super) async fn complete(
    State(steward): State<Steward>,
    headers: HeaderMap,
    request: Result<Json<ChatRequest>, JsonRejection>,
) -> Result<Response, HttpFailure> {
    let Json(request) = request?;
    let call = super::call(&steward, &headers, &request.model).await?;
    let seed_given = request.seed;
    let (model, stream) = (request.model.clone(), request.stream);
    let with_usage = request.stream_options.as_ref().is_some_and(|options| options.include_usage);
    let mut generate = request.into_generate()?;
    if seed_given.is_none() {
        generate.seed = steward.entropy().next_u64();
    }
    let created = steward.clock().now().as_millis() / 1000;
    let chat = steward.chat(call, generate).await?;
    let head = Head { id: format!("chatcmpl-{}", hex_id(&steward)), created, model };
    if stream {
        let events = Sse::new(events(chat, head, with_usage));
        return Ok(events.keep_alive(KeepAlive::default()).into_response());
    }
    let (text, usage, reason) = chat.complete().await?;
    let choice = json!({
        "index": 0,
        "message": { "role": "assistant", "content": text, "refusal": null },
        "finish_reason": finish_reason(reason),
        "logprobs": null,
    });
    let mut body = head.object("chat.completion", json!([choice]));
    body["usage"] = shown(&usage);
    body["steward"] = json!({ "receipt": usage.receipt, "price_micros": usage.price });
    Ok(Json(body).into_response())
}

impl ChatRequest {
    fn into_generate(self) -> Result<GenerateRequest, Failure> {
        self.refuse_what_we_cannot()?;
        let messages = self.messages.into_iter().enumerate().map(|(index, message)| message.into_chat(index));
        let mut generate = GenerateRequest::chat(messages.collect::<Result<_, _>>()?);
        generate.max_tokens = self.max_completion_tokens.or(self.max_tokens).unwrap_or(GENERATE_TOKENS_DEFAULT);
        // OpenAI's defaults, not ours: clients of this API count on them.
        generate.sampling.temperature = self.temperature.unwrap_or(1.0);
        generate.sampling.top_p = self.top_p.unwrap_or(1.0);
        generate.stop = match self.stop {
            None => Vec::new(),
            Some(Stop::One(stop)) => vec![stop],
            Some(Stop::Many(stops)) => stops,
        };
        generate.seed = self.seed.map_or(0, i64::cast_unsigned);
        Ok(generate)
    }

    fn refuse_what_we_cannot(&self) -> Result<(), Failure> {
        let is_some = |list: &Option<Vec<Value>>| list.as_ref().is_some_and(|list| !list.is_empty());
        let is_penalty = |penalty: Option<f32>| penalty.is_some_and(|penalty| penalty != 0.0);
        let format = self.response_format.as_ref().and_then(|format| format["type"].as_str());
        let refused = [
            ("n", self.n.is_some_and(|n| n != 1), "one choice a request"),
            ("tools", is_some(&self.tools), "models here call no tools; agents do"),
            ("functions", is_some(&self.functions), "models here call no functions; agents do"),
            ("response_format", format.is_some_and(|format| format != "text"), "text only"),
            ("logprobs", self.logprobs == Some(true), "log probabilities are not given"),
            ("presence_penalty", is_penalty(self.presence_penalty), "it is not supported"),
            ("frequency_penalty", is_penalty(self.frequency_penalty), "it is not supported"),
            ("logit_bias", self.logit_bias.as_ref().is_some_and(|bias| !bias.is_empty()), "it is not supported"),
        ];
        match refused.into_iter().find(|(_, is_asked, _)| *is_asked) {
            Some((field, _, why)) => Err(Failure::field(field, why)),
            None => Ok(()),
        }
    }
}

impl Message {
    fn into_chat(self, index: usize) -> Result<ChatMessage, Failure> {
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            "tool" => Role::Tool,
            other => {
                let field = format!("messages[{index}].role");
                return Err(Failure::field(field, format!("{other:?} is none of system, user, assistant, tool")));
            }
        };
        let text = match self.content {
            None => String::new(),
            Some(Content::Text(text)) => text,
            Some(Content::Parts(parts)) => {
                if let Some(part) = parts.iter().find(|part| part.r#type != "text") {
                    let field = format!("messages[{index}].content");
                    return Err(Failure::field(field, format!("{:?} parts are not supported, only text", part.r#type)));
                }
                parts.into_iter().filter_map(|part| part.text).collect()
            }
        };
        Ok(ChatMessage::new(role, text))
    }
}

/// What every object of one completion begins with.
#[derive(Debug, Clone)]
struct Head {
    id: String,
    /// Seconds since the Unix epoch.
    created: u64,
    model: String,
}

impl Head {
    fn object(&self, kind: &str, choices: Value) -> Value {
        json!({ "id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices })
    }

    fn chunk(&self, delta: Value, finish_reason: Option<&str>) -> Value {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason, "logprobs": null });
        self.object("chat.completion.chunk", json!([choice]))
    }
}

/// Where a stream is: what it still has to send before it asks the model again.
struct Streaming {
    chat: DirectChat,
    head: Head,
    with_usage: bool,
    queue: std::collections::VecDeque<Event>,
    is_over: bool,
}

fn events(chat: DirectChat, head: Head, with_usage: bool) -> impl Stream<Item = Result<Event, Infallible>> {
    let first = as_event(&head.chunk(json!({ "role": "assistant", "content": "" }), None));
    let streaming = Streaming { chat, head, with_usage, queue: [first].into(), is_over: false };
    futures::stream::unfold(streaming, |mut streaming| async move {
        while streaming.queue.is_empty() && !streaming.is_over {
            streaming.advance().await;
        }
        let event = streaming.queue.pop_front()?;
        Some((Ok(event), streaming))
    })
}

impl Streaming {
    async fn advance(&mut self) {
        match self.chat.next().await {
            Some(Ok(DirectChatEvent::Text(text))) => {
                self.queue.push_back(as_event(&self.head.chunk(json!({ "content": text }), None)));
            }
            Some(Ok(DirectChatEvent::Finished { usage, reason })) => self.finish(&usage, reason),
            Some(Err(failure)) => {
                self.queue.push_back(as_event(&HttpFailure::from(failure).body()));
                self.is_over = true;
            }
            None => self.is_over = true,
        }
    }

    fn finish(&mut self, usage: &DirectUsage, reason: FinishReason) {
        self.queue.push_back(as_event(&self.head.chunk(json!({}), Some(finish_reason(reason)))));
        if self.with_usage {
            let mut last = self.head.object("chat.completion.chunk", json!([]));
            last["usage"] = shown(usage);
            self.queue.push_back(as_event(&last));
        }
        self.queue.push_back(Event::default().data("[DONE]"));
        self.is_over = true;
    }
}

fn as_event(value: &Value) -> Event {
    Event::default().data(value.to_string())
}

fn shown(usage: &DirectUsage) -> Value {
    let (prompt, completion) = (usage.prompt_tokens, usage.completion_tokens);
    let total = u64::from(prompt) + u64::from(completion);
    json!({ "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total })
}

/// OpenAI has no word for a budget's end; to its clients the answer was cut for length.
fn finish_reason(reason: FinishReason) -> &'static str {
    match reason {
        FinishReason::Stop => "stop",
        FinishReason::Length | FinishReason::Budget => "length",
    }
}

fn hex_id(steward: &Steward) -> String {
    steward.entropy().bytes_16().iter().map(|byte| format!("{byte:02x}")).collect()
}
