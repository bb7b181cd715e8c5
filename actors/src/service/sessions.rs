//! Sessions: open, send, run, watch, journal.

use std::pin::pin;

use futures::{Stream, StreamExt, TryStreamExt};
use serde_json::Value;
use steward_types::limits::SESSIONS_FILTERED_MAX;
use steward_types::{AgentId, ErrorCode, Micros, ProjectId, SessionId, StepPath};

use super::idempotency::check_key;
use super::{Failure, Reach, Steward, error::unexpected};
use crate::host::{Deadline, EntityId};
use crate::session::journal::JournalStep;
use crate::session::{
    Accepted, EventBody, Fork, Open, Send, Session, SessionEvent, SessionRequest, SessionResponse, SessionStatus,
    SessionView, TurnFailure, TurnRecord, read, watch,
};

/// What a new session is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// Its project.
    pub project: ProjectId,
    /// Its agent.
    pub agent: AgentId,
    /// The version that all its turns take; absent: each takes the newest.
    pub version: Option<u64>,
    /// The most that it may spend in its life.
    pub limit: Option<Micros>,
    /// What people call it.
    pub label: String,
    /// A repeated request with this key answers the same session; empty: none.
    pub idempotency_key: String,
}

/// Which sessions to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionFilter {
    /// Only this agent's.
    pub agent: Option<AgentId>,
    /// Only those in this state.
    pub status: Option<SessionStatus>,
}

/// How a turn ended.
#[derive(Debug, Clone, PartialEq)]
pub struct TurnOutcome {
    /// The turn.
    pub turn: u64,
    /// The agent's replies in order.
    pub replies: Vec<Value>,
    /// What the script returned; null when it failed.
    pub value: Value,
    /// Why it failed.
    pub failure: Option<TurnFailure>,
    /// What its steps cost.
    pub price: Micros,
    /// The sequence number of its last event.
    pub last_seq: u64,
}

/// A step of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalLine {
    /// The turn.
    pub turn: u64,
    /// The step.
    pub path: StepPath,
    /// What is recorded.
    pub step: JournalStep,
}

/// A page of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct JournalPage {
    /// The steps in the order of the script.
    pub lines: Vec<JournalLine>,
    /// The turn and number of steps to skip in it for the next page; absent when this is the last.
    pub next: Option<(u64, usize)>,
}

impl Steward {
    /// Opens a session.
    ///
    /// # Errors
    /// [`ErrorCode::AgentNotFound`]; [`ErrorCode::ProjectNotFound`].
    pub async fn open_session(&self, new: NewSession) -> Result<SessionView, Failure> {
        self.agent(&new.project, &new.agent, new.version).await?;
        let fresh = SessionId::generate(self.clock().as_ref(), self.entropy());
        let id = self.once(&new.project, "open session", &new.idempotency_key, async |_| Ok(fresh)).await?;
        let open = Open {
            project: new.project,
            agent: new.agent,
            ceiling: new.limit,
            version: new.version,
            label: new.label,
            parent: None,
            depth: 0,
            message: None,
        };
        match self.ask_session(id, SessionRequest::Open(open)).await? {
            SessionResponse::Opened(view) => Ok(view),
            _ => Err(unexpected("the session")),
        }
    }

    /// Opens a session with the history of another one up to a turn that has ended, or to the newest such. It has an
    /// allowance of its own and begins with nothing spent; what the copied turns did is not done again.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`]; [`ErrorCode::InvalidRequest`] for a turn that has not ended;
    /// [`ErrorCode::RequestTooLarge`] when the history is too long to copy.
    pub async fn fork_session(
        &self,
        reach: &Reach,
        id: SessionId,
        turn: Option<u64>,
        label: String,
        idempotency_key: &str,
    ) -> Result<SessionView, Failure> {
        let source = self.session(reach, id).await?;
        let in_flight = matches!(source.status, SessionStatus::Running | SessionStatus::Waiting);
        let newest = source.turn.saturating_sub(u64::from(in_flight));
        let fresh = SessionId::generate(self.clock().as_ref(), self.entropy());
        let forked = self.once(&source.project, "fork session", idempotency_key, async |_| Ok(fresh)).await?;
        let fork = Fork {
            from: id,
            turn: turn.unwrap_or(newest),
            label,
            project: source.project,
            agent: source.agent,
            ceiling: source.ceiling,
        };
        match self.ask_session(forked, SessionRequest::Fork(fork)).await? {
            SessionResponse::Opened(view) => Ok(view),
            _ => Err(unexpected("the session")),
        }
    }

    /// One session.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`], also when it is another project's.
    pub async fn session(&self, reach: &Reach, id: SessionId) -> Result<SessionView, Failure> {
        let view = read::view(self.store(), id).await?;
        if reach.covers(&view.project) { Ok(view) } else { Err(read::ReadError::NotFound(id).into()) }
    }

    /// What a session's turns have cost so far, the one in hand included.
    ///
    /// # Errors
    /// The store's.
    pub async fn session_spent(&self, id: SessionId) -> Result<Micros, Failure> {
        let view = read::view(self.store(), id).await?;
        let mut spent = Micros::ZERO;
        for turn in 1..=view.turn {
            let steps = self.turn_steps(id, turn).await?;
            let price = Micros::sum(steps.into_iter().map(|(_, step)| step.price));
            let sum = price.and_then(|price| spent.add(price));
            spent = sum.map_err(|error| Failure::new(ErrorCode::RecordCorrupt, error.to_string()))?;
        }
        Ok(spent)
    }

    /// A project's sessions before `before`, newest first, at most `limit`; and where to go on.
    ///
    /// # Errors
    /// The store's.
    pub async fn sessions(
        &self,
        project: &ProjectId,
        filter: &SessionFilter,
        before: Option<SessionId>,
        limit: usize,
    ) -> Result<(Vec<SessionView>, Option<SessionId>), Failure> {
        let fits = |view: &SessionView| {
            filter.agent.as_ref().is_none_or(|agent| *agent == view.agent)
                && filter.status.is_none_or(|status| status == view.status)
        };
        let (mut found, mut before, mut looked_at) = (Vec::new(), before, 0);
        loop {
            let page = read::list(self.store(), project, before, limit).await?;
            let last = page.last().map(|view| view.id);
            looked_at += page.len();
            let whole = page.len() >= limit;
            for view in page {
                before = Some(view.id);
                if fits(&view) {
                    found.push(view);
                }
                if found.len() >= limit {
                    let next = before.filter(|_| whole || before != last);
                    return Ok((found, next));
                }
            }
            if !whole {
                return Ok((found, None));
            }
            if looked_at >= SESSIONS_FILTERED_MAX {
                return Ok((found, before));
            }
        }
    }

    /// Gives a session a message; it is durable when this returns. Without a key, every call is a message of its own.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`]; [`ErrorCode::SessionEnded`]; [`ErrorCode::MailboxFull`] when too many wait.
    pub async fn send(&self, reach: &Reach, id: SessionId, message: Value, key: &str) -> Result<Accepted, Failure> {
        check_key(key)?;
        self.session(reach, id).await?;
        let key = match key {
            "" => hex::encode(self.entropy().bytes_16()),
            key => key.to_owned(),
        };
        match self.ask_session(id, SessionRequest::Send(Send { key, message })).await? {
            SessionResponse::Accepted(accepted) => Ok(accepted),
            _ => Err(unexpected("the session")),
        }
    }

    /// Gives a session a message and waits until its turn has ended. The turn goes on when the deadline passes or the
    /// future is dropped.
    ///
    /// # Errors
    /// As [`send`](Self::send); [`ErrorCode::DeadlineExceeded`]. A failed turn is an outcome, no error.
    pub async fn run_turn(
        &self,
        reach: &Reach,
        id: SessionId,
        message: Value,
        key: &str,
        deadline: Deadline,
    ) -> Result<TurnOutcome, Failure> {
        let accepted = self.send(reach, id, message, key).await?;
        let clock = self.clock().as_ref();
        tokio::select! {
            outcome = self.turn_outcome(id, &accepted) => outcome,
            () = clock.sleep(deadline.remaining(clock)) => Err(Failure::new(
                ErrorCode::DeadlineExceeded,
                format!("turn {} has not ended in time; it goes on, watch it from {}", accepted.turn, accepted.seq),
            )
            .with("turn", accepted.turn)
            .with("watch_from", accepted.seq)),
        }
    }

    async fn turn_outcome(&self, id: SessionId, accepted: &Accepted) -> Result<TurnOutcome, Failure> {
        let mut events = pin!(watch(self.store().clone(), id, accepted.seq));
        let mut replies = Vec::new();
        while let Some(event) = events.next().await {
            let event = event?;
            let ended = matches!(event.body, EventBody::Ended { .. });
            if event.turn != accepted.turn && !ended {
                continue;
            }
            if let EventBody::Reply { value } = &event.body {
                replies.push(value.clone());
            } else if let Some((value, failure, price)) = end_of_turn(event.body) {
                let last_seq = event.seq;
                return Ok(TurnOutcome { turn: accepted.turn, replies, value, failure, price, last_seq });
            }
        }
        Err(Failure::new(ErrorCode::SessionEnded, "the session ended before the turn did"))
    }

    /// A session's events from `from_seq` on, then each new one. Dropping the stream costs nothing.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`]; the stream fails when the store does.
    pub async fn watch_session(
        &self,
        reach: &Reach,
        id: SessionId,
        from_seq: u64,
    ) -> Result<impl Stream<Item = Result<SessionEvent, Failure>> + std::marker::Send + 'static + use<>, Failure> {
        self.session(reach, id).await?;
        Ok(watch(self.store().clone(), id, from_seq).map_err(Failure::from))
    }

    /// A page of a session's journal, of one turn or of all, from where an earlier page ended.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`].
    pub async fn journal(
        &self,
        reach: &Reach,
        id: SessionId,
        turn: Option<u64>,
        from: Option<(u64, usize)>,
        limit: usize,
    ) -> Result<JournalPage, Failure> {
        let view = self.session(reach, id).await?;
        let (first, mut skip) = from.unwrap_or((turn.unwrap_or(1), 0));
        let last = turn.unwrap_or(view.turn);
        let mut lines = Vec::new();
        for turn in first.max(1)..=last {
            let steps = self.turn_steps(id, turn).await?;
            for (at, (path, step)) in steps.into_iter().enumerate().skip(skip) {
                if lines.len() >= limit {
                    return Ok(JournalPage { lines, next: Some((turn, at)) });
                }
                lines.push(JournalLine { turn, path, step });
            }
            skip = 0;
        }
        Ok(JournalPage { lines, next: None })
    }

    /// Cancels the turn in hand, if there is one.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`].
    pub async fn cancel_turn(&self, reach: &Reach, id: SessionId, reason: String) -> Result<SessionView, Failure> {
        self.session(reach, id).await?;
        self.ask_session(id, SessionRequest::Cancel { reason }).await?;
        self.session(reach, id).await
    }

    /// Ends a session. Ending it again changes nothing.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`].
    pub async fn end_session(&self, reach: &Reach, id: SessionId, reason: String) -> Result<SessionView, Failure> {
        self.session(reach, id).await?;
        self.ask_session(id, SessionRequest::End { reason }).await?;
        self.session(reach, id).await
    }

    pub(super) async fn turn_record(&self, id: SessionId, turn: u64) -> Result<TurnRecord, Failure> {
        let found = read::turn(self.store(), id, turn).await?;
        found.ok_or_else(|| Failure::field("turn", format!("the session has no turn {turn}")))
    }

    pub(super) async fn turn_steps(&self, id: SessionId, turn: u64) -> Result<Vec<(StepPath, JournalStep)>, Failure> {
        Ok(read::journal(self.store(), id, turn).await?)
    }

    pub(super) async fn ask_session(&self, id: SessionId, request: SessionRequest) -> Result<SessionResponse, Failure> {
        match self.host().ask::<Session>(&EntityId::from(&id), request, self.deadline()).await? {
            SessionResponse::Refused(refusal) => Err(Failure::from(refusal).with("session", id)),
            response => Ok(response),
        }
    }
}

/// What the last event of a turn says: the value, why it failed, and the price.
fn end_of_turn(body: EventBody) -> Option<(Value, Option<TurnFailure>, Micros)> {
    let cancelled = |reason: String| TurnFailure {
        code: ErrorCode::Cancelled,
        message: reason,
        file: None,
        line: 0,
        column: 0,
        step: None,
    };
    match body {
        EventBody::TurnFinished { value, price } => Some((value, None, price)),
        EventBody::TurnFailed { failure, price } => Some((Value::Null, Some(failure), price)),
        EventBody::TurnCancelled { reason } | EventBody::Ended { reason } => {
            Some((Value::Null, Some(cancelled(reason)), Micros::ZERO))
        }
        _ => None,
    }
}
