//! The Sessions service.

use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use serde_json::json;
use steward_actors::service::{Failure, NewSession, Reach, SessionFilter};
use steward_actors::session::{EventBody, SessionView};
use steward_types::{ErrorCode, Micros, SessionId};
use tonic::{Request, Response, Status, Streaming};

use super::Services;
use super::changes::Change;
use super::stream::Answers;
use crate::call::{caller, deadline, page_size, parse, parse_optional, stream_deadline};
use crate::convert::sessions as convert;
use crate::proto::v1;
use crate::proto::v1::sessions_server::Sessions;
use crate::status::OrStatus;

type Events = BoxStream<'static, Result<v1::SessionEvent, Failure>>;

#[tonic::async_trait]
impl Sessions for Services {
    type ConverseStream = Answers<v1::SessionEvent>;
    type WatchStream = Answers<v1::SessionEvent>;

    async fn open(&self, request: Request<v1::OpenSessionRequest>) -> Result<Response<v1::Session>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let new = NewSession {
            project: self.project(&caller, &request.project).await.or_status()?,
            agent: parse("agent", &request.agent).or_status()?,
            version: Some(request.agent_version).filter(|number| *number > 0),
            limit: request.limit_micros.map(Micros::new),
            label: request.label,
            idempotency_key: request.idempotency_key,
        };
        let view = self.steward.open_session(new).await.or_status()?;
        self.one(view).await
    }

    async fn send(&self, request: Request<v1::SendRequest>) -> Result<Response<v1::SendResponse>, Status> {
        let reach = caller(&request)?.reach();
        let request = request.into_inner();
        let id = parse("session", &request.session).or_status()?;
        let message = convert::message_from(request.message).or_status()?;
        let accepted = self.steward.send(&reach, id, message, &request.idempotency_key).await.or_status()?;
        Ok(Response::new(v1::SendResponse { turn: accepted.turn, watch_from: accepted.seq }))
    }

    async fn run(&self, request: Request<v1::RunRequest>) -> Result<Response<v1::RunResponse>, Status> {
        let (reach, deadline) = (caller(&request)?.reach(), deadline(&request, &self.steward));
        let request = request.into_inner();
        let id = parse("session", &request.session).or_status()?;
        let message = convert::message_from(request.message).or_status()?;
        let outcome =
            self.steward.run_turn(&reach, id, message, &request.idempotency_key, deadline).await.or_status()?;
        Ok(Response::new(convert::outcome(outcome)))
    }

    async fn converse(
        &self,
        request: Request<Streaming<v1::ConverseRequest>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let (reach, deadline) = (caller(&request)?.reach(), stream_deadline(&request));
        let (services, parts) = (self.clone(), request.into_inner());
        let whole = stream::once(async move { services.conversation(reach, parts).await }).try_flatten();
        Ok(Response::new(self.answers(whole, deadline)))
    }

    async fn watch(&self, request: Request<v1::WatchSessionRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (reach, deadline) = (caller(&request)?.reach(), stream_deadline(&request));
        let request = request.into_inner();
        let id = parse("session", &request.session).or_status()?;
        let from = request.from_sequence.max(1);
        let last = self.steward.session(&reach, id).await.or_status()?.last_seq;
        let events = self.events(&reach, id, from, request.without_deltas);
        let most = if request.stop_at_end { last.saturating_add(1).saturating_sub(from) } else { u64::MAX };
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let events = events.await.or_status()?.take(most).filter_map(|event| async move { event.transpose() });
        Ok(Response::new(self.answers(events, deadline)))
    }

    async fn list(
        &self,
        request: Request<v1::ListSessionsRequest>,
    ) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let filter = SessionFilter {
            agent: parse_optional("agent", &request.agent).or_status()?,
            status: convert::state_from(request.state).or_status()?,
        };
        let before = parse_optional("page_token", &request.page_token).or_status()?;
        let size = page_size(request.page_size);
        let (views, next) = self.steward.sessions(&project, &filter, before, size).await.or_status()?;
        Ok(Response::new(v1::ListSessionsResponse {
            sessions: views.into_iter().map(|view| convert::session(view, None)).collect(),
            next_page_token: next.map(|id| id.to_string()).unwrap_or_default(),
        }))
    }

    async fn get(&self, request: Request<v1::GetSessionRequest>) -> Result<Response<v1::Session>, Status> {
        let reach = caller(&request)?.reach();
        let id = parse("session", &request.get_ref().session).or_status()?;
        let view = self.steward.session(&reach, id).await.or_status()?;
        self.one(view).await
    }

    async fn fork(&self, request: Request<v1::ForkSessionRequest>) -> Result<Response<v1::Session>, Status> {
        let caller = caller(&request)?;
        let (reach, request) = (caller.reach(), request.into_inner());
        let id = parse("session", &request.session).or_status()?;
        let turn = Some(request.turn).filter(|turn| *turn > 0);
        let change = Change::new("fork session", id).with(json!({ "turn": turn, "label": request.label }));
        let forked = self.steward.fork_session(&reach, id, turn, request.label, &request.idempotency_key);
        let view = self.change(&caller, change, forked).await.or_status()?;
        self.one(view).await
    }

    async fn journal(&self, request: Request<v1::JournalRequest>) -> Result<Response<v1::JournalResponse>, Status> {
        let reach = caller(&request)?.reach();
        let request = request.into_inner();
        let id = parse("session", &request.session).or_status()?;
        let turn = Some(request.turn).filter(|turn| *turn > 0);
        let from = journal_token(&request.page_token).or_status()?;
        let page = self.steward.journal(&reach, id, turn, from, page_size(request.page_size)).await.or_status()?;
        Ok(Response::new(v1::JournalResponse {
            entries: page.lines.into_iter().map(convert::journal_entry).collect(),
            next_page_token: page.next.map(|(turn, skip)| format!("{turn}.{skip}")).unwrap_or_default(),
        }))
    }

    async fn replay(&self, request: Request<v1::ReplayRequest>) -> Result<Response<v1::ReplayResponse>, Status> {
        let reach = caller(&request)?.reach();
        let request = request.into_inner();
        let id = parse("session", &request.session).or_status()?;
        let turn = Some(request.turn).filter(|turn| *turn > 0);
        let replayed = self.steward.replay(&reach, id, turn).await.or_status()?;
        Ok(Response::new(v1::ReplayResponse {
            turn: replayed.turn,
            equal: replayed.divergence.is_none(),
            steps: replayed.steps,
            divergence: replayed.divergence.unwrap_or_default(),
        }))
    }

    async fn cancel(&self, request: Request<v1::CancelTurnRequest>) -> Result<Response<v1::Session>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = parse("session", &request.session).or_status()?;
        let reason = reason(request.reason, &caller.key);
        let reach = caller.reach();
        let cancel = self.steward.cancel_turn(&reach, id, reason);
        let view = self.change(&caller, Change::new("cancel turn", id), cancel).await.or_status()?;
        self.one(view).await
    }

    async fn end(&self, request: Request<v1::EndSessionRequest>) -> Result<Response<v1::Session>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = parse("session", &request.session).or_status()?;
        let reason = reason(request.reason, &caller.key);
        let reach = caller.reach();
        let end = self.steward.end_session(&reach, id, reason);
        let view = self.change(&caller, Change::new("end session", id), end).await.or_status()?;
        self.one(view).await
    }
}

fn reason(given: String, key: &str) -> String {
    if given.is_empty() { format!("asked for with the key {key}") } else { given }
}

/// A journal's page token reads `turn.steps to skip`.
fn journal_token(token: &str) -> Result<Option<(u64, usize)>, Failure> {
    if token.is_empty() {
        return Ok(None);
    }
    let parts = token.split_once('.').and_then(|(turn, skip)| Some((turn.parse().ok()?, skip.parse().ok()?)));
    parts.map(Some).ok_or_else(|| Failure::field("page_token", "not a token of an earlier answer"))
}

impl Services {
    /// An answer about one session, with what it has spent.
    async fn one(&self, view: SessionView) -> Result<Response<v1::Session>, Status> {
        let spent = self.steward.session_spent(view.id).await.or_status()?;
        let held_back = self.steward.held_back(&view).await.or_status()?;
        let held_back = held_back.map(|pause| pause.to_string()).unwrap_or_default();
        Ok(Response::new(v1::Session { held_back, ..convert::session(view, Some(spent)) }))
    }

    /// A session's events; `None` for one that the watcher does not want. The place among the watchers is kept until
    /// the stream is dropped.
    async fn events(
        &self,
        reach: &Reach,
        id: SessionId,
        from: u64,
        without_deltas: bool,
    ) -> Result<BoxStream<'static, Result<Option<v1::SessionEvent>, Failure>>, Failure> {
        let permit = self.watchers.take(&id);
        let permit =
            permit.ok_or_else(|| Failure::new(ErrorCode::RateLimited, "too many watch this session already"))?;
        let events = self.steward.watch_session(reach, id, from).await?;
        Ok(events
            .map_ok(move |event| {
                let _held = &permit;
                let unwanted = without_deltas && matches!(event.body, EventBody::Delta { .. });
                (!unwanted).then(|| convert::event(id, event))
            })
            .boxed())
    }

    /// Events of the session that the first part names, and meanwhile the sending of what comes in.
    async fn conversation(&self, reach: Reach, mut parts: Streaming<v1::ConverseRequest>) -> Result<Events, Failure> {
        let first = next_part(&mut parts).await?;
        let first = first.ok_or_else(|| Failure::field("session", "the first part must name a session"))?;
        let id: SessionId = parse("session", &first.session)?;
        let view = self.steward.session(&reach, id).await?;
        let from = if first.from_sequence == 0 { view.last_seq + 1 } else { first.from_sequence };
        let events = self.events(&reach, id, from, false).await?.try_filter_map(|event| async move { Ok(event) });
        self.send_part(&reach, id, first).await?;
        let sending = Sending { services: self.clone(), reach, id, parts };
        let sent = stream::try_unfold(sending, |mut sending| async move {
            match next_part(&mut sending.parts).await? {
                Some(part) => {
                    sending.services.send_part(&sending.reach, sending.id, part).await?;
                    Ok(Some((None, sending)))
                }
                None => Ok(None),
            }
        });
        let sent = sent.try_filter_map(|event: Option<v1::SessionEvent>| async move { Ok(event) });
        Ok(stream::select(events, sent).boxed())
    }

    async fn send_part(&self, reach: &Reach, id: SessionId, part: v1::ConverseRequest) -> Result<(), Failure> {
        if part.message.is_some() {
            let message = convert::message_from(part.message)?;
            self.steward.send(reach, id, message, &part.idempotency_key).await?;
        }
        Ok(())
    }
}

/// The sending half of a conversation.
struct Sending {
    services: Services,
    reach: Reach,
    id: SessionId,
    parts: Streaming<v1::ConverseRequest>,
}

async fn next_part(parts: &mut Streaming<v1::ConverseRequest>) -> Result<Option<v1::ConverseRequest>, Failure> {
    let cut = |status: Status| Failure::new(ErrorCode::Cancelled, format!("the client's stream ended: {status}"));
    parts.message().await.map_err(cut)
}
