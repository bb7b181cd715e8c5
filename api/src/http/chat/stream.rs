//! A chat completion as server-sent events, chunk by chunk as OpenAI writes them.

use std::collections::VecDeque;
use std::convert::Infallible;

use axum::response::sse::{Event, Sse};
use futures::Stream;
use futures::stream::unfold;
use serde_json::{Value, json};
use steward_actors::service::{DirectChat, DirectChatEvent, Failure};

use super::{Answer, finish, steward_object, usage_object};

/// Where a stream is.
struct Chunks {
    /// Absent once it is over.
    chat: Option<DirectChat>,
    answer: Answer,
    include_usage: bool,
    ready: VecDeque<String>,
}

/// The chunks of a chat. Dropping the stream, as axum does when the client goes away, stops the model.
pub(super) fn events(
    chat: DirectChat,
    answer: Answer,
    include_usage: bool,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut chunks = Chunks { chat: Some(chat), answer, include_usage, ready: VecDeque::new() };
    let role = json!({ "role": "assistant", "content": "", "refusal": null });
    chunks.push_choice(role, Value::Null, None);
    Sse::new(unfold(chunks, |mut chunks| async move {
        let data = chunks.next().await?;
        Some((Ok(Event::default().data(data)), chunks))
    }))
}

impl Chunks {
    async fn next(&mut self) -> Option<String> {
        while self.ready.is_empty() {
            match self.chat.as_mut()?.next().await {
                Some(Ok(DirectChatEvent::Text(text))) => {
                    self.push_choice(json!({ "content": text }), Value::Null, None)
                }
                Some(Ok(DirectChatEvent::Finished { usage, reason })) => {
                    let steward = steward_object(usage, reason);
                    self.push_choice(json!({}), json!(finish(reason)), Some(steward));
                    if self.include_usage {
                        let mut chunk = self.answer.object("chat.completion.chunk", json!([]));
                        chunk["usage"] = usage_object(usage);
                        self.ready.push_back(chunk.to_string());
                    }
                    self.end();
                }
                Some(Err(failure)) => self.fail(&failure),
                None => self.fail(&Failure::new(steward_types::ErrorCode::Internal, "the completion was cut off")),
            }
        }
        self.ready.pop_front()
    }

    fn push_choice(&mut self, delta: Value, finish_reason: Value, steward: Option<Value>) {
        let choice = json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason });
        let mut chunk = self.answer.object("chat.completion.chunk", json!([choice]));
        if self.include_usage {
            // OpenAI says null in every chunk but the last.
            chunk["usage"] = Value::Null;
        }
        if let Some(steward) = steward {
            chunk["steward"] = steward;
        }
        self.ready.push_back(chunk.to_string());
    }

    fn fail(&mut self, failure: &Failure) {
        self.ready.push_back(crate::http::error::body(failure).to_string());
        self.end();
    }

    fn end(&mut self) {
        self.chat = None;
        self.ready.push_back("[DONE]".to_owned());
    }
}
