//! `chat` and `generate`: a model's answer, token by token into the session's log, paid slice by slice.
//!
//! A hold covers the prompt and a slice of tokens; it grows while the stream runs, and where the budget has no more,
//! the stream ends exactly there. After a crash the same seed gives the same tokens: what watchers saw is not repeated.

use futures::StreamExt;
use futures::future::{BoxFuture, Either, select};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::sync::Arc;

use steward_inference::{
    ChatMessage, FinishReason, GenerateRequest, Generation, GenerationEvent, Model, ModelError, Prompt, Role, Sampling,
};
use steward_receipts::{Hash, LeafModel};
use steward_scripting::StepCall;
use steward_scripting::call::{ChatMessage as ScriptMessage, ChatRole, GenerateOptions};
use steward_types::limits::{DELTA_TIME_MAX, GENERATE_TOKENS_DEFAULT, HOLD_SLICE_TOKENS};
use steward_types::{ErrorCode, HoldId, Micros, ModelId};

use super::Begun;
use crate::budget::{LedgerError, Price, Usage};
use crate::session::change::Change;
use crate::session::error::SessionError;
use crate::session::event::{EventBody, StepUsage};
use crate::session::journal::StepState;
use crate::session::record::StepOutcome;
use crate::session::turn::{Durability, Spent, StepResult, Turn};

/// `chat`: the messages go through the model's own template.
pub(super) async fn chat(
    turn: &Turn,
    call: &StepCall,
    messages: Vec<ScriptMessage>,
    options: GenerateOptions,
    begun: Begun,
) -> StepResult {
    let message = |message: ScriptMessage| ChatMessage::new(role(message.role), message.content);
    run(turn, call, Prompt::Messages(messages.into_iter().map(message).collect()), options, begun).await
}

/// `generate`: the model goes on from the text as it is.
pub(super) async fn generate(
    turn: &Turn,
    call: &StepCall,
    prompt: String,
    options: GenerateOptions,
    begun: Begun,
) -> StepResult {
    run(turn, call, Prompt::Text(prompt), options, begun).await
}

const fn role(role: ChatRole) -> Role {
    match role {
        ChatRole::System => Role::System,
        ChatRole::User => Role::User,
        ChatRole::Assistant => Role::Assistant,
    }
}

async fn run(turn: &Turn, call: &StepCall, prompt: Prompt, options: GenerateOptions, begun: Begun) -> StepResult {
    let prepared = match turn.at_work.outside(prepare(turn, call, prompt, &options)).await {
        Ok(prepared) => prepared,
        Err(Refused { code, message }) => return give_up(turn, call, begun, code, message).await,
    };
    let emitted_bytes = match begun {
        Begun::Before { emitted_bytes } => emitted_bytes,
        Begun::New | Begun::Waiting => 0,
    };
    let mut stream = Stream::new(turn, call, &prepared, emitted_bytes);
    let first = prepared.request.max_tokens.min(HOLD_SLICE_TOKENS);
    let held = if begun == Begun::New {
        match stream.hold_first(first).await? {
            Ok(held) => held,
            Err(StepOutcome::Error { code, message, .. }) => return Ok(turn.refuse(call, code, message)),
            Err(other) => return Ok(other),
        }
    } else {
        let total = prepared.cost(first)?;
        turn.commit(vec![Change::Grow(stream.hold, total)]).await?.unwrap_or(total)
    };
    stream.granted = stream.tokens_within(held);
    if stream.granted == 0 {
        let message = "the budget pays for the prompt but for no token of an answer";
        return give_up(turn, call, Begun::Before { emitted_bytes }, ErrorCode::BudgetExhausted, message).await;
    }
    let request = prepared.request.clone();
    match turn.at_work.outside(prepared.model.generate(request)).await {
        Ok(generation) => stream.follow(generation).await,
        Err(error) => stream.fail(error).await,
    }
}

/// Ends a step that was refused; a hold of an earlier run is given back.
async fn give_up(
    turn: &Turn,
    call: &StepCall,
    begun: Begun,
    code: ErrorCode,
    message: impl Into<String>,
) -> StepResult {
    if begun == Begun::New {
        return Ok(turn.refuse(call, code, message));
    }
    let release = vec![Change::Release(turn.hold(call))];
    turn.finish(call, StepOutcome::error(code, message), None, Durability::Now, release).await
}

/// Why a generation was not begun; the script may catch it.
struct Refused {
    code: ErrorCode,
    message: String,
}

impl From<ModelError> for Refused {
    fn from(error: ModelError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

/// A generation that can begin.
struct Prepared {
    model: Arc<dyn Model>,
    price: Price,
    prompt_tokens: u32,
    request: GenerateRequest,
}

impl Prepared {
    /// What the prompt and so many tokens cost.
    fn cost(&self, tokens: u32) -> Result<Micros, SessionError> {
        let worst = self.price.worst_case(u64::from(self.prompt_tokens), u64::from(tokens), 0);
        worst.map_err(|error| SessionError::Internal(error.to_string()))
    }
}

async fn prepare(turn: &Turn, call: &StepCall, prompt: Prompt, options: &GenerateOptions) -> Result<Prepared, Refused> {
    let refused = |code, message: String| Refused { code, message };
    let id: ModelId = match &options.model {
        Some(name) => name.parse().map_err(|error| refused(ErrorCode::StepInvalid, format!("{error}")))?,
        None => turn.agent.manifest.models.chat.clone().ok_or_else(|| {
            refused(ErrorCode::ModelNotFound, "neither the call nor the manifest names a chat model".to_owned())
        })?,
    };
    let model = turn.environment.models.get(&id).await?;
    let price = turn.prices.model(id.as_str()).map_err(|error| refused(ErrorCode::PriceMissing, error.to_string()))?;
    let prompt_tokens = model.count_tokens(&prompt).await?;
    let context_tokens = model.card().context_tokens;
    let room = context_tokens.saturating_sub(prompt_tokens);
    if room == 0 {
        return Err(ModelError::ContextTooLong { tokens: u64::from(prompt_tokens), limit: context_tokens }.into());
    }
    let request = GenerateRequest {
        prompt,
        sampling: sampling(options),
        max_tokens: options.max_tokens.unwrap_or(GENERATE_TOKENS_DEFAULT).min(room),
        stop: options.stop.clone(),
        seed: options.seed.unwrap_or_else(|| seed(turn, call)),
    };
    request.validate()?;
    let prepared = Prepared { model, price, prompt_tokens, request };
    prepared.cost(u32::MAX).map_err(|error| refused(ErrorCode::StepInvalid, error.to_string()))?;
    Ok(prepared)
}

fn sampling(options: &GenerateOptions) -> Sampling {
    let default = Sampling::default();
    #[expect(clippy::cast_possible_truncation, reason = "sampling works in 32-bit floats")]
    let float = |given: Option<f64>, default: f32| given.map_or(default, |given| given as f32);
    Sampling {
        temperature: float(options.temperature, default.temperature),
        top_p: float(options.top_p, default.top_p),
        top_k: options.top_k.unwrap_or(default.top_k),
        min_p: float(options.min_p, default.min_p),
        repetition_penalty: float(options.repetition_penalty, default.repetition_penalty),
    }
}

/// The seed of a step that names none: always the same for the same step.
fn seed(turn: &Turn, call: &StepCall) -> u64 {
    let mut hash = Sha256::new();
    hash.update(b"steward seed of a step\0");
    hash.update(turn.place.session.as_bytes());
    hash.update(turn.place.turn.to_be_bytes());
    hash.update(call.path.to_string());
    let digest: [u8; 32] = hash.finalize().into();
    // 53 bits, so that the seed survives as a JSON number everywhere.
    u64::from_be_bytes(digest[..8].try_into().unwrap_or_default()) >> 11
}

/// Why something is to be committed.
enum Gathered {
    /// A slice of tokens is full.
    Slice,
    /// The last was long ago.
    Time,
    Finished(steward_inference::Usage, FinishReason),
    Failed(ModelError),
}

/// A stream while it runs.
struct Stream<'a> {
    turn: &'a Turn,
    call: &'a StepCall,
    prepared: &'a Prepared,
    hold: HoldId,
    /// Tokens that are paid for.
    granted: u32,
    /// Tokens that were made.
    made: u32,
    text: String,
    /// Bytes of the text that are in the log, or in the commit being made.
    logged_bytes: usize,
    /// Tokens made when something was last committed.
    committed_tokens: u32,
    /// The budget has no more.
    at_ceiling: bool,
}

impl<'a> Stream<'a> {
    fn new(turn: &'a Turn, call: &'a StepCall, prepared: &'a Prepared, emitted_bytes: u64) -> Self {
        Self {
            turn,
            call,
            prepared,
            hold: turn.hold(call),
            granted: 0,
            made: 0,
            text: String::new(),
            logged_bytes: usize::try_from(emitted_bytes).unwrap_or(usize::MAX),
            committed_tokens: 0,
            at_ceiling: false,
        }
    }

    /// Holds the prompt and a first slice, or as much of it as the budget has.
    async fn hold_first(&self, tokens: u32) -> Result<Result<Micros, StepOutcome>, SessionError> {
        let state = || StepState::Started { emitted_bytes: 0 };
        let worst = self.prepared.cost(tokens)?;
        let refused = match self.turn.begin(self.call, Some(worst), state(), Vec::new()).await? {
            Ok(held) => return Ok(Ok(held)),
            Err(refused) => refused,
        };
        let Some(available) = self.turn.affordable().await? else { return Ok(Err(refused)) };
        let affordable = self.tokens_within(available);
        if affordable == 0 {
            return Ok(Err(refused));
        }
        let less = self.prepared.cost(affordable.min(tokens))?;
        self.turn.begin(self.call, Some(less), state(), Vec::new()).await
    }

    /// How many tokens `held` pays for beside the prompt, at most as many as are asked for.
    fn tokens_within(&self, held: Micros) -> u32 {
        let spent = Usage { input_tokens: u64::from(self.prepared.prompt_tokens), ..Usage::default() };
        let within = self.prepared.price.output_tokens_within(held, spent).unwrap_or(u64::MAX);
        u32::try_from(within).unwrap_or(u32::MAX).min(self.prepared.request.max_tokens)
    }

    async fn follow(mut self, mut generation: Generation) -> StepResult {
        let credit = generation.credit();
        credit.grant(self.granted);
        let clock = Arc::clone(&self.turn.environment.clock);
        let mut due = clock.sleep(DELTA_TIME_MAX);
        let turn = self.turn;
        loop {
            match turn.at_work.outside(self.gather(&mut generation, &mut due)).await {
                Gathered::Slice => self.log_progress(&credit).await?,
                Gathered::Time => {
                    self.log_progress(&credit).await?;
                    due = clock.sleep(DELTA_TIME_MAX);
                }
                Gathered::Finished(usage, finish_reason) => return self.finish(usage, finish_reason).await,
                Gathered::Failed(error) => return self.fail(error).await,
            }
        }
    }

    /// Takes what the model makes until there is something to commit.
    async fn gather(&mut self, generation: &mut Generation, due: &mut BoxFuture<'_, ()>) -> Gathered {
        loop {
            let event = match select(generation.next(), &mut *due).await {
                Either::Left((event, _)) => event,
                Either::Right(((), _)) => return Gathered::Time,
            };
            match event {
                Some(Ok(GenerationEvent::Token { text, index })) => {
                    self.text.push_str(&text);
                    self.made = index + 1;
                    if self.made - self.committed_tokens >= HOLD_SLICE_TOKENS || self.is_short() {
                        return Gathered::Slice;
                    }
                }
                Some(Ok(GenerationEvent::Finished { usage, finish_reason })) => {
                    return Gathered::Finished(usage, finish_reason);
                }
                Some(Err(error)) => return Gathered::Failed(error),
                None => {
                    return Gathered::Failed(ModelError::Failed { what: "it ended without saying why".to_owned() });
                }
            }
        }
    }

    /// Whether the model will soon have used up what is paid for, though more is asked for and may be had.
    fn is_short(&self) -> bool {
        !self.at_ceiling
            && self.granted < self.prepared.request.max_tokens
            && self.granted - self.made.min(self.granted) <= HOLD_SLICE_TOKENS / 2
    }

    /// Commits the text so far, and pays for a further slice when the stream is short.
    async fn log_progress(&mut self, credit: &steward_inference::Credit) -> Result<(), SessionError> {
        let mut changes = self.delta();
        if self.is_short() {
            let total = self.granted.saturating_add(HOLD_SLICE_TOKENS).min(self.prepared.request.max_tokens);
            changes.push(Change::Grow(self.hold, self.prepared.cost(total)?));
        }
        self.committed_tokens = self.made;
        if changes.is_empty() {
            return Ok(());
        }
        if let Some(held) = self.turn.commit(changes).await? {
            let granted = self.tokens_within(held).max(self.granted);
            credit.grant(granted - self.granted);
            let wanted = self.granted.saturating_add(HOLD_SLICE_TOKENS).min(self.prepared.request.max_tokens);
            self.granted = granted;
            if granted < wanted {
                self.at_ceiling = true;
                credit.finish();
            }
        }
        Ok(())
    }

    /// The text that watchers have not seen, as an event, with the journal's note of how far they have seen it.
    fn delta(&mut self) -> Vec<Change> {
        let from = self.text.ceil_char_boundary(self.logged_bytes.min(self.text.len()));
        if self.logged_bytes >= self.text.len() || from == self.text.len() {
            return Vec::new();
        }
        let text = self.text[from..].to_owned();
        self.logged_bytes = self.text.len();
        let (offset, emitted_bytes) = (from as u64, self.logged_bytes as u64);
        let mut step = self.turn.row(self.call, StepState::Started { emitted_bytes });
        step.hold = Some(self.hold);
        let path = self.call.path.clone();
        vec![Change::Step(path.clone(), Box::new(step)), Change::Event(Some(path), EventBody::Delta { offset, text })]
    }

    async fn finish(mut self, usage: steward_inference::Usage, finish_reason: FinishReason) -> StepResult {
        let reason = match finish_reason {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::Budget => "budget",
        };
        self.made = usage.completion_tokens;
        let value = json!({
            "text": self.text,
            "model": self.prepared.model.card().id,
            "finish_reason": reason,
            "usage": {
                "prompt_tokens": usage.prompt_tokens,
                "completion_tokens": usage.completion_tokens,
                "total_tokens": usage.prompt_tokens.saturating_add(usage.completion_tokens),
            },
        });
        self.settle(StepOutcome::Value(value), usage.compute_micros / 1_000).await
    }

    /// The model failed: what it made is paid for all the same.
    async fn fail(self, error: ModelError) -> StepResult {
        let outcome = StepOutcome::error(error.code(), error.to_string());
        self.settle(outcome, 0).await
    }

    async fn settle(mut self, outcome: StepOutcome, model_ms: u64) -> StepResult {
        let changes = self.delta();
        let made_something = self.made > 0 || !outcome.is_error();
        let (input_tokens, output_tokens) = (u64::from(self.prepared.prompt_tokens), u64::from(self.made));
        let usage = Usage { input_tokens, output_tokens, millis: model_ms };
        let cost = self.prepared.price.cost(usage).map_err(|error| SessionError::Internal(error.to_string()))?;
        // Time can't be foreseen as tokens can: what was not held is not charged.
        let ceiling = self.prepared.cost(self.granted)?;
        let price = if made_something { cost.min(ceiling) } else { Micros::ZERO };
        let card = self.prepared.model.card();
        let model = LeafModel { id: card.id.clone(), hash: Hash::from_bytes(*card.hash.as_bytes()) };
        let used = StepUsage {
            model: card.id.clone(),
            prompt_tokens: self.prepared.prompt_tokens,
            completion_tokens: self.made,
            model_ms,
        };
        let spent = Spent { price, usage, model: Some((model, used)) };
        self.turn.finish(self.call, outcome, Some(spent), Durability::Next, changes).await
    }
}

impl Turn {
    /// What the session could hold now; none when it has no account or no budget.
    pub(in crate::session) async fn affordable(&self) -> Result<Option<Micros>, SessionError> {
        use steward_storage::StoreExt;
        let (account, now) = (&self.place.account, self.now());
        let result: Result<Micros, LedgerError> = self
            .environment
            .store
            .run(|txn| async move { crate::budget::ledger::affordable(&txn, account, now).await })
            .await;
        match result {
            Ok(available) => Ok(Some(available)),
            Err(LedgerError::Store(error)) => Err(error.into()),
            Err(_) => Ok(None),
        }
    }
}
