//! Serving other nodes: their questions about the models of this one, and the generations that run here for them.
//!
//! A generation's events are kept until the asking node says that it has them, so that an answer that was lost on the
//! way is given again. A generation that nobody asks about for a while is given up.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{Either, select};
use parking_lot::Mutex;
use steward_inference::{
    Credit, CreditTotal, GenerateRequest, Generation, GenerationEvent, Model, ModelError, ReplicaLoad,
};
use steward_types::limits::{
    GENERATION_ABANDONED_TIME, GENERATION_EVENTS_MAX, GENERATION_FOLLOW_TIME, GENERATIONS_SERVED_MAX,
};
use steward_types::{Clock, ModelId, NodeId};
use tokio::sync::Notify;

use super::call::{self, Answer, GenerationId, Question, UNREADABLE};
use super::shelf::Shelf;
use crate::link::Refusal;

type Key = (NodeId, GenerationId);
type Event = Result<GenerationEvent, ModelError>;

/// What other nodes ask this one.
pub(crate) struct Desk {
    shelf: Arc<Shelf>,
    clock: Arc<dyn Clock>,
    served: Mutex<HashMap<Key, Arc<Served>>>,
    emptied: Notify,
}

/// One generation for another node.
struct Served {
    model: Arc<dyn Model>,
    credit: Credit,
    run: tokio::sync::Mutex<Run>,
    /// When it was last asked about, by the monotonic clock in milliseconds.
    asked_at: AtomicU64,
}

struct Run {
    generation: Generation,
    /// Number of the first event that is kept.
    first: u64,
    kept: VecDeque<Event>,
    is_over: bool,
}

impl Desk {
    pub(super) fn new(shelf: Arc<Shelf>, clock: Arc<dyn Clock>) -> Self {
        Self { shelf, clock, served: Mutex::default(), emptied: Notify::new() }
    }

    /// Answers a question of another node.
    pub(crate) async fn answer(&self, from: NodeId, payload: &[u8]) -> Result<Bytes, Refusal> {
        let unreadable =
            |error: call::Unreadable| Refusal::Refused { code: UNREADABLE, message: error.to_string().into() };
        let question = call::decode(payload).map_err(unreadable)?;
        call::encode(&self.act(from, question).await).map_err(unreadable)
    }

    async fn act(&self, from: NodeId, question: Question) -> Answer {
        match question {
            Question::Count { model, prompt } => match self.shelf.ready(&model) {
                Some(model) => model.count_tokens(&prompt).await.map_or_else(Answer::Failed, Answer::Counted),
                None => Answer::Absent,
            },
            Question::Embed { model, texts } => match self.shelf.ready(&model) {
                Some(model) => match model.embed(texts).await {
                    Ok(embedded) => Answer::Embedded { vectors: embedded.vectors, usage: embedded.usage },
                    Err(error) => Answer::Failed(error),
                },
                None => Answer::Absent,
            },
            Question::Begin { model, generation, request } => self.begin((from, generation), &model, *request).await,
            Question::Follow { generation, received, credit } => {
                self.follow((from, generation), received, credit).await
            }
            Question::Grant { generation, credit } => match self.find((from, generation)) {
                Some(served) => {
                    served.credit.raise_to(credit);
                    Answer::Done
                }
                None => Answer::Absent,
            },
            Question::Cancel { generation } => {
                self.remove((from, generation));
                Answer::Done
            }
        }
    }

    async fn begin(&self, key: Key, model: &ModelId, request: GenerateRequest) -> Answer {
        if let Some(served) = self.find(key) {
            return Answer::Begun { load: served.model.load() };
        }
        let Some(model) = self.shelf.ready(model) else { return Answer::Absent };
        if self.served.lock().len() >= GENERATIONS_SERVED_MAX {
            let reason = format!("{GENERATIONS_SERVED_MAX} generations run for other nodes already");
            return Answer::Failed(ModelError::Busy { id: model.card().id.clone(), reason });
        }
        let generation = match model.generate(request).await {
            Ok(generation) => generation,
            Err(error) => return Answer::Failed(error),
        };
        let load = model.load();
        let credit = generation.credit();
        let run = Run { generation, first: 0, kept: VecDeque::new(), is_over: false };
        let asked_at = AtomicU64::new(millis(self.clock.monotonic()));
        let served = Arc::new(Served { model, credit, run: tokio::sync::Mutex::new(run), asked_at });
        self.served.lock().entry(key).or_insert(served);
        Answer::Begun { load }
    }

    async fn follow(&self, key: Key, received: u64, credit: CreditTotal) -> Answer {
        let Some(served) = self.find(key) else { return Answer::Absent };
        served.credit.raise_to(credit);
        let events = served.run.lock().await.after(received, &*self.clock).await;
        served.asked_at.store(millis(self.clock.monotonic()), Ordering::Relaxed);
        match events {
            Some(events) => Answer::Events { events, load: served.model.load() },
            // It asks for what it said it had: it is no party of this generation.
            None => Answer::Absent,
        }
    }

    fn find(&self, key: Key) -> Option<Arc<Served>> {
        let served = self.served.lock().get(&key).cloned()?;
        served.asked_at.store(millis(self.clock.monotonic()), Ordering::Relaxed);
        Some(served)
    }

    fn remove(&self, key: Key) {
        self.served.lock().remove(&key);
        self.emptied.notify_waiters();
    }

    /// Gives up the generations that nobody asks about any more.
    pub(super) fn sweep(&self) {
        let now = millis(self.clock.monotonic());
        let is_fresh = |served: &Served| {
            now.saturating_sub(served.asked_at.load(Ordering::Relaxed)) < millis(GENERATION_ABANDONED_TIME)
        };
        self.served.lock().retain(|_, served| is_fresh(served));
        self.emptied.notify_waiters();
    }

    /// Generations that run for other nodes.
    pub(super) fn count(&self) -> usize {
        self.served.lock().len()
    }

    /// Returns once none runs. The asking nodes end each, and the sweep those whose nodes are gone.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.count() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

impl Run {
    /// The events after the first `received`: those that are there, or else the next ones as soon as there are some, or
    /// none after a while. `None` when what is asked for was given up.
    async fn after(&mut self, received: u64, clock: &dyn Clock) -> Option<Vec<Event>> {
        let gone = received.checked_sub(self.first)?;
        let gone = usize::try_from(gone).ok().filter(|gone| *gone <= self.kept.len())?;
        self.kept.drain(..gone);
        self.first = received;
        if self.kept.is_empty() && !self.is_over {
            let next = select(self.generation.next(), clock.sleep(GENERATION_FOLLOW_TIME)).await;
            if let Either::Left((event, _)) = next {
                self.keep(event);
            }
        }
        // What else is made already goes along.
        while !self.is_over && !self.kept.is_empty() && self.kept.len() < GENERATION_EVENTS_MAX {
            let Some(event) = futures::FutureExt::now_or_never(self.generation.next()) else { break };
            self.keep(event);
        }
        Some(self.kept.iter().cloned().collect())
    }

    fn keep(&mut self, event: Option<Event>) {
        match event {
            Some(event) => {
                self.is_over = !matches!(event, Ok(GenerationEvent::Token { .. }));
                self.kept.push_back(event);
            }
            None => {
                self.is_over = true;
                let what = "it ended without saying why".to_owned();
                self.kept.push_back(Err(ModelError::Failed { what }));
            }
        }
    }
}

impl fmt::Debug for Desk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Desk").field("served", &self.count()).finish_non_exhaustive()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// How busy a replica is, as one number.
pub(super) const fn busy(load: ReplicaLoad) -> u32 {
    load.active.saturating_add(load.waiting)
}
