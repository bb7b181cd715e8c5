//! `embed`, `remember` and `recall`: vectors of texts, by the agent's embedding model.

use std::sync::Arc;

use serde_json::{Value, json};
use steward_inference::{Model, ModelError, Prompt};
use steward_receipts::{Hash, LeafModel};
use steward_scripting::StepCall;
use steward_types::{ErrorCode, Micros};

use super::Begun;
use crate::budget::{Price, PriceError, Usage};
use crate::memory::{MemoryError, NewMemory};
use crate::session::change::Change;
use crate::session::error::SessionError;
use crate::session::event::StepUsage;
use crate::session::journal::StepState;
use crate::session::record::StepOutcome;
use crate::session::turn::{Durability, Spent, StepResult, Turn};

/// `embed`.
pub(super) async fn embed(turn: &Turn, call: &StepCall, text: String, begun: Begun) -> StepResult {
    let embedded = match Embedding::prepare(turn, text, None).await {
        Ok(embedding) => embedding.run(turn, call, begun).await?,
        Err(refused) => return refused.end(turn, call, begun).await,
    };
    match embedded {
        Ok((vector, spent)) => {
            let outcome = StepOutcome::Value(to_script(&vector));
            turn.finish(call, outcome, Some(spent), Durability::Next, Vec::new()).await
        }
        Err(outcome) => Ok(outcome),
    }
}

/// Numbers as a script sees them.
fn to_script(vector: &[f32]) -> Value {
    json!(vector)
}

/// Why a step was not begun; the script may catch it.
pub(super) struct Refused {
    code: ErrorCode,
    message: String,
}

impl Refused {
    /// Gives the script the error, and back what an earlier run held.
    pub(super) async fn end(self, turn: &Turn, call: &StepCall, begun: Begun) -> StepResult {
        if begun == Begun::New {
            return Ok(turn.refuse(call, self.code, self.message));
        }
        let release = vec![Change::Release(turn.hold(call))];
        let outcome = StepOutcome::error(self.code, self.message);
        turn.finish(call, outcome, None, Durability::Now, release).await
    }
}

impl From<ModelError> for Refused {
    fn from(error: ModelError) -> Self {
        Self { code: error.code(), message: error.to_string() }
    }
}

impl From<PriceError> for Refused {
    fn from(error: PriceError) -> Self {
        Self { code: ErrorCode::PriceMissing, message: error.to_string() }
    }
}

/// A text that can be embedded: its model is there, and its price is known.
pub(super) struct Embedding {
    model: Arc<dyn Model>,
    text: String,
    tokens: u32,
    price: Price,
    /// What the function that embeds costs besides.
    surcharge: Micros,
}

impl Embedding {
    /// Finds the model and the price; `function` is what else is charged for.
    pub(super) async fn prepare(turn: &Turn, text: String, function: Option<&str>) -> Result<Self, Refused> {
        let id = turn.agent.manifest.models.embed.as_ref().ok_or_else(|| Refused {
            code: ErrorCode::ModelNotFound,
            message: "the manifest names no embedding model".to_owned(),
        })?;
        let model = turn.at_work.outside(turn.environment.models.get(id)).await?;
        let price = turn.prices.model(id.as_str())?;
        let surcharge = match function {
            Some(function) => turn.prices.function(function)?.cost(Usage::default())?,
            None => Micros::ZERO,
        };
        let tokens = turn.at_work.outside(model.count_tokens(&Prompt::Text(text.clone()))).await?;
        Ok(Self { model, text, tokens, price, surcharge })
    }

    fn usage(&self, millis: u64) -> Usage {
        Usage { input_tokens: u64::from(self.tokens), output_tokens: 0, millis }
    }

    fn cost(&self, millis: u64) -> Result<Micros, SessionError> {
        let cost = self.price.cost(self.usage(millis)).map_err(|error| SessionError::Internal(error.to_string()))?;
        cost.add(self.surcharge).map_err(|error| SessionError::Internal(error.to_string()))
    }

    /// Holds the price and embeds. An error of the model ends the step with nothing paid.
    pub(super) async fn run(
        self,
        turn: &Turn,
        call: &StepCall,
        begun: Begun,
    ) -> Result<Result<(Vec<f32>, Spent), StepOutcome>, SessionError> {
        let held = self.cost(0)?;
        if begun == Begun::New {
            let state = StepState::Started { emitted_bytes: 0 };
            if let Err(refused) = turn.begin(call, Some(held), state, Vec::new()).await? {
                return Ok(Err(match refused {
                    StepOutcome::Error { code, message, .. } => turn.refuse(call, code, message),
                    other => other,
                }));
            }
        }
        let embedded = match turn.at_work.outside(self.model.embed(vec![self.text.clone()])).await {
            Ok(embedded) => embedded,
            Err(error) => {
                let outcome = StepOutcome::error(error.code(), error.to_string());
                let release = vec![Change::Release(turn.hold(call))];
                return Ok(Err(turn.finish(call, outcome, None, Durability::Now, release).await?));
            }
        };
        let millis = embedded.usage.compute_micros / 1_000;
        let card = self.model.card();
        let model = LeafModel { id: card.id.clone(), hash: Hash::from_bytes(*card.hash.as_bytes()) };
        let used =
            StepUsage { model: card.id.clone(), prompt_tokens: self.tokens, completion_tokens: 0, model_ms: millis };
        // Time can't be foreseen as tokens can: what was not held is not charged.
        let price = self.cost(millis)?.min(held);
        let spent = Spent { price, usage: self.usage(millis), model: Some((model, used)) };
        let vector = embedded.vectors.into_iter().next().unwrap_or_default();
        Ok(Ok((vector, spent)))
    }
}

/// `remember`: the text is written with the step's result, so once for the step.
pub(super) async fn remember(turn: &Turn, call: &StepCall, text: String, metadata: Value, begun: Begun) -> StepResult {
    let embedded = match Embedding::prepare(turn, text.clone(), Some("remember")).await {
        Ok(embedding) => embedding.run(turn, call, begun).await?,
        Err(refused) => return refused.end(turn, call, begun).await,
    };
    let (vector, spent) = match embedded {
        Ok(embedded) => embedded,
        Err(outcome) => return Ok(outcome),
    };
    let id = turn.hold(call);
    let outcome = StepOutcome::Value(json!({ "id": id }));
    let memory = vec![Change::Remember(Box::new(NewMemory { id, text, metadata, vector }))];
    match turn.finish(call, outcome, Some(spent), Durability::Now, memory).await {
        Err(SessionError::Memory(error)) => {
            let release = vec![Change::Release(id)];
            let outcome = StepOutcome::error(error.code(), error.to_string());
            turn.finish(call, outcome, None, Durability::Now, release).await
        }
        other => other,
    }
}

/// `recall`: the nearest texts that the project remembers.
pub(super) async fn recall(turn: &Turn, call: &StepCall, query: String, count: u32, begun: Begun) -> StepResult {
    let embedded = match Embedding::prepare(turn, query, Some("recall")).await {
        Ok(embedding) => embedding.run(turn, call, begun).await?,
        Err(refused) => return refused.end(turn, call, begun).await,
    };
    let (vector, spent) = match embedded {
        Ok(embedded) => embedded,
        Err(outcome) => return Ok(outcome),
    };
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let outcome = match turn.environment.memories.recall(&turn.record.project, &vector, count).await {
        Ok(found) => StepOutcome::Value(json!(found)),
        Err(MemoryError::Store(error)) => return Err(error.into()),
        Err(error) => StepOutcome::error(error.code(), error.to_string()),
    };
    turn.finish(call, outcome, Some(spent), Durability::Next, Vec::new()).await
}
