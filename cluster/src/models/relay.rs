//! A generation that outlives its replica's node: it goes on elsewhere with the same request, which gives the same
//! tokens. What was handed out before is made again there, compared, and not handed out twice; the credit is the same
//! account, so that no token is made that was not granted.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use steward_inference::{Credit, GenerateRequest, Generation, GenerationEvent, ModelError};
use steward_types::ModelId;
use steward_types::limits::GENERATION_MOVES_MAX;

use super::Shared;
use super::affinity::Prefixes;
use super::remote::{Lost, RemoteGeneration};
use super::replicas::{Chosen, NodeLife};

type Event = Result<GenerationEvent, ModelError>;

/// What a replica is asked, and which were lost so far.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) shared: Arc<Shared>,
    pub(super) model: ModelId,
    pub(super) request: GenerateRequest,
    prefixes: Prefixes,
    lost: BTreeSet<NodeLife>,
}

/// A generation that has begun somewhere.
#[derive(Debug)]
pub(super) enum Begun {
    Here(Generation),
    There(RemoteGeneration),
}

impl Errand {
    pub(super) fn new(shared: Arc<Shared>, model: ModelId, request: GenerateRequest) -> Self {
        let prefixes = Prefixes::of(&model, &request.prompt);
        Self { shared, model, request, prefixes, lost: BTreeSet::new() }
    }

    /// Begins on the best replica that there is, some lost ones later.
    pub(super) async fn begin(&mut self) -> Result<Begun, ModelError> {
        let mut reason = String::new();
        for _ in 0..GENERATION_MOVES_MAX {
            let place = match self.shared.choose(&self.model, Some(&self.prefixes), &self.lost).await? {
                Chosen::Here(model) => return model.generate(self.request.clone()).await.map(Begun::Here),
                Chosen::There(place) => place,
            };
            let life = place.life;
            match RemoteGeneration::begin(&self.shared, &self.model, place, &self.request).await {
                Ok(Err(error @ ModelError::DeviceFailed { .. })) => {
                    reason = self.give_up(life, Lost(error.to_string()))
                }
                Ok(begun) => return begun.map(Begun::There),
                Err(lost) => reason = self.give_up(life, lost),
            }
        }
        Err(ModelError::Unreachable { id: self.model.clone(), reason })
    }

    fn give_up(&mut self, life: NodeLife, Lost(reason): Lost) -> String {
        tracing::warn!(model = %self.model, node = %life.0, reason, "a replica was lost; asking another");
        metrics::counter!("steward_cluster_replicas_lost_total").increment(1);
        self.lost.insert(life);
        reason
    }
}

/// The events of a generation that began on another node, wherever it goes on.
pub(super) fn relay(errand: Errand, begun: RemoteGeneration, credit: Credit) -> impl Stream<Item = Event> + Send {
    let relay = Relay { errand, source: Begun::There(begun), credit, handed: Vec::new(), again: 0, moves: 0 };
    futures::stream::unfold(Some(relay), async |relay| {
        let mut relay = relay?;
        let event = relay.next().await;
        let goes_on = matches!(event, Ok(GenerationEvent::Token { .. }));
        Some((event, goes_on.then_some(relay)))
    })
}

struct Relay {
    errand: Errand,
    source: Begun,
    credit: Credit,
    /// What was handed out: each event's index and text.
    handed: Vec<(u32, String)>,
    /// How many of those the present replica has made.
    again: usize,
    moves: usize,
}

impl Relay {
    async fn next(&mut self) -> Event {
        loop {
            let event = match self.source.next(&self.credit).await {
                // Its node has no other device for it, another node may.
                Ok(Err(error @ ModelError::DeviceFailed { .. })) if self.is_away() => {
                    self.move_on(Lost(error.to_string())).await?;
                    continue;
                }
                Ok(event) => event?,
                Err(lost) => {
                    self.move_on(lost).await?;
                    continue;
                }
            };
            if self.again < self.handed.len() {
                self.compare(&event)?;
                continue;
            }
            if let GenerationEvent::Token { text, index } = &event {
                if self.handed.last().is_none_or(|(last, _)| last < index) {
                    self.credit.spend();
                }
                self.handed.push((*index, text.clone()));
                self.again += 1;
            }
            return Ok(event);
        }
    }

    const fn is_away(&self) -> bool {
        matches!(self.source, Begun::There(_))
    }

    /// Takes the generation to another replica.
    async fn move_on(&mut self, lost: Lost) -> Result<(), ModelError> {
        let Begun::There(remote) = &self.source else {
            return Err(ModelError::Failed { what: lost.0 });
        };
        let reason = self.errand.give_up(remote.place.life, lost);
        self.moves += 1;
        if self.moves > GENERATION_MOVES_MAX {
            return Err(ModelError::Unreachable { id: self.errand.model.clone(), reason });
        }
        self.source = self.errand.begin().await?;
        self.again = 0;
        Ok(())
    }

    /// Checks that the replica makes again what another one made.
    fn compare(&mut self, event: &GenerationEvent) -> Result<(), ModelError> {
        let (index, text) = &self.handed[self.again];
        self.again += 1;
        match event {
            GenerationEvent::Token { text: again, index: at } if at == index && again == text => Ok(()),
            _ => {
                let what = "its node was lost, and another replica went on differently".to_owned();
                Err(ModelError::Failed { what })
            }
        }
    }
}

impl Begun {
    async fn next(&mut self, credit: &Credit) -> Result<Event, Lost> {
        match self {
            Self::There(remote) => remote.next(credit).await,
            Self::Here(generation) => Ok(next_here(generation, credit).await),
        }
    }
}

/// The next event of this node's own replica, which gets the credit as it grows.
async fn next_here(generation: &mut Generation, credit: &Credit) -> Event {
    let own = generation.credit();
    loop {
        let told = credit.total();
        own.raise_to(told);
        tokio::select! {
            event = generation.next() => {
                let ended = || Err(ModelError::Failed { what: "it ended without saying why".to_owned() });
                return event.unwrap_or_else(ended);
            }
            _ = credit.total_after(told) => {}
        }
    }
}
