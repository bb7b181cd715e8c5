//! A fork: a new session with the history of another one up to a turn. Messages, journal, replies and the script's state
//! are copied; money, receipts and effects are not: what a copied step cost is the other session's.
//!
//! One transaction of the new session. It reads only turns that have ended, which never change.

use std::collections::BTreeMap;

use serde_json::Value;
use steward_scripting::{HostCall, StepCall};
use steward_storage::{RangeRead, Record, Txn, record};
use steward_types::limits::{FORK_BYTES_MAX, FORK_ROWS_MAX};
use steward_types::{ErrorCode, Micros, SessionId, StepPath, Timestamp};

use super::answer::Loaded;
use super::error::SessionError;
use super::event::{EventBody, SessionEvent};
use super::journal::{JournalStep, StepState};
use super::key;
use super::read;
use super::record::{ForkedFrom, SessionHead, SessionRecord, SessionStatus, StateValue, StepOutcome, TurnRecord};
use super::request::{Fork, Refusal, SessionResponse};
use super::transact::Done;
use crate::budget::{AccountId, ledger};

/// What is copied, and how much it is so far.
struct Copy<'a> {
    txn: &'a Txn,
    from: SessionId,
    to: SessionId,
    rows: usize,
    bytes: usize,
}

/// Makes `session` a fork, unless it is one already.
pub(super) async fn fork(
    txn: &Txn,
    session: SessionId,
    request: &Fork,
    limit: Option<Micros>,
    now: Timestamp,
) -> Result<Done, SessionError> {
    if txn.load::<SessionRecord>(&key::record(session)).await?.is_some() {
        let view = read::view_in(txn, session).await?;
        return Ok(Done::new(SessionResponse::Opened(view), Loaded::load(txn, session).await?));
    }
    let source = txn.load::<SessionRecord>(&key::record(request.from)).await?;
    let source = source.ok_or(SessionError::NotFound(request.from))?;
    let mut copy = Copy { txn, from: request.from, to: session, rows: 0, bytes: 0 };
    let copied = copy.history(&source, request.turn).await?;
    let mut head = match copied {
        Ok(head) => head,
        Err(refusal) => return Ok(Done::without_record(refusal)),
    };
    head.updated = now;
    let record = SessionRecord {
        status: SessionStatus::Idle,
        turn: request.turn,
        messages: request.turn,
        label: request.label.clone(),
        parent: None,
        depth: 0,
        opened: now,
        owed_to_parent: None,
        forked_from: Some(ForkedFrom { session: request.from, turn: request.turn }),
        ..source
    };
    let account = AccountId::session(record.project.clone(), record.agent.clone(), session);
    ledger::open_session(txn, &account, limit, now).await?;
    txn.set(&key::of_project(&record.project, session), &[])?;
    let loaded = Loaded { session, record, head };
    loaded.save(txn)?;
    let view = read::view_in(txn, session).await?;
    Ok(Done::new(SessionResponse::Opened(view), loaded))
}

impl Copy<'_> {
    /// Copies everything up to a turn. Nothing is written when it refuses, because the caller then writes nothing.
    async fn history(
        &mut self,
        source: &SessionRecord,
        last: u64,
    ) -> Result<Result<SessionHead, Refusal>, SessionError> {
        let mut state = BTreeMap::new();
        for turn in 1..=last {
            let found = self.txn.load_snapshot::<TurnRecord>(&key::turn(self.from, turn)).await?;
            let Some(ended) = found.filter(|turn| turn.ended.is_some()) else {
                let message = format!("turn {turn} has not ended: fork at an earlier one");
                return Ok(Err(Refusal::new(ErrorCode::InvalidRequest, message)));
            };
            self.put(key::turn(self.to, turn), &TurnRecord { price: Micros::ZERO, ..ended })?;
            if let Err(lost) = self.steps(turn, &mut state).await? {
                let message = format!("step {turn}/{lost} set a state to a value too long for the journal to keep");
                return Ok(Err(Refusal::new(ErrorCode::InvalidRequest, message)));
            }
            if self.is_too_large() {
                let message = format!("the history up to turn {last} is too long to copy: fork at an earlier turn");
                return Ok(Err(Refusal::new(ErrorCode::RequestTooLarge, message)));
            }
        }
        for (name, value) in state {
            self.put(key::state(self.to, &name), &StateValue(value))?;
        }
        let head = self.events(source, last).await?;
        if self.is_too_large() {
            let message = format!("the events up to turn {last} are too many to copy: fork at an earlier turn");
            return Ok(Err(Refusal::new(ErrorCode::RequestTooLarge, message)));
        }
        Ok(Ok(head))
    }

    /// Copies a turn's journal, and follows what it does to the state. A step that set one to a value that is not known
    /// any more is an error.
    async fn steps(
        &mut self,
        turn: u64,
        state: &mut BTreeMap<String, Value>,
    ) -> Result<Result<(), String>, SessionError> {
        let mut rest = Some(RangeRead::prefix(&key::steps(self.from, turn)).snapshot());
        while let Some(range) = rest {
            let page = self.txn.scan::<JournalStep>(range).await?;
            for (row, step) in page.rows {
                let path = key::step_path(&row)?;
                if let Err(lost) = follow(&path, &step, state) {
                    return Ok(Err(lost));
                }
                let step = JournalStep { price: Micros::ZERO, hold: None, ..step };
                self.put(key::step(self.to, turn, &path), &step)?;
            }
            rest = page.rest.filter(|_| !self.is_too_large());
        }
        Ok(Ok(()))
    }

    /// Copies the events of the session's opening and of its turns, numbered anew. Pieces of a model's answer are left
    /// out: the whole of it stands in its step.
    async fn events(&mut self, source: &SessionRecord, last: u64) -> Result<SessionHead, SessionError> {
        let mut head = SessionHead::default();
        let opened = EventBody::Opened { project: source.project.clone(), agent: source.agent.clone() };
        let first = SessionEvent { seq: 0, at: source.opened, turn: 0, step: None, body: opened };
        self.append(&mut head, first)?;
        let mut rest = Some(RangeRead::new(key::event(self.from, 1), key::event(self.from, u64::MAX)).snapshot());
        while let Some(range) = rest {
            let page = self.txn.scan::<SessionEvent>(range).await?;
            for (_, event) in page.rows {
                if (1..=last).contains(&event.turn) && !matches!(event.body, EventBody::Delta { .. }) {
                    self.append(&mut head, event)?;
                }
            }
            rest = page.rest.filter(|_| !self.is_too_large());
        }
        Ok(head)
    }

    fn append(&mut self, head: &mut SessionHead, event: SessionEvent) -> Result<(), SessionError> {
        head.last_seq += 1;
        let event = SessionEvent { seq: head.last_seq, body: without_money(event.body), ..event };
        self.put(key::event(self.to, head.last_seq), &event)
    }

    fn put<R: Record>(&mut self, row: Vec<u8>, value: &R) -> Result<(), SessionError> {
        let bytes = record::encode(value)?;
        self.rows += 1;
        self.bytes += row.len() + bytes.len();
        Ok(self.txn.set(&row, &bytes)?)
    }

    const fn is_too_large(&self) -> bool {
        self.rows > FORK_ROWS_MAX || self.bytes > FORK_BYTES_MAX
    }
}

/// What a step does to the script's state. A step that set it to something that was not kept is an error.
fn follow(path: &StepPath, step: &JournalStep, state: &mut BTreeMap<String, Value>) -> Result<(), String> {
    let is_done = matches!(&step.state, StepState::Finished(StepOutcome::Value(_)));
    if step.function != "set_state" || !is_done {
        return Ok(());
    }
    let arguments = step.arguments.clone().ok_or_else(|| path.to_string())?;
    let call = StepCall {
        path: path.clone(),
        function: step.function.clone(),
        arguments,
        arguments_hash: step.arguments_hash,
        position: step.position.clone(),
    };
    match HostCall::parse(&call) {
        Ok(HostCall::SetState { key, value }) if value.is_null() => drop(state.remove(&key)),
        Ok(HostCall::SetState { key, value }) => drop(state.insert(key, value)),
        Ok(_) | Err(_) => return Err(path.to_string()),
    }
    Ok(())
}

/// An event as it would be had nothing been paid.
fn without_money(body: EventBody) -> EventBody {
    let price = Micros::ZERO;
    match body {
        EventBody::StepStarted { function, .. } => EventBody::StepStarted { function, hold: None },
        EventBody::StepFinished { function, result, usage, .. } => {
            EventBody::StepFinished { function, result, price, hold: None, usage }
        }
        EventBody::StepFailed { function, code, message, .. } => {
            EventBody::StepFailed { function, code, message, price }
        }
        EventBody::TurnFinished { value, .. } => EventBody::TurnFinished { value, price },
        EventBody::TurnFailed { failure, .. } => EventBody::TurnFailed { failure, price },
        other => other,
    }
}
