//! The host functions, version 1, as typed values: what a step's arguments mean.
//!
//! A script's call is put into this form, checked, before it becomes a step; a host reads it back with
//! [`HostCall::parse`]. Names and fields are part of the journal's format: add, never rename.

mod chains;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use steward_types::{Amount, ErrorCode};

pub use self::chains::{AskedAt, BalanceOptions, ContractCallOptions, ReadOptions, SendOptions, WaitOptions};
use crate::port::{StepCall, StepError};

/// One call of a host function with its arguments.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "function", rename_all = "snake_case", deny_unknown_fields)]
pub enum HostCall {
    /// `chat(messages|text [, options])`: answers `{text, model, finish_reason, usage}`.
    Chat {
        /// The conversation, oldest first.
        messages: Vec<ChatMessage>,
        /// How to generate.
        options: GenerateOptions,
    },
    /// `generate(prompt [, options])`: answers `{text, model, finish_reason, usage}`.
    Generate {
        /// The text to go on from, without a chat template.
        prompt: String,
        /// How to generate.
        options: GenerateOptions,
    },
    /// `embed(text)`: answers an array of numbers.
    Embed {
        /// The text.
        text: String,
    },
    /// `remember(text [, metadata])`: answers `{id}`.
    Remember {
        /// The text.
        text: String,
        /// What `recall` gives back beside the text; null when none was given.
        metadata: Value,
    },
    /// `recall(query, n)`: answers an array of `{id, text, metadata, score}`, best first.
    Recall {
        /// What to look for.
        query: String,
        /// Most matches.
        count: u32,
    },
    /// `http(method, url [, options])`: answers `{status, headers, body, json}`.
    Http {
        /// The method, in upper case.
        method: String,
        /// The absolute URL.
        url: String,
        /// Headers, body and the rest.
        options: HttpOptions,
    },
    /// `ask_human(question [, options])`: answers `{approved, answer, by}`.
    AskHuman {
        /// The question.
        question: String,
        /// Choices and time limit.
        options: AskOptions,
    },
    /// `sleep(ms|"2h")`: answers null once the time has passed.
    Sleep {
        /// Milliseconds.
        millis: u64,
    },
    /// `now()`: answers milliseconds since the Unix epoch.
    Now {},
    /// `uuid()`: answers a random UUID as text.
    Uuid {},
    /// `random()`: answers a number of at least 0 and below 1.
    Random {},
    /// `call_agent(name, input [, options])`: answers what the other agent replied.
    CallAgent {
        /// The agent's name in the same project.
        agent: String,
        /// Its message.
        input: Value,
        /// How long to wait.
        options: CallOptions,
    },
    /// `state(key)`: answers what was set in this session, or null.
    State {
        /// The key.
        key: String,
    },
    /// `set_state(key, value)`: answers null.
    SetState {
        /// The key.
        key: String,
        /// The value; null removes it.
        value: Value,
    },
    /// `reply(value)`: answers null.
    Reply {
        /// The answer to the message, or a further part of it.
        value: Value,
    },
    /// `emit(name, value)`: answers null.
    Emit {
        /// The event's name.
        name: String,
        /// Its content.
        value: Value,
    },
    /// `log([level,] text)`: answers null.
    Log {
        /// How grave it is.
        level: LogLevel,
        /// The line.
        text: String,
    },
    /// `chain(name).balance(account [, asset | options])`: answers the amount as text.
    ChainBalance {
        /// The chain's CAIP-2 identifier.
        chain: String,
        /// Whose balance.
        account: String,
        /// Of what, and as of when.
        options: BalanceOptions,
    },
    /// `chain(name).read(contract, [signature,] arguments [, options])`: answers what the contract answers.
    ChainRead {
        /// The chain's CAIP-2 identifier.
        chain: String,
        /// The contract's address.
        contract: String,
        /// The function and its types; none where a message says it all.
        signature: Option<String>,
        /// The function's arguments, or the message.
        arguments: Value,
        /// As of when.
        options: ReadOptions,
    },
    /// `chain(name).send(to, amount [, options])`: answers the order's id, once the order is recorded.
    ChainSend {
        /// The chain's CAIP-2 identifier.
        chain: String,
        /// Who receives it.
        to: String,
        /// How much, in the smallest unit.
        amount: Amount,
        /// Of what.
        options: SendOptions,
    },
    /// `chain(name).call(contract, [signature,] arguments [, options])`: answers the order's id, once it is recorded.
    ChainCall {
        /// The chain's CAIP-2 identifier.
        chain: String,
        /// The contract's address.
        contract: String,
        /// The function and its types; none where a message says it all.
        signature: Option<String>,
        /// The function's arguments, or the message.
        arguments: Value,
        /// How much coin goes with it.
        options: ContractCallOptions,
    },
    /// `chain(name).wait(id [, options])`: answers `{succeeded, transaction, block, fee, price, reason}` once the
    /// transaction is final.
    ChainWait {
        /// The chain's CAIP-2 identifier.
        chain: String,
        /// What `send` or `call` answered.
        id: String,
        /// How long to wait.
        options: WaitOptions,
    },
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatMessage {
    /// Who speaks.
    pub role: ChatRole,
    /// What is said.
    pub content: String,
}

/// Who speaks in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatRole {
    /// The instructions.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

/// How to generate. What is left out is the model's or the manifest's own choice.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GenerateOptions {
    /// The model's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Most tokens to generate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Randomness; 0 always takes the likeliest token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// Keep the likeliest tokens that have this probability together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Keep this many of the likeliest tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Keep tokens at least this probable, relative to the likeliest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_p: Option<f64>,
    /// Above 1, makes tokens that stand in the context less likely.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
    /// The same seed gives the same tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Texts that end the generation; they are not part of the answer.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<String>,
}

/// What an HTTP call has besides its method and URL.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpOptions {
    /// Request headers.
    #[serde(skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub headers: std::collections::BTreeMap<String, String>,
    /// The body as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The body as JSON; sets `content-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub json: Option<Value>,
    /// Whether it may be sent again when the outcome is unknown after a crash. Left out: GET and HEAD may, and the
    /// others when the manifest says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Longest time, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How a human is asked.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AskOptions {
    /// Answers to choose from; none means yes or no, with a comment.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<String>,
    /// Who is asked, such as a team's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Longest wait, in milliseconds; it then counts as not approved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How another agent is called.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallOptions {
    /// Longest wait, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// How grave a log line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For finding errors.
    Debug,
    /// For the record.
    Info,
    /// Something is odd.
    Warn,
    /// A person should look.
    Error,
}

impl HostCall {
    /// Reads a step's arguments back.
    ///
    /// # Errors
    /// `STEP_INVALID` when the function is unknown or an argument is missing or wrong.
    pub fn parse(call: &StepCall) -> Result<Self, StepError> {
        Self::from_parts(&call.function, call.arguments.clone())
    }

    pub(crate) fn from_parts(function: &str, arguments: Value) -> Result<Self, StepError> {
        let invalid = |message| StepError { code: ErrorCode::StepInvalid, message, data: Value::Null };
        let Value::Object(mut fields) = arguments else {
            return Err(invalid(format!("{function}: the arguments are no object")));
        };
        fields.insert("function".to_owned(), Value::from(function));
        serde_json::from_value(Value::Object(fields)).map_err(|error| invalid(format!("{function}: {error}")))
    }

    /// The function's name and its arguments by name, in the form of a step.
    pub fn into_parts(self) -> (String, Value) {
        let Ok(Value::Object(mut fields)) = serde_json::to_value(self) else {
            unreachable!("a host call is an object with string keys");
        };
        let Some(Value::String(function)) = fields.shift_remove("function") else {
            unreachable!("a host call carries its function");
        };
        (function, Value::Object(fields))
    }
}
