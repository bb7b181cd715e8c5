//! A BERT as a `Model`. One request computes at a time, on a blocking thread; others wait, up to a bound.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use steward_inference::{
    Embedded, GenerateRequest, Generation, Model, ModelCard, ModelError, Prompt, ReplicaLoad, Reservation, Usage,
};
use steward_types::Clock;
use steward_types::limits::{EMBED_TEXTS_MAX, REPLICA_QUEUE_MAX};
use tokenizers::Tokenizer;
use tokio::sync::Semaphore;

use crate::bert::Bert;

/// A loaded embedder.
#[derive(Debug)]
pub struct Embedder {
    card: ModelCard,
    encoder: Arc<Encoder>,
    clock: Arc<dyn Clock>,
    turn: Arc<Semaphore>,
    asked: AtomicU32,
    /// The weights' memory: given back when the model is dropped.
    _weights: Reservation,
}

/// What the blocking thread needs.
#[derive(Debug)]
struct Encoder {
    bert: Bert,
    tokenizer: Tokenizer,
    context_tokens: u32,
}

impl Embedder {
    /// Serves a loaded model, for whose weights `weights` was reserved.
    pub fn new(card: ModelCard, bert: Bert, tokenizer: Tokenizer, clock: Arc<dyn Clock>, weights: Reservation) -> Self {
        let encoder = Arc::new(Encoder { bert, tokenizer, context_tokens: card.context_tokens });
        let turn = Arc::new(Semaphore::new(1));
        Self { card, encoder, clock, turn, asked: AtomicU32::new(0), _weights: weights }
    }

    async fn embed_in_turn(&self, texts: Vec<String>) -> Result<Embedded, ModelError> {
        let failed = |what: String| ModelError::Failed { what };
        let permit = Arc::clone(&self.turn).acquire_owned().await.map_err(|error| failed(error.to_string()))?;
        let (encoder, clock) = (Arc::clone(&self.encoder), Arc::clone(&self.clock));
        let computed = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the caller has gone meanwhile.
            let _permit = permit;
            let started = clock.monotonic();
            let (vectors, prompt_tokens) = encoder.embed(&texts)?;
            let took = clock.monotonic().saturating_sub(started);
            let compute_micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
            Ok(Embedded { vectors, usage: Usage { prompt_tokens, compute_micros, ..Usage::default() } })
        });
        computed.await.unwrap_or_else(|error| Err(failed(error.to_string())))
    }
}

/// Counts a request until it is over, however that comes.
struct Asked<'a>(&'a AtomicU32);

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Model for Embedder {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    async fn generate(&self, _: GenerateRequest) -> Result<Generation, ModelError> {
        Err(ModelError::Unsuited { id: self.card.id.clone(), operation: "generate".into() })
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embedded, ModelError> {
        if texts.is_empty() || texts.len() > EMBED_TEXTS_MAX {
            let what = format!("1 to {EMBED_TEXTS_MAX} texts, not {}", texts.len());
            return Err(ModelError::InvalidRequest { field: "texts".into(), what });
        }
        let before = self.asked.fetch_add(1, Ordering::Relaxed);
        let _asked = Asked(&self.asked);
        if before as usize > REPLICA_QUEUE_MAX {
            let reason = format!("{REPLICA_QUEUE_MAX} requests wait already");
            return Err(ModelError::Busy { id: self.card.id.clone(), reason });
        }
        self.embed_in_turn(texts).await
    }

    async fn count_tokens(&self, prompt: &Prompt) -> Result<u32, ModelError> {
        match prompt {
            Prompt::Text(text) => Ok(u32::try_from(self.encoder.tokens(text)?.len()).unwrap_or(u32::MAX)),
            Prompt::Messages(_) => Err(ModelError::Unsuited { id: self.card.id.clone(), operation: "chat".into() }),
        }
    }

    fn load(&self) -> ReplicaLoad {
        let asked = self.asked.load(Ordering::Relaxed);
        ReplicaLoad { active: asked.min(1), waiting: asked.saturating_sub(1) }
    }
}

impl Encoder {
    fn tokens(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let failed = |error| ModelError::Failed { what: format!("the text can't be split into tokens: {error}") };
        Ok(self.tokenizer.encode_fast(text, true).map_err(failed)?.get_ids().to_vec())
    }

    fn embed(&self, texts: &[String]) -> Result<(Vec<Vec<f32>>, u32), ModelError> {
        let all: Vec<Vec<u32>> = texts.iter().map(|text| self.tokens(text)).collect::<Result<_, _>>()?;
        let limit = self.context_tokens;
        if let Some(long) = all.iter().find(|tokens| tokens.len() > limit as usize) {
            return Err(ModelError::ContextTooLong { tokens: long.len() as u64, limit });
        }
        let count: usize = all.iter().map(Vec::len).sum();
        let failed = |error: candle_core::Error| ModelError::Failed { what: error.to_string() };
        let vectors = all.iter().map(|tokens| self.bert.embed(tokens).map_err(failed)).collect::<Result<_, _>>()?;
        Ok((vectors, u32::try_from(count).unwrap_or(u32::MAX)))
    }
}
