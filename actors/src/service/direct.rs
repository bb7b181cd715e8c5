//! Direct model calls: a chat completion or embeddings without a session, held before, settled after, with a receipt.
//!
//! A call runs as a task of the node's own, so that it is settled also when its client goes away in the middle: then
//! the model stops, and what was made so far is paid.

mod billed;

use serde::Serialize;
use steward_inference::{FinishReason, GenerateRequest};
use steward_receipts::Hash;
use steward_types::limits::DIRECT_EVENTS_MAX;
use steward_types::{ErrorCode, HoldId, Micros, ModelId, ProjectId};
use tokio::sync::{mpsc, oneshot};

use self::billed::Billed;
use super::{Failure, Steward};
use crate::budget::{call_hold, ledger};

/// Who calls which model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectCall {
    /// Whose money is spent.
    pub project: ProjectId,
    /// The API key's id.
    pub key: String,
    /// The model.
    pub model: ModelId,
}

/// What a call used, what it cost, and its receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirectUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens made.
    pub completion_tokens: u32,
    /// What was paid.
    pub price: Micros,
    /// The receipt's id.
    pub receipt: HoldId,
}

/// What happens in a chat completion.
#[derive(Debug, Clone, PartialEq)]
pub enum DirectChatEvent {
    /// A piece of the answer.
    Text(String),
    /// It is over and settled.
    Finished {
        /// What it used and cost.
        usage: DirectUsage,
        /// Why it ended.
        reason: FinishReason,
    },
}

/// A chat completion that runs. Dropping it stops the model within one token and settles what was made.
#[derive(Debug)]
pub struct DirectChat {
    events: mpsc::Receiver<Result<DirectChatEvent, Failure>>,
}

impl DirectChat {
    /// What happens next; absent after the end.
    pub async fn next(&mut self) -> Option<Result<DirectChatEvent, Failure>> {
        self.events.recv().await
    }

    /// The whole answer.
    ///
    /// # Errors
    /// What the model or the budget failed with.
    pub async fn complete(mut self) -> Result<(String, DirectUsage, FinishReason), Failure> {
        let mut text = String::new();
        while let Some(event) = self.next().await {
            match event? {
                DirectChatEvent::Text(more) => text.push_str(&more),
                DirectChatEvent::Finished { usage, reason } => return Ok((text, usage, reason)),
            }
        }
        Err(Failure::new(ErrorCode::Internal, "the completion ended without saying why"))
    }
}

/// Embeddings and what they cost.
#[derive(Debug, Clone, PartialEq)]
pub struct DirectEmbedding {
    /// One vector of length 1 for each text.
    pub vectors: Vec<Vec<f32>>,
    /// What they used and cost.
    pub usage: DirectUsage,
}

impl Steward {
    /// Starts a chat completion. Returns once the prompt and a first slice of the answer are held.
    ///
    /// # Errors
    /// [`ErrorCode::ModelNotFound`], [`ErrorCode::ModelUnsuited`], [`ErrorCode::ContextTooLong`],
    /// [`ErrorCode::BudgetExhausted`], [`ErrorCode::PriceMissing`], [`ErrorCode::RateLimited`], or a field violation.
    pub async fn chat(&self, call: DirectCall, request: GenerateRequest) -> Result<DirectChat, Failure> {
        request.validate()?;
        let prompt_hash = hash_of(&request)?;
        let billed = self.bill(call, "chat", prompt_hash).await?;
        let (events, receiver) = mpsc::channel(DIRECT_EVENTS_MAX);
        let (started, starts) = oneshot::channel();
        self.0.direct_calls.spawn(async move { billed.generate(request, started, events).await });
        starts.await.map_err(|_| ended_early())??;
        Ok(DirectChat { events: receiver })
    }

    /// Embeds texts.
    ///
    /// # Errors
    /// As [`chat`](Self::chat).
    pub async fn embed(&self, call: DirectCall, texts: Vec<String>) -> Result<DirectEmbedding, Failure> {
        let prompt_hash = hash_of(&texts)?;
        let billed = self.bill(call, "embed", prompt_hash).await?;
        let (done, result) = oneshot::channel();
        self.0.direct_calls.spawn(async move {
            // Nobody may be there to hear of it; it is settled all the same.
            drop(done.send(billed.embed(texts).await));
        });
        result.await.map_err(|_| ended_early())?
    }

    async fn bill(&self, call: DirectCall, function: &'static str, prompt_hash: Hash) -> Result<Billed, Failure> {
        let model = self.parts().models.get(&call.model).await?;
        let prices = ledger::prices(&self.store().begin(), &call.project).await?;
        let price = prices.model(call.model.as_str())?;
        let lane = self.0.lanes.take(&call.project, &call.key);
        let lane =
            lane.ok_or_else(|| Failure::new(ErrorCode::RateLimited, "too many calls of this key are in flight"))?;
        let request = hex::encode(self.entropy().bytes_16());
        let hold = call_hold(&call.project, &call.key, &request);
        let started = self.clock().monotonic();
        let steward = self.clone();
        let held = Micros::ZERO;
        Ok(Billed { steward, call, model, price, lane, request, hold, function, prompt_hash, started, held })
    }
}

fn hash_of(request: &impl Serialize) -> Result<Hash, Failure> {
    let json = serde_json::to_vec(request);
    let json = json.map_err(|error| Failure::new(ErrorCode::InvalidRequest, error.to_string()))?;
    Ok(Hash::of(&json))
}

fn ended_early() -> Failure {
    Failure::new(ErrorCode::Internal, "the call's task ended early")
}
