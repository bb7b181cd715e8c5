//! Asking another node about its models, and following a generation that runs there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use steward_inference::{Credit, CreditTotal, GenerateRequest, GenerationEvent, ModelError};
use steward_types::ModelId;
use steward_types::limits::{GENERATION_CALL_TIME_MAX, GENERATION_LOST_TIME, ROUTE_PAUSE_MAX};

use super::Shared;
use super::call::{self, Answer, GenerationId, MODEL_CALL, Question};
use super::replicas::{NodeLife, Place, UnderWay};
use crate::link::{CallError, Lane, PeerAddress};
use crate::route::resolve;

/// A replica that cannot be asked any more, and why. What it did is unknown, and harmless.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost(pub(super) String);

impl Shared {
    /// Asks until there is an answer, or the replica is lost: its node left or died, or was silent for too long.
    pub(super) async fn ask(&self, place: &Place, question: &Question) -> Result<Answer, Lost> {
        tokio::select! {
            answer = self.ask_patiently(place, question) => answer,
            () = self.gone(place.life) => Err(Lost(format!("node {} is gone", place.life.0))),
        }
    }

    async fn ask_patiently(&self, place: &Place, question: &Question) -> Result<Answer, Lost> {
        let body = call::encode(question).map_err(|error| Lost(error.to_string()))?;
        let began = self.clock.monotonic();
        loop {
            let Some(address) = resolve(&place.address).await else {
                return Err(Lost(format!("the address {:?} leads nowhere", place.address)));
            };
            let peer = PeerAddress { node: place.life.0, address };
            let asked = self.links.call(&peer, Lane::Data, MODEL_CALL, body.clone(), self.patience(question)).await;
            let (pause, error) = match asked {
                Ok(answer) => return call::decode(&answer).map_err(|error| Lost(error.to_string())),
                Err(error @ CallError::Overloaded { retry_after, .. }) => (retry_after, error),
                Err(
                    error @ (CallError::Unreachable { .. }
                    | CallError::Lost { .. }
                    | CallError::DeadlineExceeded { .. }),
                ) => (ROUTE_PAUSE_MAX, error),
                Err(error @ CallError::TooLarge { .. }) => {
                    let what = error.to_string();
                    return Ok(Answer::Failed(ModelError::InvalidRequest { field: "prompt".into(), what }));
                }
                Err(error @ (CallError::Refused { .. } | CallError::VersionMismatch { .. })) => {
                    return Err(Lost(error.to_string()));
                }
            };
            if self.clock.monotonic().saturating_sub(began) > self.silence_max(question) {
                return Err(Lost(error.to_string()));
            }
            self.clock.sleep(pause).await;
        }
    }

    /// How long one call may take. Counting and embedding take the time that the model takes.
    fn patience(&self, question: &Question) -> Duration {
        match question {
            Question::Embed { .. } | Question::Count { .. } => steward_types::limits::DIRECT_CALL_TIME_MAX,
            _ => GENERATION_CALL_TIME_MAX,
        }
    }

    fn silence_max(&self, question: &Question) -> Duration {
        match question {
            Question::Cancel { .. } => Duration::ZERO,
            _ => GENERATION_LOST_TIME,
        }
    }

    /// Returns once a node's life has ended, as this node sees it.
    async fn gone(&self, (node, incarnation): NodeLife) {
        loop {
            let generation = self.map.generation();
            let view = self.map.view();
            let lives = view.members.get(&node);
            if !lives.is_some_and(|member| member.incarnation == incarnation && member.state.is_alive()) {
                return;
            }
            self.map.changed_since(generation).await;
        }
    }
}

/// A generation on another node. Dropping it tells that node, which keeps what it made until then.
#[derive(Debug)]
pub(super) struct RemoteGeneration {
    shared: Arc<Shared>,
    model: ModelId,
    pub(super) place: Place,
    id: GenerationId,
    /// Events that came.
    received: u64,
    ready: VecDeque<Result<GenerationEvent, ModelError>>,
    told: CreditTotal,
    /// The other node may know of it.
    is_known: bool,
    _under_way: UnderWay,
}

impl RemoteGeneration {
    /// Begins a generation; the inner error is the model's.
    pub(super) async fn begin(
        shared: &Arc<Shared>,
        model: &ModelId,
        place: Place,
        request: &GenerateRequest,
    ) -> Result<Result<Self, ModelError>, Lost> {
        let id = shared.entropy.bytes_16();
        let request = Box::new(request.clone());
        let mut begun = Self {
            _under_way: shared.under_way(model, place.life.0),
            shared: Arc::clone(shared),
            model: model.clone(),
            place,
            id,
            received: 0,
            ready: VecDeque::new(),
            told: CreditTotal::default(),
            is_known: true,
        };
        let question = Question::Begin { model: model.clone(), generation: id, request };
        let answer = shared.ask(&begun.place, &question).await;
        match answer? {
            Answer::Begun { load } => {
                shared.heard(model, begun.place.life.0, load);
                Ok(Ok(begun))
            }
            Answer::Failed(error) => {
                begun.is_known = false;
                Ok(Err(error))
            }
            other => Err(begun.misfit(&other)),
        }
    }

    /// The next event, for which the other node gets the credit as it grows.
    pub(super) async fn next(&mut self, credit: &Credit) -> Result<Result<GenerationEvent, ModelError>, Lost> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            match self.exchange(credit).await? {
                Answer::Events { events, load } => {
                    self.shared.heard(&self.model, self.place.life.0, load);
                    self.received += events.len() as u64;
                    self.ready = events.into();
                }
                other => return Err(self.misfit(&other)),
            }
        }
    }

    /// Asks for events, and tells of every change of the credit until they come.
    async fn exchange(&mut self, credit: &Credit) -> Result<Answer, Lost> {
        self.told = credit.total();
        let follow = Question::Follow { generation: self.id, received: self.received, credit: self.told };
        let mut following = std::pin::pin!(self.shared.ask(&self.place, &follow));
        loop {
            tokio::select! {
                answer = &mut following => return answer,
                total = credit.total_after(self.told) => self.told = total,
            }
            let grant = Question::Grant { generation: self.id, credit: self.told };
            tokio::select! {
                answer = &mut following => return answer,
                // One that is lost is told again with the next question.
                _ = self.shared.ask(&self.place, &grant) => {}
            }
        }
    }

    fn misfit(&mut self, answer: &Answer) -> Lost {
        self.is_known = false;
        match answer {
            Answer::Absent => Lost(format!("node {} does not have it any more", self.place.life.0)),
            other => Lost(format!("node {} gave an answer that does not fit: {other:?}", self.place.life.0)),
        }
    }
}

impl Drop for RemoteGeneration {
    fn drop(&mut self) {
        if !self.is_known {
            return;
        }
        let (shared, place) = (Arc::clone(&self.shared), self.place.clone());
        let cancel = Question::Cancel { generation: self.id };
        // Outside of a runtime there is nobody to tell it; the other node gives up by itself then.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let farewells = shared.farewells.clone();
            farewells.spawn_on(async move { drop(shared.ask(&place, &cancel).await) }, &runtime);
        }
    }
}
