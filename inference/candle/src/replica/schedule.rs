//! The serving loop: admit, run one batch, hand out tokens, again.
//!
//! Every round takes one row of each sequence that makes tokens, and one prompt's next chunk. So a long prompt delays
//! the others by one chunk at most, and a cancelled sequence costs one round at most.

use std::sync::Arc;

use rayon::prelude::*;
use steward_inference::{CreditState, FinishReason, ModelError, Reservation};

use super::prefixes::Prefixes;
use super::sequence::{Job, Sequence, Step};
use super::{Door, Engine, Progress};
use crate::llama::{KeyValueCache, Row};

/// Sequences whose tokens are worth to be drawn on several threads.
const PARALLEL_DRAWS_MIN: usize = 9;

/// The active sequences of one replica.
pub struct Schedule {
    engine: Engine,
    door: Arc<Door>,
    active: Vec<Sequence>,
    /// Whose prompt goes first in the next round.
    turn: usize,
    shares_batches: bool,
    prefixes: Prefixes,
}

impl Schedule {
    /// Serves who comes to `door`.
    pub fn new(engine: Engine, door: Arc<Door>) -> Self {
        let shares_batches = engine.llama.is_batch_invariant();
        Self { engine, door, active: Vec::new(), turn: 0, shares_batches, prefixes: Prefixes::default() }
    }

    /// Serves until the door closes.
    pub fn run(mut self) {
        let mut progress = Progress::Made;
        while self.door.attend(self.active.len(), progress) {
            self.admit();
            progress = self.round();
        }
    }

    /// Lets jobs in while there is room for them.
    fn admit(&mut self) {
        while self.active.len() < self.engine.llama.active_max() {
            let Some(job) = self.door.take() else { return };
            if job.credit().state() == CreditState::Cancelled {
                continue;
            }
            let bytes = self.engine.llama.kv_bytes_per_token().saturating_mul(job.tokens_max() as u64);
            match self.engine.device.reserve(format!("{} cache", self.engine.id), bytes) {
                Ok(reservation) => self.begin(job, reservation),
                // A sequence of this replica will give memory back, so it is worth while to wait.
                Err(_) if !self.active.is_empty() => return self.door.put_back(job),
                Err(error) => job.fail(error),
            }
        }
    }

    /// Begins a job whose cache's memory is reserved.
    fn begin(&mut self, job: Job, reservation: Reservation) {
        let Self { engine, prefixes, .. } = self;
        let cache = engine.llama.cache(job.tokens_max()).and_then(|mut cache| {
            let read = prefixes.read_into(&engine.llama, &mut cache, &job.prompt)?;
            Ok((cache, read))
        });
        match cache {
            Ok((cache, read)) => self.active.push(Sequence::new(job, cache, reservation, read)),
            Err(error) => job.fail(error),
        }
    }

    /// Ends who is to end, runs one batch of who may go on, and hands out its tokens.
    fn round(&mut self) -> Progress {
        let before = self.active.len();
        let (mut kept, mut ready) = (Vec::with_capacity(before), Vec::new());
        for mut sequence in std::mem::take(&mut self.active) {
            match sequence.credit().state() {
                CreditState::Cancelled => {
                    self.keep(sequence);
                    continue;
                }
                CreditState::Spent => {
                    sequence.end_with(Ok(FinishReason::Budget));
                    self.keep(sequence);
                    continue;
                }
                CreditState::Granted => ready.push(kept.len()),
                CreditState::Waiting => {}
            }
            kept.push(sequence);
        }
        self.active = kept;
        let ended = before - self.active.len();
        self.choose(&mut ready);
        if ready.is_empty() {
            return if ended > 0 { Progress::Made } else { Progress::Stalled };
        }
        if self.shares_batches {
            self.step(&ready);
        } else {
            for &place in &ready {
                self.step(&[place]);
            }
        }
        for ended in self.active.extract_if(.., |sequence| sequence.has_ended()).collect::<Vec<_>>() {
            self.keep(ended);
        }
        Progress::Made
    }

    /// Keeps what a sequence has read for others that begin like it. Where results depend on what else was in a batch,
    /// nothing is kept, so that they do not depend on who came before.
    fn keep(&mut self, sequence: Sequence) {
        if self.shares_batches {
            self.prefixes.keep(sequence.into_read());
        }
    }

    /// Of those whose prompt is still being read, leaves only the one whose turn it is.
    fn choose(&mut self, ready: &mut Vec<usize>) {
        let is_reading = |place: &usize| self.active[*place].unread() > 1;
        let reading: Vec<usize> = ready.iter().copied().filter(is_reading).collect();
        let Some(&chosen) = reading.get(self.turn % reading.len().max(1)) else { return };
        self.turn = self.turn.wrapping_add(1);
        ready.retain(|place| *place == chosen || !reading.contains(place));
    }

    /// One batch of these sequences, which stand in order.
    fn step(&mut self, places: &[usize]) {
        let started = self.engine.clock.monotonic();
        let prompt_rows = self.engine.llama.prompt_rows();
        let rows: Vec<Row> =
            places.iter().enumerate().flat_map(|(cache, &place)| self.active[place].rows(cache, prompt_rows)).collect();
        let mut caches: Vec<&mut KeyValueCache> =
            chosen(&mut self.active, places).into_iter().map(Sequence::cache).collect();
        let result = self.engine.llama.forward(&rows, &mut caches);
        let took = self.engine.clock.monotonic().saturating_sub(started);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX) / rows.len().max(1) as u64;
        let mut sequences = chosen(&mut self.active, places);
        let mut logits = match result {
            Ok(logits) => logits.into_iter(),
            Err(error) => {
                return sequences.into_iter().for_each(|sequence| sequence.end_with(Err(error.clone())));
            }
        };
        let mut drawing = Vec::with_capacity(sequences.len());
        for sequence in sequences.drain(..) {
            match (sequence.advance(prompt_rows, micros), logits.len()) {
                (Step::Reading, _) => {}
                (Step::Drawing, 0) => {
                    let what = "the model gave no logits".to_owned();
                    sequence.end_with(Err(ModelError::Failed { what }));
                }
                (Step::Drawing, _) => drawing.extend(logits.next().map(|logits| (sequence, logits))),
            }
        }
        let tokenizer = &self.engine.tokenizer;
        let draw = |(sequence, logits): &mut (&mut Sequence, Vec<f32>)| sequence.draw(logits, tokenizer);
        if drawing.len() < PARALLEL_DRAWS_MIN {
            drawing.iter_mut().for_each(draw);
        } else {
            drawing.par_iter_mut().for_each(draw);
        }
    }
}

/// The sequences at these places.
fn chosen<'a>(active: &'a mut [Sequence], places: &[usize]) -> Vec<&'a mut Sequence> {
    active.iter_mut().enumerate().filter(|(place, _)| places.contains(place)).map(|(_, sequence)| sequence).collect()
}

impl Job {
    fn fail(self, error: ModelError) {
        self.sink.fail(error);
    }
}
