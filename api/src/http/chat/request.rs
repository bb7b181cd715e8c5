//! What a chat completion asks for. Unknown fields are tolerated; what is known and not supported is refused.

use serde::Deserialize;
use serde_json::{Map, Value};
use steward_actors::service::Failure;
use steward_inference::{ChatMessage, GenerateRequest, Role, Sampling};
use steward_types::limits::GENERATE_TOKENS_DEFAULT;

/// The body of a request.
#[derive(Debug, Deserialize)]
pub(crate) struct Request {
    pub model: String,
    messages: Vec<Message>,
    #[serde(default)]
    pub stream: bool,
    stream_options: Option<StreamOptions>,
    max_tokens: Option<u32>,
    max_completion_tokens: Option<u32>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    /// Not OpenAI's, as other servers have it.
    top_k: Option<u32>,
    /// Not OpenAI's, as other servers have it.
    min_p: Option<f32>,
    /// Not OpenAI's, as other servers have it.
    repetition_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: bool,
}

#[derive(Debug, Deserialize)]
struct Message {
    role: String,
    content: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

impl Request {
    /// Whether the stream's last chunk is to tell the usage.
    pub(super) fn include_usage(&self) -> bool {
        self.stream_options.as_ref().is_some_and(|options| options.include_usage)
    }

    /// As the model takes it, with `seed` where the request names none.
    pub(super) fn generate(&self, seed: u64) -> Result<GenerateRequest, Failure> {
        self.refuse_unsupported()?;
        let messages = self.messages.iter().enumerate().map(|(at, message)| message.read(at));
        let default = Sampling::default();
        let mut request = GenerateRequest::chat(messages.collect::<Result<_, _>>()?);
        request.sampling = Sampling {
            temperature: self.temperature.unwrap_or(default.temperature),
            top_p: self.top_p.unwrap_or(default.top_p),
            top_k: self.top_k.unwrap_or(default.top_k),
            min_p: self.min_p.unwrap_or(default.min_p),
            repetition_penalty: self.repetition_penalty.unwrap_or(default.repetition_penalty),
        };
        request.max_tokens = self.max_completion_tokens.or(self.max_tokens).unwrap_or(GENERATE_TOKENS_DEFAULT);
        request.stop = self.stops()?;
        request.seed = self.seed.map_or(seed, i64::cast_unsigned);
        Ok(request)
    }

    fn stops(&self) -> Result<Vec<String>, Failure> {
        let wrong = || Failure::field("stop", "a text or a list of texts");
        match &self.stop {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::String(stop)) => Ok(vec![stop.clone()]),
            Some(Value::Array(stops)) => {
                stops.iter().map(|stop| stop.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
            }
            Some(_) => Err(wrong()),
        }
    }

    /// Refuses what would change the answer and cannot be done, rather than ignore it.
    fn refuse_unsupported(&self) -> Result<(), Failure> {
        let neutral = |name: &str, value: &Value| match name {
            "n" => *value == 1,
            "frequency_penalty" | "presence_penalty" => value.as_f64() == Some(0.0),
            "logprobs" | "top_logprobs" => *value == false || *value == 0,
            "response_format" => value["type"] == "text",
            "modalities" => *value == serde_json::json!(["text"]),
            "tool_choice" | "function_call" => *value == "none",
            "tools" | "functions" => value.as_array().is_some_and(Vec::is_empty),
            "logit_bias" => value.as_object().is_some_and(Map::is_empty),
            "audio" | "prediction" | "web_search_options" => false,
            _ => true,
        };
        let wrong = self.others.iter().find(|(name, value)| !value.is_null() && !neutral(name, value));
        match wrong {
            Some((name, _)) => Err(Failure::field(name.as_str(), "this is not supported; leave it out")),
            None => Ok(()),
        }
    }
}

impl Message {
    fn read(&self, at: usize) -> Result<ChatMessage, Failure> {
        let field = |name: &str| format!("messages[{at}].{name}");
        if self.others.get("tool_calls").is_some_and(|calls| !calls.is_null()) {
            return Err(Failure::field(field("tool_calls"), "this is not supported; leave it out"));
        }
        let role = match self.role.as_str() {
            "system" | "developer" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(Failure::field(field("role"), "use system, developer, user or assistant")),
        };
        let content = match &self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => text_of(parts)
                .ok_or_else(|| Failure::field(field("content"), "only parts of type text are supported"))?,
            Some(Value::Null) | None if role == Role::Assistant => String::new(),
            _ => return Err(Failure::field(field("content"), "a text or a list of text parts")),
        };
        Ok(ChatMessage::new(role, content))
    }
}

/// The texts of parts of type `text`, joined; none when there is another part.
fn text_of(parts: &[Value]) -> Option<String> {
    parts.iter().map(|part| part["text"].as_str().filter(|_| part["type"] == "text")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn generate(change: Value) -> Result<GenerateRequest, Failure> {
        let mut body = json!({ "model": "m", "messages": [{ "role": "user", "content": "hi" }] });
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        serde_json::from_value::<Request>(body).unwrap().generate(7)
    }

    #[test]
    fn fields_that_change_nothing_are_tolerated() {
        let request = generate(json!({
            "n": 1, "user": "u", "tools": [], "response_format": { "type": "text" }, "logprobs": false,
            "presence_penalty": 0, "store": true, "a_field_of_next_year": {}, "tool_choice": "none",
        }));
        assert_eq!((request.as_ref().unwrap().seed, request.unwrap().max_tokens), (7, GENERATE_TOKENS_DEFAULT));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        let check = |change: Value, field: &str| {
            assert_eq!(generate(change).unwrap_err().violations[0].field, field);
        };
        check(json!({ "n": 2 }), "n");
        check(json!({ "tools": [{ "type": "function" }] }), "tools");
        check(json!({ "response_format": { "type": "json_object" } }), "response_format");
        check(json!({ "logprobs": true }), "logprobs");
        check(json!({ "frequency_penalty": 0.5 }), "frequency_penalty");
        check(json!({ "stop": 7 }), "stop");
        check(json!({ "messages": [{ "role": "tool", "content": "x" }] }), "messages[0].role");
        let image = json!([{ "type": "image_url", "image_url": { "url": "x" } }]);
        check(json!({ "messages": [{ "role": "user", "content": image }] }), "messages[0].content");
    }

    #[test]
    fn parts_stops_seed_and_bounds_are_read() {
        let request = generate(json!({
            "messages": [{ "role": "developer", "content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] }],
            "stop": ["x", "y"], "seed": -1, "max_tokens": 3, "max_completion_tokens": 5, "temperature": 0,
        }));
        let request = request.unwrap();
        let steward_inference::Prompt::Messages(messages) = &request.prompt else { panic!() };
        assert_eq!((messages[0].role, messages[0].content.as_str()), (Role::System, "ab"));
        assert_eq!((request.stop.len(), request.seed, request.max_tokens), (2, u64::MAX, 5));
        assert!(request.sampling.temperature.abs() < f32::EPSILON);
    }
}
