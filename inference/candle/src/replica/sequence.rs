//! One generation on a replica: what it has read and made, and how its next token becomes text.

use steward_inference::{Credit, FinishReason, GenerationSink, ModelError, Reservation, Sampling, StopScanner, Usage};

use crate::llama::{KeyValueCache, Row};
use crate::sampler::Sampler;
use crate::text_stream::TextStream;
use crate::tokenizer::GeneratorTokenizer;

/// A generation that waits for its turn.
#[derive(Debug)]
pub struct Job {
    /// Where its tokens go.
    pub sink: GenerationSink,
    /// Its prompt; at least one token.
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

impl Job {
    /// Its account.
    pub fn credit(&self) -> &Credit {
        self.sink.credit()
    }

    /// Tokens that its cache needs room for.
    pub fn tokens_max(&self) -> usize {
        self.prompt.len() + self.max_tokens as usize
    }
}

/// What a sequence does after a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Its prompt is not read to the end yet.
    Reading,
    /// Its next token can be drawn.
    Drawing,
}

/// Tokens that were read, and their keys and values.
#[derive(Debug)]
pub struct Read {
    /// The tokens.
    pub tokens: Vec<u32>,
    /// Their keys and values.
    pub cache: KeyValueCache,
    /// The cache's device memory.
    pub reservation: Reservation,
}

/// A generation that is active.
#[derive(Debug)]
pub struct Sequence {
    /// None once it has ended.
    sink: Option<GenerationSink>,
    credit: Credit,
    cache: KeyValueCache,
    /// The cache's device memory.
    reservation: Reservation,
    /// The prompt and what was made.
    tokens: Vec<u32>,
    /// How many of the tokens are in the cache.
    read: usize,
    max_tokens: u32,
    sampler: Sampler,
    text: TextStream,
    scanner: StopScanner,
    usage: Usage,
}

impl Sequence {
    /// Begins a job with its cache, which has the first `read` tokens of its prompt.
    pub fn new(job: Job, cache: KeyValueCache, reservation: Reservation, read: usize) -> Self {
        let credit = job.sink.credit().clone();
        let count = |tokens: usize| u32::try_from(tokens).unwrap_or(u32::MAX);
        let usage = Usage { prompt_tokens: count(job.prompt.len()), cached_tokens: count(read), ..Usage::default() };
        Self {
            sink: Some(job.sink),
            credit,
            cache,
            reservation,
            sampler: Sampler::new(job.sampling, job.seed, &job.prompt),
            tokens: job.prompt,
            read,
            max_tokens: job.max_tokens,
            text: TextStream::default(),
            scanner: StopScanner::new(job.stop),
            usage,
        }
    }

    /// Its account.
    pub fn credit(&self) -> &Credit {
        &self.credit
    }

    /// Its keys and values.
    pub fn cache(&mut self) -> &mut KeyValueCache {
        &mut self.cache
    }

    /// Tokens that are not in the cache yet.
    pub fn unread(&self) -> usize {
        self.tokens.len() - self.read
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        self.sink.is_none()
    }

    /// Its next rows, at most `most`, in the batch's cache number `cache`.
    pub fn rows(&self, cache: usize, most: usize) -> Vec<Row> {
        let last = self.tokens.len() - 1;
        let end = self.tokens.len().min(self.read + most);
        let row =
            |position: usize| Row { cache, position, token: self.tokens[position], wants_logits: position == last };
        (self.read..end).map(row).collect()
    }

    /// Notes that its rows were run, at `micros` each.
    pub fn advance(&mut self, most: usize, micros: u64) -> Step {
        let rows = self.unread().min(most);
        self.read += rows;
        self.usage.compute_micros += micros * rows as u64;
        if self.unread() == 0 { Step::Drawing } else { Step::Reading }
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

    /// What it has read and made, with its keys and values.
    pub fn into_read(self) -> Read {
        let Self { mut tokens, read, cache, reservation, .. } = self;
        tokens.truncate(read);
        Read { tokens, cache, reservation }
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
