//! The Actors service: any entity, for operators.

use std::time::Duration;

use futures::stream;
use steward_actors::host::{EntityState, EntitySummary, Snapshot};
use steward_actors::project::Role;
use steward_actors::service::Failure;
use steward_types::limits::ACTOR_WATCH_TIME_MIN;
use tonic::{Request, Response, Status};

use super::Services;
use super::stream::Answers;
use crate::call::{caller, deadline, page_size, parse_json, require, stream_deadline};
use crate::convert::{span_from, time};
use crate::proto::v1;
use crate::proto::v1::actors_server::Actors;
use crate::status::OrStatus;

const WATCH_TIME_DEFAULT: Duration = Duration::from_secs(1);

#[tonic::async_trait]
impl Actors for Services {
    type WatchStream = Answers<v1::InspectActorResponse>;

    async fn list(&self, request: Request<v1::ListActorsRequest>) -> Result<Response<v1::ListActorsResponse>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let request = request.into_inner();
        let size = page_size(request.page_size);
        let (first, after) = match request.page_token.split_once('/') {
            Some((kind, id)) => (kind.to_owned(), Some(id)),
            None => (String::new(), None),
        };
        let (mut actors, mut next_page_token) = (Vec::new(), String::new());
        for kind in self.steward.actor_kinds() {
            let wanted = (request.kind.is_empty() || request.kind == kind) && *kind >= *first;
            if !wanted {
                continue;
            }
            let after = after.filter(|_| kind == first);
            let page = self.steward.actors(kind, after, size - actors.len()).or_status()?;
            actors.extend(page.entities.iter().map(summary));
            if page.more || actors.len() >= size {
                next_page_token = actors.last().map(|last| format!("{}/{}", last.kind, last.id)).unwrap_or_default();
                break;
            }
        }
        if !request.kind.is_empty() && !self.steward.actor_kinds().contains(&request.kind.as_str()) {
            self.steward.actors(&request.kind, None, 1).or_status()?;
        }
        Ok(Response::new(v1::ListActorsResponse { actors, next_page_token }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectActorRequest>,
    ) -> Result<Response<v1::InspectActorResponse>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let request = request.into_inner();
        let found = self.steward.actor(&request.kind, &request.id).await.or_status()?;
        Ok(Response::new(snapshot(&found)))
    }

    async fn tell(&self, request: Request<v1::TellActorRequest>) -> Result<Response<v1::TellActorResponse>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let request = request.into_inner();
        let message = payload_from("message", request.message).or_status()?;
        self.steward.tell_actor(&request.kind, &request.id, message).or_status()?;
        Ok(Response::new(v1::TellActorResponse {}))
    }

    async fn ask(&self, request: Request<v1::AskActorRequest>) -> Result<Response<v1::AskActorResponse>, Status> {
        let deadline = deadline(&request, &self.steward);
        require(&caller(&request)?, Role::Root).or_status()?;
        let request = request.into_inner();
        let asked = payload_from("request", request.request).or_status()?;
        let response = self.steward.ask_actor(&request.kind, &request.id, asked, deadline).await.or_status()?;
        let response = v1::Payload { r#type: format!("{}.response", request.kind), json: response.to_string() };
        Ok(Response::new(v1::AskActorResponse { response: Some(response) }))
    }

    async fn watch(&self, request: Request<v1::WatchActorRequest>) -> Result<Response<Self::WatchStream>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let deadline = stream_deadline(&request);
        let request = request.into_inner();
        let interval = match request.interval {
            Some(interval) => span_from("interval", interval).or_status()?.max(ACTOR_WATCH_TIME_MIN),
            None => WATCH_TIME_DEFAULT,
        };
        self.steward.actor(&request.kind, &request.id).await.or_status()?;
        let watcher = Watcher { services: self.clone(), kind: request.kind, id: request.id, interval, last: None };
        let changes = stream::try_unfold(watcher, |mut watcher| async move {
            let changed = watcher.next().await?;
            Ok::<_, Failure>(Some((changed, watcher)))
        });
        Ok(Response::new(self.answers(changes, deadline)))
    }

    async fn stop(&self, request: Request<v1::StopActorRequest>) -> Result<Response<v1::StopActorResponse>, Status> {
        let deadline = deadline(&request, &self.steward);
        require(&caller(&request)?, Role::Root).or_status()?;
        let request = request.into_inner();
        let was_live = self.steward.stop_actor(&request.kind, &request.id, deadline).await.or_status()?;
        Ok(Response::new(v1::StopActorResponse { was_live }))
    }

    async fn dead_letters(
        &self,
        request: Request<v1::DeadLettersRequest>,
    ) -> Result<Response<v1::DeadLettersResponse>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let letters = self.steward.dead_letters(page_size(request.get_ref().page_size));
        let letter = |letter: steward_actors::host::DeadLetter| v1::DeadLetter {
            kind: letter.kind.to_owned(),
            id: letter.id.to_string(),
            at: time(letter.at),
            cause: letter.cause,
            message: letter.message,
        };
        Ok(Response::new(v1::DeadLettersResponse { letters: letters.into_iter().map(letter).collect() }))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseActorRequest>,
    ) -> Result<Response<v1::ReleaseActorResponse>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let request = request.into_inner();
        let was_quarantined = self.steward.release_actor(&request.kind, &request.id).or_status()?;
        Ok(Response::new(v1::ReleaseActorResponse { was_quarantined }))
    }
}

struct Watcher {
    services: Services,
    kind: String,
    id: String,
    interval: Duration,
    last: Option<v1::InspectActorResponse>,
}

impl Watcher {
    async fn next(&mut self) -> Result<v1::InspectActorResponse, Failure> {
        loop {
            if self.last.is_some() {
                self.services.steward.clock().sleep(self.interval).await;
            }
            let found = snapshot(&self.services.steward.actor(&self.kind, &self.id).await?);
            if self.last.as_ref() != Some(&found) {
                self.last = Some(found.clone());
                return Ok(found);
            }
        }
    }
}

fn state(state: EntityState) -> String {
    match state {
        EntityState::Resting => "resting",
        EntityState::Activating => "activating",
        EntityState::Active => "active",
        EntityState::BackingOff => "restarting",
        EntityState::Leaving => "stopping",
        EntityState::Quarantined => "quarantined",
    }
    .to_owned()
}

fn summary(found: &EntitySummary) -> v1::ActorSummary {
    v1::ActorSummary {
        kind: found.kind.to_owned(),
        id: found.id.to_string(),
        state: state(found.state),
        mailbox: u32::try_from(found.mailbox_messages).unwrap_or(u32::MAX),
        restarts: found.restarts,
        last_activity: time(found.last_activity),
        cause: String::new(),
    }
}

fn snapshot(found: &Snapshot) -> v1::InspectActorResponse {
    let cause =
        found.quarantine.as_ref().map(|quarantine| quarantine.cause.clone()).or_else(|| found.last_fault.clone());
    let summary = v1::ActorSummary {
        kind: found.kind.to_owned(),
        id: found.id.to_string(),
        state: state(found.state),
        mailbox: u32::try_from(found.mailbox_messages).unwrap_or(u32::MAX),
        restarts: found.restarts,
        last_activity: found.last_activity.and_then(time),
        cause: cause.unwrap_or_default(),
    };
    let json = found.entity.as_ref().map(ToString::to_string);
    let state = json.map(|json| v1::Payload { r#type: format!("{}.snapshot", found.kind), json });
    v1::InspectActorResponse { summary: Some(summary), state, shard: found.shard }
}

fn payload_from(field: &str, payload: Option<v1::Payload>) -> Result<serde_json::Value, Failure> {
    let payload = payload.ok_or_else(|| Failure::field(field, "it is missing"))?;
    parse_json(&format!("{field}.json"), &payload.json)
}
