//! One generation on a replica: what was asked and what was made, and how its next token becomes text. It knows nothing
//! of devices, so that it outlives the one that it was begun on.

use steward_inference::{Credit, FinishReason, GenerationSink, ModelError, Sampling, StopScanner, Usage};

use crate::sampler::Sampler;
use crate::text_stream::TextStream;
use crate::tokenizer::GeneratorTokenizer;

/// What is asked of a replica.
#[derive(Debug, Clone)]
pub struct Order {
    /// The prompt; at least one token.
    pub prompt: Vec<u32>,
    /// Most tokens that it makes, so that it fits the context.
    pub max_tokens: u32,
    /// How its tokens are drawn.
    pub sampling: Sampling,
    /// Where the draw starts.
    pub seed: u64,
    /// Where it stops.
    pub stop: Vec<String>,
}

/// A generation that waits for its turn, or has it.
#[derive(Debug)]
pub struct Job {
    /// None once it has ended.
    sink: Option<GenerationSink>,
    credit: Credit,
    /// The prompt and what was made.
    tokens: Vec<u32>,
    max_tokens: u32,
    sampler: Sampler,
    text: TextStream,
    scanner: StopScanner,
    usage: Usage,
    /// Tokens whose reading is paid for. What is read once more on another device is not.
    paid: Option<usize>,
}

impl Job {
    /// A generation whose tokens go to `sink`.
    pub fn new(sink: GenerationSink, order: Order) -> Self {
        let Order { prompt, max_tokens, sampling, seed, stop } = order;
        let credit = sink.credit().clone();
        let prompt_tokens = u32::try_from(prompt.len()).unwrap_or(u32::MAX);
        Self {
            sink: Some(sink),
            credit,
            sampler: Sampler::new(sampling, seed, &prompt),
            tokens: prompt,
            max_tokens,
            text: TextStream::default(),
            scanner: StopScanner::new(stop),
            usage: Usage { prompt_tokens, ..Usage::default() },
            paid: None,
        }
    }

    /// Its account.
    pub fn credit(&self) -> &Credit {
        &self.credit
    }

    /// The prompt and what was made.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The same, when nothing else of it is wanted any more.
    pub fn into_tokens(self) -> Vec<u32> {
        self.tokens
    }

    /// Tokens that its cache needs room for.
    pub fn tokens_max(&self) -> usize {
        self.usage.prompt_tokens as usize + self.max_tokens as usize
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.sink.is_none()
    }

    /// Notes that a replica begins to read it, and had its first `cached` tokens.
    pub fn begin(&mut self, cached: usize) {
        if self.paid.is_none() {
            self.usage.cached_tokens = u32::try_from(cached).unwrap_or(u32::MAX);
            self.paid = Some(cached);
        }
    }

    /// Notes that its tokens up to number `read` were read, at `micros` each.
    pub fn pay(&mut self, read: usize, micros: u64) {
        let paid = self.paid.unwrap_or_default();
        self.usage.compute_micros += micros * read.saturating_sub(paid) as u64;
        self.paid = Some(paid.max(read));
    }

    /// Draws its next token and hands it out, and ends it where the token says so.
    pub fn draw(&mut self, logits: &mut [f32], tokenizer: &GeneratorTokenizer) {
        let Some(token) = self.sampler.draw(logits) else {
            let what = "its output is not a number; are the weights corrupt?".to_owned();
            return self.end_with(Err(ModelError::Failed { what }));
        };
        if tokenizer.is_end(token) {
            return self.end_with(Ok(FinishReason::Stop));
        }
        if !self.credit.spend() {
            return self.end_with(Ok(FinishReason::Budget));
        }
        self.tokens.push(token);
        let index = self.usage.completion_tokens;
        self.usage.completion_tokens += 1;
        let piece = self.text.push(tokenizer.piece(token));
        let scanned = self.scanner.push(&piece);
        if let Some(sink) = &self.sink {
            sink.token(scanned.text, index);
        }
        if scanned.stopped {
            self.end_with(Ok(FinishReason::Stop));
        } else if self.usage.completion_tokens >= self.max_tokens {
            self.end_with(Ok(FinishReason::Length));
        }
    }

    /// Ends it, with what was held back first; it stays only to be removed.
    pub fn end_with(&mut self, end: Result<FinishReason, ModelError>) {
        let Some(sink) = self.sink.take() else { return };
        match end {
            Ok(reason) => {
                let tail = self.held_back();
                if !tail.is_empty() {
                    sink.token(tail, self.usage.completion_tokens.saturating_sub(1));
                }
                sink.finish(self.usage, reason);
            }
            Err(error) => sink.fail(error),
        }
    }

    /// Text that waited for a character's end or a stop sequence's. After a stop sequence nothing is held.
    fn held_back(&mut self) -> String {
        let rest = self.text.finish();
        let scanned = self.scanner.push(&rest);
        if scanned.stopped { scanned.text } else { scanned.text + &self.scanner.finish() }
    }
}
