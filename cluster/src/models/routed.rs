//! A model of the cluster: it is asked like one of this node, and each request finds a replica.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use steward_inference::{
    Embedded, GenerateRequest, Generation, Model, ModelCard, ModelError, Prompt, ReplicaLoad, Usage,
};
use steward_types::limits::{EMBED_TEXTS_MAX, GENERATION_MOVES_MAX, LINK_PAYLOAD_BYTES_MAX};

use super::Shared;
use super::call::{Answer, Question};
use super::relay::{Begun, Errand, relay};
use super::replicas::{Chosen, NodeLife};

/// Most bytes of one number of a vector in an answer.
const NUMBER_BYTES: usize = 5;

/// A model, wherever its replicas are.
pub(super) struct RoutedModel {
    pub(super) shared: Arc<Shared>,
    pub(super) card: ModelCard,
}

/// A question that any replica may answer.
enum Simple<'a> {
    Count(&'a Prompt),
    Embed(&'a [String]),
}

impl RoutedModel {
    /// Asks replicas until one answers.
    async fn ask(&self, question: Simple<'_>) -> Result<Answer, ModelError> {
        let (shared, id) = (&self.shared, &self.card.id);
        let mut lost: BTreeSet<NodeLife> = BTreeSet::new();
        let mut reason = String::new();
        for _ in 0..GENERATION_MOVES_MAX {
            let place = match shared.choose(id, None, &lost).await? {
                Chosen::Here(model) => return question.ask_here(&*model).await,
                Chosen::There(place) => place,
            };
            let _under_way = shared.under_way(id, place.life.0);
            match shared.ask(&place, &question.for_others(&self.card)).await {
                Ok(Answer::Failed(error)) => return Err(error),
                Ok(Answer::Absent) => "it does not have the model any more".clone_into(&mut reason),
                Ok(answer) => return Ok(answer),
                Err(why) => reason = why.0,
            }
            lost.insert(place.life);
        }
        Err(ModelError::Unreachable { id: id.clone(), reason })
    }
}

impl Simple<'_> {
    async fn ask_here(&self, model: &dyn Model) -> Result<Answer, ModelError> {
        match self {
            Self::Count(prompt) => model.count_tokens(prompt).await.map(Answer::Counted),
            Self::Embed(texts) => {
                let Embedded { vectors, usage } = model.embed(texts.to_vec()).await?;
                Ok(Answer::Embedded { vectors, usage })
            }
        }
    }

    fn for_others(&self, card: &ModelCard) -> Question {
        let model = card.id.clone();
        match self {
            Self::Count(prompt) => Question::Count { model, prompt: (*prompt).clone() },
            Self::Embed(texts) => Question::Embed { model, texts: texts.to_vec() },
        }
    }
}

#[async_trait]
impl Model for RoutedModel {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    async fn generate(&self, request: GenerateRequest) -> Result<Generation, ModelError> {
        request.validate()?;
        let mut errand = Errand::new(Arc::clone(&self.shared), self.card.id.clone(), request);
        match errand.begin().await? {
            // Nothing stands between a replica of this node and its caller.
            Begun::Here(generation) => Ok(generation),
            Begun::There(begun) => Ok(Generation::from_stream(|credit| relay(errand, begun, credit))),
        }
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embedded, ModelError> {
        if texts.is_empty() || texts.len() > EMBED_TEXTS_MAX {
            let what = format!("1 to {EMBED_TEXTS_MAX} texts, not {}", texts.len());
            return Err(ModelError::InvalidRequest { field: "texts".into(), what });
        }
        // As many at a time as have their vectors in one answer.
        let vector_bytes = (self.card.embedding_dimensions as usize).saturating_mul(NUMBER_BYTES).max(1);
        let at_once = (LINK_PAYLOAD_BYTES_MAX / 2 / vector_bytes).max(1);
        let mut embedded = Embedded { vectors: Vec::with_capacity(texts.len()), usage: Usage::default() };
        for some in texts.chunks(at_once) {
            let Answer::Embedded { vectors, usage } = self.ask(Simple::Embed(some)).await? else {
                return Err(misfit());
            };
            embedded.vectors.extend(vectors);
            let sum = &mut embedded.usage;
            sum.prompt_tokens = sum.prompt_tokens.saturating_add(usage.prompt_tokens);
            sum.compute_micros = sum.compute_micros.saturating_add(usage.compute_micros);
        }
        Ok(embedded)
    }

    async fn count_tokens(&self, prompt: &Prompt) -> Result<u32, ModelError> {
        match self.ask(Simple::Count(prompt)).await? {
            Answer::Counted(tokens) => Ok(tokens),
            _ => Err(misfit()),
        }
    }

    /// That of this node's replica, if it has one: a caller acts on what is near.
    fn load(&self) -> ReplicaLoad {
        self.shared.shelf.ready(&self.card.id).map_or_else(ReplicaLoad::default, |model| model.load())
    }
}

fn misfit() -> ModelError {
    ModelError::Failed { what: "a replica gave an answer that does not fit the question".to_owned() }
}

impl fmt::Debug for RoutedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoutedModel").field("model", &self.card.id).finish_non_exhaustive()
    }
}
