//! The serving loop: admit, run one batch, hand out tokens, again.
//!
//! Every round takes one row of each sequence that makes tokens, and one prompt's next chunk. So a long prompt delays
//! the others by one chunk at most, and a cancelled sequence costs one round at most.
//!
//! What a device held is lost when it fails; what was asked and made is not, since that is in the machine's memory. The
//! model is loaded on another device, each sequence reads there what it had read and made, and goes on. Nobody who
//! follows it sees more of that than a pause, and no token is made twice.

use std::sync::Arc;

use rayon::prelude::*;
use steward_inference::{CreditState, FinishReason, ModelError, Reservation};

use super::job::Job;
use super::prefixes::Prefixes;
use super::sequence::{Sequence, Step};
use super::{Door, Engine, Home, Progress, note_failure};
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
        let shares_batches = engine.home.llama.is_batch_invariant();
        Self { engine, door, active: Vec::new(), turn: 0, shares_batches, prefixes: Prefixes::default() }
    }

    /// Serves until the door closes.
    pub fn run(mut self) {
        let mut progress = Progress::Made;
        while self.door.attend(self.active.len(), progress) {
            if self.engine.home.device.failure().is_some() {
                self.move_house();
            }
            self.admit();
            progress = self.round();
        }
    }

    /// Goes to a device that works, with all that is begun and waits. Where there is none, all of it ends with the reason;
    /// the next job is a reason to look again.
    fn move_house(&mut self) {
        self.prefixes = Prefixes::default();
        let begun = std::mem::take(&mut self.active).into_iter().map(Sequence::into_job);
        let jobs: Vec<Job> = begun.filter(|job| !job.has_ended()).chain(self.door.take_all()).collect();
        if jobs.is_empty() {
            return;
        }
        let from = self.engine.home.device.name().to_owned();
        match self.engine.find_home.find() {
            Ok(home) => {
                let to = home.device.name();
                tracing::warn!(model = %self.engine.id, from, to, generations = jobs.len(), "a model goes on on another device");
                self.door.tell_device(to);
                self.shares_batches = home.llama.is_batch_invariant();
                self.engine.home = home;
                // The first to have come is the first to go on.
                jobs.into_iter().rev().for_each(|job| self.door.put_back(job));
            }
            Err(why) => {
                let failure = self.engine.home.device.failure().unwrap_or_default();
                let what = format!("{failure}; the model is on no other device: {why}");
                tracing::error!(model = %self.engine.id, from, why, "a model's device failed, and it finds no other");
                let error = ModelError::DeviceFailed { device: from, operation: "going on".to_owned(), what };
                jobs.into_iter().for_each(|job| job.fail(error.clone()));
            }
        }
    }

    /// Lets jobs in while there is room for them.
    fn admit(&mut self) {
        while self.active.len() < self.engine.home.llama.active_max() {
            let Some(job) = self.door.take() else { return };
            if job.credit().state() == CreditState::Cancelled {
                continue;
            }
            let Home { llama, device, .. } = &self.engine.home;
            let bytes = llama.kv_bytes_per_token().saturating_mul(job.tokens_max() as u64);
            match device.reserve(format!("{} cache", self.engine.id), bytes) {
                Ok(reservation) => self.begin(job, reservation),
                Err(ModelError::DeviceFailed { .. }) => return self.door.put_back(job),
                // A sequence of this replica will give memory back, so it is worth while to wait.
                Err(_) if !self.active.is_empty() => return self.door.put_back(job),
                Err(error) => job.fail(error),
            }
        }
    }

    /// Begins a job whose cache's memory is reserved.
    fn begin(&mut self, job: Job, reservation: Reservation) {
        let Self { engine: Engine { home: Home { llama, device, .. }, .. }, prefixes, .. } = self;
        let cache = llama.cache(job.tokens_max()).and_then(|mut cache| {
            let read = prefixes.read_into(llama, &mut cache, job.tokens())?;
            Ok((cache, read))
        });
        match cache {
            Ok((cache, read)) => self.active.push(Sequence::new(job, cache, reservation, read)),
            Err(error @ ModelError::DeviceFailed { .. }) => {
                note_failure(device, &error);
                self.door.put_back(job);
            }
            Err(error) => job.fail(error),
        }
    }

    /// Ends who is to end, runs one batch of who may go on, and hands out its tokens.
    fn round(&mut self) -> Progress {
        if self.engine.home.device.failure().is_some() {
            return Progress::of(self.door.is_awaited() || !self.active.is_empty());
        }
        let before = self.active.len();
        let (mut kept, mut ready) = (Vec::with_capacity(before), Vec::new());
        for mut sequence in std::mem::take(&mut self.active) {
            match sequence.job().credit().state() {
                CreditState::Cancelled => {
                    self.keep(sequence);
                    continue;
                }
                CreditState::Spent => {
                    sequence.job_mut().end_with(Ok(FinishReason::Budget));
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
            return Progress::of(ended > 0);
        }
        if self.shares_batches {
            self.step(&ready);
        } else {
            for &place in &ready {
                self.step(&[place]);
            }
        }
        for ended in self.active.extract_if(.., |sequence| sequence.job().has_ended()).collect::<Vec<_>>() {
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
        let prompt_rows = self.engine.home.llama.prompt_rows();
        let rows: Vec<Row> =
            places.iter().enumerate().flat_map(|(cache, &place)| self.active[place].rows(cache, prompt_rows)).collect();
        let mut caches: Vec<&mut KeyValueCache> =
            chosen(&mut self.active, places).into_iter().map(Sequence::cache).collect();
        let result = self.engine.home.llama.forward(&rows, &mut caches);
        let took = self.engine.clock.monotonic().saturating_sub(started);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX) / rows.len().max(1) as u64;
        let mut logits = match result {
            Ok(logits) => logits.into_iter(),
            // The next round begins on another one.
            Err(error @ ModelError::DeviceFailed { .. }) => return note_failure(&self.engine.home.device, &error),
            Err(error) => {
                let sequences = chosen(&mut self.active, places).into_iter();
                return sequences.for_each(|sequence| sequence.job_mut().end_with(Err(error.clone())));
            }
        };
        let mut sequences = chosen(&mut self.active, places);
        let mut drawing = Vec::with_capacity(sequences.len());
        for sequence in sequences.drain(..) {
            match (sequence.advance(prompt_rows, micros), logits.len()) {
                (Step::Reading, _) => {}
                (Step::Drawing, 0) => {
                    let what = "the model gave no logits".to_owned();
                    sequence.job_mut().end_with(Err(ModelError::Failed { what }));
                }
                (Step::Drawing, _) => drawing.extend(logits.next().map(|logits| (sequence, logits))),
            }
        }
        let tokenizer = &self.engine.tokenizer;
        let draw = |(sequence, logits): &mut (&mut Sequence, Vec<f32>)| sequence.job_mut().draw(logits, tokenizer);
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
    fn fail(mut self, error: ModelError) {
        self.end_with(Err(error));
    }
}
