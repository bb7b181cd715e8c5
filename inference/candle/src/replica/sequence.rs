//! A generation that has its turn: its job, and its keys and values where the model is.

use steward_inference::Reservation;

use super::job::Job;
use crate::llama::{KeyValueCache, Row};

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
    job: Job,
    cache: KeyValueCache,
    /// The cache's device memory.
    reservation: Reservation,
    /// How many of the job's tokens are in the cache.
    read: usize,
}

impl Sequence {
    /// Gives a job its turn, with its cache, which has the first `read` tokens of it.
    pub fn new(mut job: Job, cache: KeyValueCache, reservation: Reservation, read: usize) -> Self {
        job.begin(read);
        Self { job, cache, reservation, read }
    }

    /// What it makes.
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// The same, to go on with it.
    pub fn job_mut(&mut self) -> &mut Job {
        &mut self.job
    }

    /// The job alone, without what it has on the device.
    pub fn into_job(self) -> Job {
        self.job
    }

    /// Its keys and values.
    pub fn cache(&mut self) -> &mut KeyValueCache {
        &mut self.cache
    }

    /// Tokens that are not in the cache yet.
    pub fn unread(&self) -> usize {
        self.job.tokens().len() - self.read
    }

    /// Its next rows, at most `most`, in the batch's cache number `cache`.
    pub fn rows(&self, cache: usize, most: usize) -> Vec<Row> {
        let tokens = self.job.tokens();
        let last = tokens.len() - 1;
        let end = tokens.len().min(self.read + most);
        let row = |position: usize| Row { cache, position, token: tokens[position], wants_logits: position == last };
        (self.read..end).map(row).collect()
    }

    /// Notes that its rows were run, at `micros` each.
    pub fn advance(&mut self, most: usize, micros: u64) -> Step {
        self.read += self.unread().min(most);
        self.job.pay(self.read, micros);
        if self.unread() == 0 { Step::Drawing } else { Step::Reading }
    }

    /// What it has read, with its keys and values.
    pub fn into_read(self) -> Read {
        let Self { job, cache, reservation, read } = self;
        let mut tokens = job.into_tokens();
        tokens.truncate(read);
        Read { tokens, cache, reservation }
    }
}
