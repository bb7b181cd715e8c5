//! A llama as a `Model`: prompts become tokens here, the replica's thread does the rest.

use std::sync::Arc;

use async_trait::async_trait;
use steward_inference::{Embedded, GenerateRequest, Generation, Model, ModelCard, ModelError, Prompt, ReplicaLoad};

use crate::replica::{Engine, Job, Order, Replica};
use crate::tokenizer::GeneratorTokenizer;

/// Prompts above this size are split into tokens on a blocking thread.
const INLINE_PROMPT_BYTES_MAX: usize = 4 << 10;

/// A loaded generator.
#[derive(Debug)]
pub struct Generator {
    card: ModelCard,
    tokenizer: Arc<GeneratorTokenizer>,
    replica: Replica,
}

impl Generator {
    /// Starts to serve a loaded model.
    pub fn start(card: ModelCard, engine: Engine) -> Result<Self, ModelError> {
        let tokenizer = Arc::clone(&engine.tokenizer);
        Ok(Self { card, tokenizer, replica: Replica::start(engine)? })
    }

    async fn tokens(&self, prompt: Prompt) -> Result<Vec<u32>, ModelError> {
        let bytes = match &prompt {
            Prompt::Text(text) => text.len(),
            Prompt::Messages(messages) => messages.iter().map(|message| message.content.len()).sum(),
        };
        if bytes <= INLINE_PROMPT_BYTES_MAX {
            return self.tokenizer.encode_prompt(&self.card.id, &prompt);
        }
        let (tokenizer, id) = (Arc::clone(&self.tokenizer), self.card.id.clone());
        tokio::task::spawn_blocking(move || tokenizer.encode_prompt(&id, &prompt))
            .await
            .unwrap_or_else(|error| Err(ModelError::Failed { what: error.to_string() }))
    }
}

#[async_trait]
impl Model for Generator {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    async fn generate(&self, request: GenerateRequest) -> Result<Generation, ModelError> {
        request.validate()?;
        let GenerateRequest { prompt, sampling, max_tokens, stop, seed } = request;
        let prompt = self.tokens(prompt).await?;
        let limit = self.card.context_tokens;
        let room = u64::from(limit).saturating_sub(prompt.len() as u64);
        let max_tokens = u32::try_from(room).unwrap_or(u32::MAX).min(max_tokens);
        if max_tokens == 0 {
            return Err(ModelError::ContextTooLong { tokens: prompt.len() as u64, limit });
        }
        if prompt.is_empty() {
            let what = "the prompt has no tokens".to_owned();
            return Err(ModelError::InvalidRequest { field: "prompt".into(), what });
        }
        let door = Arc::clone(self.replica.door());
        let (sink, generation) = Generation::channel(move || door.ring());
        self.replica.submit(Job::new(sink, Order { prompt, max_tokens, sampling, seed, stop }))?;
        Ok(generation)
    }

    async fn embed(&self, _: Vec<String>) -> Result<Embedded, ModelError> {
        Err(ModelError::Unsuited { id: self.card.id.clone(), operation: "embed".into() })
    }

    async fn count_tokens(&self, prompt: &Prompt) -> Result<u32, ModelError> {
        let tokens = self.tokens(prompt.clone()).await?;
        Ok(u32::try_from(tokens.len()).unwrap_or(u32::MAX))
    }

    fn load(&self) -> ReplicaLoad {
        self.replica.load()
    }

    fn device(&self) -> Option<String> {
        Some(self.replica.device())
    }
}
