//! The session as an entity: requests become transactions, and a worker runs what the transactions made runnable.

use serde_json::json;
use steward_storage::StoreExt;
use steward_types::{ErrorCode, SessionId};
use tokio_util::sync::CancellationToken;

use super::environment::SessionEnvironment;
use super::error::SessionError;
use super::key;
use super::record::{SessionHead, SessionRecord};
use super::request::{Refusal, SessionRequest, SessionResponse};
use super::transact::{self, Begin};
use super::worker::{self, Rest, TakenUp, Worker};
use crate::host::{Context, Entity, EntityId, Fault, Reply};

/// One session while it is in memory. All that matters is in the store; this only knows whether a worker runs.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    record: Option<SessionRecord>,
    last_seq: u64,
    worker: Option<CancellationToken>,
    /// Whether somebody spoke to the session while a worker ran, so that what held the worker back may be over.
    is_poked: bool,
}

/// What a session's worker tells it.
#[derive(Debug)]
pub enum WorkerEvent {
    /// There is nothing left to do.
    Done,
    /// What is left waits until the agent and its project are paused no more: whoever resumes them pokes the session.
    HeldBack,
    /// The worker can't go on.
    Failed(SessionError),
}

impl Entity for Session {
    const KIND: &'static str = "session";
    const IDEMPOTENT: bool = true;
    type Environment = SessionEnvironment;
    type Request = SessionRequest;
    type Response = SessionResponse;
    type Event = WorkerEvent;

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let id: SessionId = id.as_str().parse().map_err(Fault::poison)?;
        let mut session = Self { id, record: None, last_seq: 0, worker: None, is_poked: false };
        session.reload(&context).await?;
        session.work(&context, None);
        Ok(session)
    }

    async fn handle(
        &mut self,
        request: SessionRequest,
        reply: Reply<SessionResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        let ends = matches!(request, SessionRequest::Cancel { .. } | SessionRequest::End { .. });
        let fence = context.fence();
        let place = match request.is_from_outside() {
            true => match context.environment().crowd.admit().await {
                Ok(place) => Some(place),
                Err(crowded) => {
                    reply.send(Refusal::new(ErrorCode::NodeBusy, crowded.to_string()).into());
                    return Ok(());
                }
            },
            false => None,
        };
        self.is_poked |= self.worker.is_some();
        let begin = match self.worker {
            None => Begin::Now(self.record.as_ref()),
            Some(_) => Begin::Later,
        };
        let done = transact::transact(context.environment(), &fence, self.id, begin, request).await;
        let done = match done {
            Ok(done) => done,
            Err(SessionError::NotFound(id)) => transact::Done::refused(&SessionError::NotFound(id)),
            Err(error @ SessionError::Ledger(_)) => transact::Done::refused(&error),
            Err(error) => return Err(error.into_fault()),
        };
        if let Some(record) = done.record {
            self.record = Some(record);
            self.last_seq = done.last_seq;
        }
        if ends && !matches!(done.response, SessionResponse::Refused(_)) {
            self.cancel_worker();
        }
        for child in done.children {
            worker::end_child(context, child);
        }
        self.work(context, done.taken_up.map(|taken_up| taken_up.with(place)));
        reply.send(done.response);
        Ok(())
    }

    async fn on_event(&mut self, event: WorkerEvent, context: &Context<Self>) -> Result<(), Fault> {
        self.worker = None;
        match event {
            WorkerEvent::Done => {
                self.reload(context).await?;
                self.work(context, None);
                Ok(())
            }
            WorkerEvent::HeldBack if self.is_poked => {
                self.work(context, None);
                Ok(())
            }
            WorkerEvent::HeldBack => Ok(()),
            WorkerEvent::Failed(error) => Err(error.into_fault()),
        }
    }

    fn observe(&self) -> serde_json::Value {
        let Some(record) = &self.record else { return json!({ "open": false }) };
        json!({
            "project": record.project,
            "agent": record.agent,
            "status": record.status,
            "turn": record.turn,
            "waiting_messages": record.waiting_messages(),
            "last_seq": self.last_seq,
            "working": self.worker.is_some(),
        })
    }

    fn is_idle(&self) -> bool {
        self.worker.is_none()
    }

    fn size_bytes(request: &SessionRequest) -> usize {
        request.size_bytes()
    }
}

impl Session {
    async fn reload(&mut self, context: &Context<Self>) -> Result<(), Fault> {
        let id = self.id;
        let store = &context.environment().store;
        let rows = store.run(|txn| async move {
            let record = txn.load_snapshot::<SessionRecord>(&key::record(id)).await?;
            let head = txn.load_snapshot::<SessionHead>(&key::head(id)).await?;
            Ok::<_, SessionError>((record, head))
        });
        let (record, head) = rows.await.map_err(SessionError::into_fault)?;
        self.record = record;
        self.last_seq = head.map_or(0, |head| head.last_seq);
        Ok(())
    }

    /// Starts a worker when there is something to do and none runs; on `first` before anything else.
    fn work(&mut self, context: &Context<Self>, first: Option<TakenUp>) {
        if self.worker.is_some() || !self.record.as_ref().is_some_and(SessionRecord::is_runnable) {
            return;
        }
        self.is_poked = false;
        let cancel = CancellationToken::new();
        self.worker = Some(cancel.clone());
        let worker = Worker {
            environment: context.environment().clone(),
            context: context.clone(),
            session: self.id,
            fence: context.fence(),
            cancel,
        };
        context.work(async move {
            match worker.work(first).await {
                Ok(Rest::Done) => WorkerEvent::Done,
                Ok(Rest::HeldBack) => WorkerEvent::HeldBack,
                Err(error) => WorkerEvent::Failed(error),
            }
        });
    }

    fn cancel_worker(&self) {
        if let Some(cancel) = &self.worker {
            cancel.cancel();
        }
    }
}

/// A refusal as an answer.
impl From<Refusal> for SessionResponse {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
