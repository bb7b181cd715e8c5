//! A deterministic model for tests and examples: it answers by rules, or echoes. It generates and embeds, keeps to
//! credit, stop sequences and lengths as a real one does, and needs no file.

mod loader;

use std::collections::VecDeque;
use std::sync::Arc;

use async_trait::async_trait;
use futures::Stream;
use sha2::{Digest, Sha256};
use steward_types::ModelId;
use steward_types::limits::EMBED_TEXTS_MAX;

pub use self::loader::ScriptedLoader;
use crate::{
    ChatMessage, Credit, CreditState, Embedded, FinishReason, GenerateRequest, Generation, GenerationEvent, Model,
    ModelCard, ModelError, ModelFamily, ModelHash, Prompt, ReplicaLoad, Role, StopScanner, Usage,
};

/// Numbers in one of its embeddings.
const DIMENSIONS: u32 = 64;
/// Tokens that its context holds.
const CONTEXT_TOKENS: u32 = 8_192;
/// Tokens that a chat template would add to each message.
const TEMPLATE_TOKENS: usize = 4;

/// A model that answers by rules: the first rule whose pattern stands in the last message answers; without one it
/// echoes the last message. A token is a word with the space before it.
#[derive(Debug, Clone)]
pub struct ScriptedModel {
    card: ModelCard,
    rules: Vec<Rule>,
}

#[derive(Debug, Clone)]
struct Rule {
    pattern: String,
    answer: Result<String, ModelError>,
}

impl ScriptedModel {
    /// A model that echoes.
    pub fn echo(id: ModelId) -> Self {
        let hash = ModelHash::from_bytes(Sha256::digest(format!("scripted model {id}")).into());
        let card = ModelCard {
            id,
            hash,
            family: ModelFamily::Scripted,
            context_tokens: CONTEXT_TOKENS,
            can_generate: true,
            can_embed: true,
            embedding_dimensions: DIMENSIONS,
            weights_bytes: 0,
            kv_bytes_per_token: 0,
        };
        Self { card, rules: Vec::new() }
    }

    /// Answers with `answer` when the last message holds `pattern`.
    #[must_use]
    pub fn answering(mut self, pattern: impl Into<String>, answer: impl Into<String>) -> Self {
        self.rules.push(Rule { pattern: pattern.into(), answer: Ok(answer.into()) });
        self
    }

    /// Fails with `error` when the last message holds `pattern`.
    #[must_use]
    pub fn failing(mut self, pattern: impl Into<String>, error: ModelError) -> Self {
        self.rules.push(Rule { pattern: pattern.into(), answer: Err(error) });
        self
    }

    /// Says that it takes so much memory; whoever loads it reserves that.
    #[must_use]
    pub fn weighing(mut self, weights_bytes: u64, kv_bytes_per_token: u64) -> Self {
        (self.card.weights_bytes, self.card.kv_bytes_per_token) = (weights_bytes, kv_bytes_per_token);
        self
    }

    /// As a handle to a model.
    pub fn into_model(self) -> Arc<dyn Model> {
        Arc::new(self)
    }

    fn answer(&self, prompt: &Prompt) -> Result<String, ModelError> {
        let last = match prompt {
            Prompt::Text(text) => text.as_str(),
            Prompt::Messages(messages) => last_message(messages),
        };
        let rule = self.rules.iter().find(|rule| last.contains(&rule.pattern));
        rule.map_or_else(|| Ok(last.to_owned()), |rule| rule.answer.clone())
    }
}

#[async_trait]
impl Model for ScriptedModel {
    fn card(&self) -> &ModelCard {
        &self.card
    }

    async fn generate(&self, request: GenerateRequest) -> Result<Generation, ModelError> {
        request.validate()?;
        let prompt_tokens = self.count_tokens(&request.prompt).await?;
        let room = self.card.context_tokens.saturating_sub(prompt_tokens);
        if room == 0 {
            let (tokens, limit) = (u64::from(prompt_tokens), self.card.context_tokens);
            return Err(ModelError::ContextTooLong { tokens, limit });
        }
        let tokens = words(&self.answer(&request.prompt)?).map(str::to_owned).collect();
        let scanner = StopScanner::new(request.stop);
        let usage = Usage { prompt_tokens, ..Usage::default() };
        let max_tokens = request.max_tokens.min(room);
        Ok(Generation::from_stream(move |credit| {
            events(Recital { credit, tokens, scanner, usage, max_tokens, end: None })
        }))
    }

    async fn embed(&self, texts: Vec<String>) -> Result<Embedded, ModelError> {
        if texts.is_empty() || texts.len() > EMBED_TEXTS_MAX {
            let what = format!("1 to {EMBED_TEXTS_MAX} texts, not {}", texts.len());
            return Err(ModelError::InvalidRequest { field: "texts".into(), what });
        }
        let tokens: usize = texts.iter().map(|text| words(text).count()).sum();
        let prompt_tokens = u32::try_from(tokens).unwrap_or(u32::MAX);
        let vectors = texts.iter().map(|text| embedding(text)).collect();
        Ok(Embedded { vectors, usage: Usage { prompt_tokens, ..Usage::default() } })
    }

    async fn count_tokens(&self, prompt: &Prompt) -> Result<u32, ModelError> {
        let tokens = match prompt {
            Prompt::Text(text) => words(text).count(),
            Prompt::Messages(messages) => {
                messages.iter().map(|message| words(&message.content).count() + TEMPLATE_TOKENS).sum()
            }
        };
        Ok(u32::try_from(tokens).unwrap_or(u32::MAX))
    }

    fn load(&self) -> ReplicaLoad {
        ReplicaLoad::default()
    }
}

/// The last message that is not the assistant's own.
fn last_message(messages: &[ChatMessage]) -> &str {
    let asked = messages.iter().rev().find(|message| message.role != Role::Assistant);
    asked.map_or("", |message| &message.content)
}

/// Splits a text into words, each with the white space before it; together they are the text.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest.find(|c: char| !c.is_whitespace())?;
        let end = rest[word..].find(char::is_whitespace).map_or(rest.len(), |at| word + at);
        // White space at the very end belongs to the last word.
        let end = if rest[end..].trim().is_empty() { rest.len() } else { end };
        let (token, after) = rest.split_at(end);
        rest = after;
        Some(token)
    })
}

/// A generation of known words.
struct Recital {
    credit: Credit,
    tokens: VecDeque<String>,
    scanner: StopScanner,
    usage: Usage,
    max_tokens: u32,
    end: Option<FinishReason>,
}

fn events(recital: Recital) -> impl Stream<Item = Result<GenerationEvent, ModelError>> + Send {
    futures::stream::unfold(Some(recital), async |recital| {
        let mut recital = recital?;
        let event = recital.next().await?;
        let is_over = matches!(event, GenerationEvent::Finished { .. });
        Some((Ok(event), (!is_over).then_some(recital)))
    })
}

impl Recital {
    /// The next event; none when it was cancelled.
    async fn next(&mut self) -> Option<GenerationEvent> {
        if self.end.is_none() && self.tokens.is_empty() {
            self.end = Some(FinishReason::Stop);
        }
        if self.end.is_none() {
            match self.credit.settled().await {
                CreditState::Granted if self.credit.spend() => return Some(self.token()),
                CreditState::Spent => self.end = Some(FinishReason::Budget),
                _ => return None,
            }
        }
        let (usage, finish_reason) = (self.usage, self.end?);
        let held = self.scanner.finish();
        if held.is_empty() {
            return Some(GenerationEvent::Finished { usage, finish_reason });
        }
        Some(GenerationEvent::Token { text: held, index: usage.completion_tokens.saturating_sub(1) })
    }

    fn token(&mut self) -> GenerationEvent {
        let word = self.tokens.pop_front().unwrap_or_default();
        let index = self.usage.completion_tokens;
        self.usage.completion_tokens += 1;
        let scanned = self.scanner.push(&word);
        if scanned.stopped {
            self.end = Some(FinishReason::Stop);
        } else if self.usage.completion_tokens >= self.max_tokens && !self.tokens.is_empty() {
            self.end = Some(FinishReason::Length);
        }
        GenerationEvent::Token { text: scanned.text, index }
    }
}

/// Hashes words, and runs of three letters within them, onto the dimensions: texts that share words are near.
fn embedding(text: &str) -> Vec<f32> {
    let mut vector = vec![0f32; DIMENSIONS as usize];
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        add_feature(&mut vector, word.as_bytes(), 1.0);
        let letters: Vec<char> = word.chars().collect();
        for run in letters.windows(3) {
            add_feature(&mut vector, run.iter().collect::<String>().as_bytes(), 0.3);
        }
    }
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.iter().map(|x| x / length).collect()
}

fn add_feature(vector: &mut [f32], feature: &[u8], weight: f32) {
    // FNV-1a, by Fowler, Noll and Vo: the same on every machine, unlike the standard library's hasher.
    let hash = feature
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let place = usize::try_from(hash >> 32).unwrap_or(0) % vector.len();
    vector[place] += if hash & 1 == 0 { weight } else { -weight };
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;

    use super::*;
    use crate::conformance;

    fn model() -> ScriptedModel {
        ScriptedModel::echo("test".parse().unwrap())
            .answering("weather", "It is sunny today.")
            .failing("broken", ModelError::Failed { what: "as told".to_owned() })
    }

    #[tokio::test]
    async fn it_conforms() {
        conformance::generates(&model()).await;
        conformance::embeds(&model()).await;
    }

    #[tokio::test]
    async fn the_first_rule_that_matches_answers_and_otherwise_it_echoes() {
        let ask = async |text: &str| {
            let request = GenerateRequest::chat(vec![ChatMessage::system("Be kind."), ChatMessage::user(text)]);
            model().generate(request).await?.complete().await
        };
        assert_eq!(ask("how is the weather?").await.unwrap().text, "It is sunny today.");
        assert_eq!(ask(" two  words ").await.unwrap().text, " two  words ");
        assert_eq!(ask("broken").await.unwrap_err().to_string(), "the model failed: as told");
    }

    #[tokio::test]
    async fn it_stops_at_a_stop_sequence_across_words() {
        let mut request = GenerateRequest::text("one two three four");
        request.stop = vec!["o thr".to_owned()];
        let completion = model().generate(request).await.unwrap().complete().await.unwrap();
        assert_eq!((completion.text.as_str(), completion.finish_reason), ("one tw", FinishReason::Stop));
        assert_eq!(completion.usage.completion_tokens, 3);
    }

    #[tokio::test]
    async fn a_generation_waits_for_credit() {
        let mut generation = model().generate(GenerateRequest::text("a b")).await.unwrap();
        assert!(futures::poll!(generation.next()).is_pending());
        generation.credit().grant(1);
        assert!(matches!(generation.next().await, Some(Ok(GenerationEvent::Token { index: 0, .. }))));
        assert!(futures::poll!(generation.next()).is_pending());
    }

    #[test]
    fn words_together_are_the_text() {
        for text in ["", " ", "a", " a  b\n", "a b c"] {
            let joined: String = words(text).collect();
            assert_eq!(joined, if text.trim().is_empty() { "" } else { text });
        }
    }
}
