//! The Actors service: any entity, for operators.

use std::time::Duration;

use futures::stream;
use steward_actors::host::{DeadLetter, EntityState, EntitySummary, Snapshot};
use steward_actors::project::Role;
use steward_actors::service::{ActorPlace, Failure};
use steward_types::NodeId;
use steward_types::limits::ACTOR_WATCH_TIME_MIN;
use tonic::{Request, Response, Status};

use super::Services;
use super::stream::Answers;
use crate::call::{caller, deadline, page_size, parse_json, require, stream_deadline};
use crate::convert::operations::missing;
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
        let kind = Some(request.kind).filter(|kind| !kind.is_empty());
        let after = place_from(&request.page_token).or_status()?;
        let page = self.steward.actors(kind, after, page_size(request.page_size)).await.or_status()?;
        let last = page.actors.last().filter(|_| page.more);
        let next_page_token = last.map(|(node, last)| format!("{node}/{}/{}", last.kind, last.id)).unwrap_or_default();
        let actors = page.actors.iter().map(|(node, found)| summary(*node, found)).collect();
        let missing = page.missing.iter().map(missing).collect();
        Ok(Response::new(v1::ListActorsResponse { actors, next_page_token, missing }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectActorRequest>,
    ) -> Result<Response<v1::InspectActorResponse>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let request = request.into_inner();
        let (node, found) = self.steward.actor(&request.kind, &request.id).await.or_status()?;
        Ok(Response::new(snapshot(node, &found)))
    }

    async fn tell(&self, request: Request<v1::TellActorRequest>) -> Result<Response<v1::TellActorResponse>, Status> {
        let operator = self.operator(&request)?;
        let request = request.into_inner();
        let message = payload_from("message", request.message).or_status()?;
        operator.tell_actor(&request.kind, &request.id, message).await.or_status()?;
        Ok(Response::new(v1::TellActorResponse {}))
    }

    async fn ask(&self, request: Request<v1::AskActorRequest>) -> Result<Response<v1::AskActorResponse>, Status> {
        let (deadline, operator) = (deadline(&request, &self.steward), self.operator(&request)?);
        let request = request.into_inner();
        let asked = payload_from("request", request.request).or_status()?;
        let response = operator.ask_actor(&request.kind, &request.id, asked, deadline).await.or_status()?;
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
        let (deadline, operator) = (deadline(&request, &self.steward), self.operator(&request)?);
        let request = request.into_inner();
        let stopped = operator.stop_actor(&request.kind, &request.id, deadline).await.or_status()?;
        let (was_live, missing) = (stopped.any(), stopped.missing.iter().map(missing).collect());
        Ok(Response::new(v1::StopActorResponse { was_live, missing }))
    }

    async fn dead_letters(
        &self,
        request: Request<v1::DeadLettersRequest>,
    ) -> Result<Response<v1::DeadLettersResponse>, Status> {
        require(&caller(&request)?, Role::Root).or_status()?;
        let size = page_size(request.get_ref().page_size);
        let gathered = self.steward.dead_letters(size).await;
        let missing = gathered.missing.iter().map(missing).collect();
        let of_node = |(node, letters): (NodeId, Vec<DeadLetter>)| letters.into_iter().map(move |one| (node, one));
        let mut letters: Vec<_> = gathered.answers.into_iter().flat_map(of_node).collect();
        letters.sort_by_key(|(_, letter)| std::cmp::Reverse(letter.at));
        letters.truncate(size);
        let letters = letters.into_iter().map(|(node, found)| letter(node, found)).collect();
        Ok(Response::new(v1::DeadLettersResponse { letters, missing }))
    }

    async fn release(
        &self,
        request: Request<v1::ReleaseActorRequest>,
    ) -> Result<Response<v1::ReleaseActorResponse>, Status> {
        let operator = self.operator(&request)?;
        let request = request.into_inner();
        let released = operator.release_actor(&request.kind, &request.id).await.or_status()?;
        let (was_quarantined, missing) = (released.any(), released.missing.iter().map(missing).collect());
        Ok(Response::new(v1::ReleaseActorResponse { was_quarantined, missing }))
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
            let (node, found) = self.services.steward.actor(&self.kind, &self.id).await?;
            let found = snapshot(node, &found);
            if self.last.as_ref() != Some(&found) {
                self.last = Some(found.clone());
                return Ok(found);
            }
        }
    }
}

pub(super) fn state(state: EntityState) -> String {
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

fn summary(node: NodeId, found: &EntitySummary) -> v1::ActorSummary {
    v1::ActorSummary {
        kind: found.kind.to_string(),
        id: found.id.to_string(),
        state: state(found.state),
        mailbox: u32::try_from(found.mailbox_messages).unwrap_or(u32::MAX),
        restarts: found.restarts,
        last_activity: time(found.last_activity),
        cause: String::new(),
        node: node.to_string(),
    }
}

fn letter(node: NodeId, letter: DeadLetter) -> v1::DeadLetter {
    v1::DeadLetter {
        kind: letter.kind.into_owned(),
        id: letter.id.to_string(),
        at: time(letter.at),
        cause: letter.cause,
        message: letter.message,
        node: node.to_string(),
    }
}

/// Where a page ended, as its token says.
fn place_from(token: &str) -> Result<Option<ActorPlace>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let wrong = || Failure::field("page_token", "it is from no answer of this method");
    let mut parts = token.splitn(3, '/');
    let (Some(node), Some(kind), Some(id)) = (parts.next(), parts.next(), parts.next()) else { return Err(wrong()) };
    let node = node.parse().map_err(|_| wrong())?;
    Ok(Some(ActorPlace { node, kind: kind.to_owned(), id: id.to_owned() }))
}

fn snapshot(node: NodeId, found: &Snapshot) -> v1::InspectActorResponse {
    let cause =
        found.quarantine.as_ref().map(|quarantine| quarantine.cause.clone()).or_else(|| found.last_fault.clone());
    let summary = v1::ActorSummary {
        node: node.to_string(),
        kind: found.kind.to_string(),
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
