//! What a model is asked: a prompt, how to sample, and where to stop.

use serde::{Deserialize, Serialize};
use steward_types::limits::{GENERATE_TOKENS_DEFAULT, STOP_SEQUENCE_BYTES_MAX, STOP_SEQUENCES_MAX};

use crate::ModelError;

/// Who speaks in a chat message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the roles are the chat format's own")]
pub enum Role {
    System,
    User,
    Assistant,
    Tool,
}

impl Role {
    /// The name that chat templates know.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
            Self::Tool => "tool",
        }
    }
}

/// One message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: String,
}

impl ChatMessage {
    /// A message of `role`.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into() }
    }

    /// A system message.
    pub fn system(content: impl Into<String>) -> Self {
        Self::new(Role::System, content)
    }

    /// A user's message.
    pub fn user(content: impl Into<String>) -> Self {
        Self::new(Role::User, content)
    }

    /// An assistant's message.
    pub fn assistant(content: impl Into<String>) -> Self {
        Self::new(Role::Assistant, content)
    }
}

/// What the model goes on from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prompt {
    /// A chat, put into the model's own chat template. Text in it never counts as a control token.
    Messages(Vec<ChatMessage>),
    /// Raw text, without a template.
    Text(String),
}

/// How the next token is drawn from the model's distribution. The order is: repetition penalty, temperature, top-k,
/// top-p, min-p.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// 0 takes the likeliest token always; at most 2.
    pub temperature: f32,
    /// Only the likeliest tokens whose probabilities reach this sum; 1 switches it off.
    pub top_p: f32,
    /// Only this many of the likeliest tokens; 0 switches it off.
    pub top_k: u32,
    /// Only tokens at least this share as likely as the likeliest; 0 switches it off.
    pub min_p: f32,
    /// Above 1, tokens that stand in the prompt or completion get less likely; 1 switches it off.
    pub repetition_penalty: f32,
}

impl Default for Sampling {
    fn default() -> Self {
        Self { temperature: 0.7, top_p: 0.95, top_k: 40, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

impl Sampling {
    /// The likeliest token always.
    pub fn greedy() -> Self {
        Self { temperature: 0.0, top_p: 1.0, top_k: 0, min_p: 0.0, repetition_penalty: 1.0 }
    }
}

/// A request to generate. The same request gives the same tokens, whatever else the replica runs meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GenerateRequest {
    /// What the model goes on from.
    pub prompt: Prompt,
    /// How tokens are drawn.
    pub sampling: Sampling,
    /// Most tokens of the completion.
    pub max_tokens: u32,
    /// Texts at which the completion ends, themselves left out.
    pub stop: Vec<String>,
    /// Where the draw starts. The caller takes one from its `Entropy` when its user names none.
    pub seed: u64,
}

impl GenerateRequest {
    /// A request with the default sampling, length and seed.
    pub fn new(prompt: Prompt) -> Self {
        let (sampling, max_tokens) = (Sampling::default(), GENERATE_TOKENS_DEFAULT);
        Self { prompt, sampling, max_tokens, stop: Vec::new(), seed: 0 }
    }

    /// A request to go on with a chat.
    pub fn chat(messages: Vec<ChatMessage>) -> Self {
        Self::new(Prompt::Messages(messages))
    }

    /// A request to go on with raw text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Prompt::Text(text.into()))
    }

    /// Checks each field's range; [`ModelError::InvalidRequest`] names the first that is wrong.
    pub fn validate(&self) -> Result<(), ModelError> {
        let sampling = &self.sampling;
        in_range("temperature", sampling.temperature, 0.0, 2.0)?;
        in_range("top_p", sampling.top_p, f32::MIN_POSITIVE, 1.0)?;
        in_range("min_p", sampling.min_p, 0.0, 1.0)?;
        in_range("repetition_penalty", sampling.repetition_penalty, 0.1, 10.0)?;
        if self.max_tokens == 0 {
            return invalid("max_tokens", "must be at least 1");
        }
        if self.stop.len() > STOP_SEQUENCES_MAX {
            return invalid("stop", format!("at most {STOP_SEQUENCES_MAX} sequences, not {}", self.stop.len()));
        }
        if self.stop.iter().any(|stop| stop.is_empty() || stop.len() > STOP_SEQUENCE_BYTES_MAX) {
            return invalid("stop", format!("a sequence has 1 to {STOP_SEQUENCE_BYTES_MAX} bytes"));
        }
        match &self.prompt {
            Prompt::Messages(messages) if messages.is_empty() => invalid("messages", "must not be empty"),
            Prompt::Text(text) if text.is_empty() => invalid("prompt", "must not be empty"),
            _ => Ok(()),
        }
    }
}

fn in_range(field: &'static str, value: f32, least: f32, most: f32) -> Result<(), ModelError> {
    // A NaN is in no range.
    if (least..=most).contains(&value) {
        return Ok(());
    }
    invalid(field, format!("{value} is not between {least} and {most}"))
}

fn invalid<T>(field: &'static str, what: impl Into<String>) -> Result<T, ModelError> {
    Err(ModelError::InvalidRequest { field: field.into(), what: what.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_out_of_range_is_named() {
        let check = |field: &str, change: fn(&mut GenerateRequest)| {
            let mut request = GenerateRequest::text("a");
            request.validate().unwrap();
            change(&mut request);
            assert!(request.validate().unwrap_err().to_string().starts_with(field), "{field}");
        };
        check("temperature", |r| r.sampling.temperature = -0.1);
        check("temperature", |r| r.sampling.temperature = f32::NAN);
        check("top_p", |r| r.sampling.top_p = 0.0);
        check("min_p", |r| r.sampling.min_p = 1.5);
        check("repetition_penalty", |r| r.sampling.repetition_penalty = f32::INFINITY);
        check("max_tokens", |r| r.max_tokens = 0);
        check("stop", |r| r.stop = vec![String::new()]);
        check("stop", |r| r.stop = vec!["a".into(); 5]);
        check("messages", |r| r.prompt = Prompt::Messages(vec![]));
        check("prompt", |r| r.prompt = Prompt::Text(String::new()));
    }
}
