//! What a session does with a request: one transaction each, which may be run again and takes effect once.

use steward_storage::Txn;
use steward_types::limits::{MESSAGE_KEY_BYTES_MAX, NAME_BYTES_MAX, SESSION_INBOX_MAX, SESSION_MESSAGE_BYTES_MAX};
use steward_types::{ErrorCode, Micros, SessionId, Timestamp};

use super::answer::{self, Loaded, Taken};
use super::approval::{Approval, Decision};
use super::environment::{ProgramError, SessionEnvironment};
use super::error::SessionError;
use super::event::EventBody;
use super::fork;
use super::key;
use super::lifecycle;
use super::read;
use super::record::{SessionHead, SessionRecord, SessionStatus, TakenKey, TurnRecord, TurnState};
use super::request::{Accepted, Decide, Fork, Open, Refusal, Send, SessionRequest, SessionResponse};
use super::turn::json_bytes;
use super::worker::{self, TakenUp};
use crate::budget::{AccountId, ledger};
use crate::lease::Fence;

/// What a request came to.
pub(super) struct Done {
    pub response: SessionResponse,
    /// The record as it is now, when the session exists.
    pub record: Option<SessionRecord>,
    pub last_seq: u64,
    /// Child sessions whose answers nobody waits for any more.
    pub children: Vec<SessionId>,
    /// The turn that began in the same transaction, for a worker to run.
    pub taken_up: Option<TakenUp>,
}

impl Done {
    pub(super) fn new(response: SessionResponse, loaded: Loaded) -> Self {
        Self {
            response,
            last_seq: loaded.head.last_seq,
            record: Some(loaded.record),
            children: Vec::new(),
            taken_up: None,
        }
    }

    /// An answer that changes nothing.
    pub(super) fn refused(error: &SessionError) -> Self {
        Self::without_record(Refusal::new(error.code(), error.to_string()))
    }

    pub(super) fn without_record(refusal: Refusal) -> Self {
        Self { response: refusal.into(), record: None, last_seq: 0, children: Vec::new(), taken_up: None }
    }
}

/// Whether a message's turn may begin in the transaction that takes the message.
#[derive(Debug, Clone, Copy)]
pub(super) enum Begin<'a> {
    /// No worker runs; the session is what this says, if it is known.
    Now(Option<&'a SessionRecord>),
    /// A worker runs, and takes up what there is to do.
    Later,
}

/// Does what a request asks.
pub(super) async fn transact(
    environment: &SessionEnvironment,
    fence: &Fence,
    session: SessionId,
    begin: Begin<'_>,
    request: SessionRequest,
) -> Result<Done, SessionError> {
    let (mut limit, mut version) = (None, None);
    match (&request, begin) {
        (SessionRequest::Open(open), begin) => match opening(environment, session, open).await {
            Ok(opening) => {
                limit = opening.limit;
                version = matches!(begin, Begin::Now(_)).then_some(opening.version);
            }
            Err(refusal) => return Ok(Done::without_record(refusal)),
        },
        (SessionRequest::Fork(fork), _) => match forking(environment, session, fork).await {
            Ok(found) => limit = found,
            Err(refusal) => return Ok(Done::without_record(refusal)),
        },
        (SessionRequest::Send(_), Begin::Now(Some(record))) => {
            version = Some(version_of(environment, session, record).await?);
        }
        _ => {}
    }
    let now = environment.clock.now();
    let request = &request;
    let done = fence.run(&*environment.store, |txn| async move {
        match request {
            SessionRequest::Open(request) => open(&txn, session, request, limit, version, now).await,
            SessionRequest::Fork(request) => fork::fork(&txn, session, request, limit, now).await,
            SessionRequest::Send(message) => send(&txn, session, message, version, now).await,
            SessionRequest::Decide(request) => decide(&txn, session, request, now).await,
            SessionRequest::Cancel { reason } => cancel(&txn, session, reason, now).await,
            SessionRequest::End { reason } => end(&txn, session, reason, now).await,
            SessionRequest::Show => show(&txn, session).await,
            SessionRequest::Poke => Ok(Done::new(SessionResponse::Done, Loaded::load(&txn, session).await?)),
            SessionRequest::Fire { turn, step } => {
                let mut loaded = Loaded::load(&txn, session).await?;
                let taken = answer::fire(&txn, &mut loaded, *turn, step, now).await?;
                taken_or_not(&txn, loaded, taken)
            }
            SessionRequest::ChildDone { turn, step, outcome } => {
                let mut loaded = Loaded::load(&txn, session).await?;
                let taken = answer::child_done(&txn, &mut loaded, *turn, step, outcome.clone(), now).await?;
                taken_or_not(&txn, loaded, taken)
            }
        }
    });
    done.await
}

/// The version that the session's next turn takes; 0 when there is none: loading it in the turn says why.
///
/// # Errors
/// When it can't be read now: a turn must not begin on a guess.
pub(super) async fn version_of(
    environment: &SessionEnvironment,
    session: SessionId,
    record: &SessionRecord,
) -> Result<u64, SessionError> {
    if let Some(version) = record.version {
        return Ok(version);
    }
    match environment.programs.current(&record.project, &record.agent, session).await {
        Ok(version) => Ok(version),
        Err(ProgramError { code: ErrorCode::StoreUnavailable, message }) => {
            Err(SessionError::Internal(format!("the agent's version can't be read now: {message}")))
        }
        Err(_) => Ok(0),
    }
}

/// What is looked up before a session is opened.
struct Opening {
    /// What the session may spend in its life: the least of what its client and its agent say.
    limit: Option<Micros>,
    version: u64,
}

/// Refuses an unknown agent.
async fn opening(environment: &SessionEnvironment, session: SessionId, open: &Open) -> Result<Opening, Refusal> {
    let programs = &environment.programs;
    let refusal = |error: ProgramError| Refusal::new(error.code, error.message);
    let version = match open.version {
        Some(version) => version,
        None => programs.current(&open.project, &open.agent, session).await.map_err(refusal)?,
    };
    let agent = programs.load(&open.project, &open.agent, version).await.map_err(refusal)?;
    let limit = [open.ceiling, agent.manifest.budget.session].into_iter().flatten().min();
    Ok(Opening { limit, version })
}

/// What a fork may spend: the least of what its source and its agent say.
async fn forking(environment: &SessionEnvironment, session: SessionId, fork: &Fork) -> Result<Option<Micros>, Refusal> {
    if fork.label.len() > NAME_BYTES_MAX {
        return Err(Refusal::new(ErrorCode::InvalidRequest, format!("a label may have {NAME_BYTES_MAX} bytes")));
    }
    let programs = &environment.programs;
    let refusal = |error: ProgramError| Refusal::new(error.code, error.message);
    let version = programs.current(&fork.project, &fork.agent, session).await.map_err(refusal)?;
    let agent = programs.load(&fork.project, &fork.agent, version).await.map_err(refusal)?;
    Ok([fork.ceiling, agent.manifest.budget.session].into_iter().flatten().min())
}

fn taken_or_not(txn: &Txn, loaded: Loaded, taken: Taken) -> Result<Done, SessionError> {
    let response = match taken {
        Taken::Yes => {
            loaded.save(txn)?;
            SessionResponse::Done
        }
        Taken::No | Taken::Late => Refusal::new(ErrorCode::InvalidRequest, "the step does not wait for this").into(),
    };
    Ok(Done::new(response, loaded))
}

async fn open(
    txn: &Txn,
    session: SessionId,
    open: &Open,
    limit: Option<Micros>,
    version: Option<u64>,
    now: Timestamp,
) -> Result<Done, SessionError> {
    if let Some(record) = txn.load::<SessionRecord>(&key::record(session)).await? {
        if record.project != open.project || record.agent != open.agent {
            let refusal = Refusal::new(ErrorCode::InvalidRequest, "a session of this id exists, of another agent");
            return Ok(Done::without_record(refusal));
        }
        let view = read::view_in(txn, session).await?;
        return Ok(Done::new(SessionResponse::Opened(view), Loaded::load(txn, session).await?));
    }
    if open.label.len() > NAME_BYTES_MAX {
        let message = format!("a label may have {NAME_BYTES_MAX} bytes");
        return Ok(Done::without_record(Refusal::new(ErrorCode::InvalidRequest, message)));
    }
    // Whatever is refused is refused before anything is written.
    if let Some(Err(refusal)) = open.message.as_ref().map(check_message) {
        return Ok(Done::without_record(refusal));
    }
    let record = SessionRecord {
        project: open.project.clone(),
        agent: open.agent.clone(),
        status: SessionStatus::Idle,
        turn: 0,
        messages: 0,
        version: open.version,
        label: open.label.clone(),
        ceiling: open.ceiling,
        parent: open.parent.clone(),
        depth: open.depth,
        opened: now,
        owed_to_parent: None,
        forked_from: None,
    };
    let account = AccountId::session(open.project.clone(), open.agent.clone(), session);
    ledger::open_session(txn, &account, limit, now).await?;
    txn.set(&key::of_project(&open.project, session), &[])?;
    let mut loaded = Loaded { session, record, head: SessionHead { updated: now, ..SessionHead::default() } };
    let opened = EventBody::Opened { project: open.project.clone(), agent: open.agent.clone() };
    loaded.event(txn, now, 0, None, opened)?;
    if let Some(message) = &open.message
        && let Err(refusal) = accept(txn, &mut loaded, message, now).await?
    {
        return Err(SessionError::Internal(format!("a new session refused its first message: {refusal}")));
    }
    let taken_up = begin_turn(txn, &mut loaded, version, now).await?;
    loaded.save(txn)?;
    let view = read::view_in(txn, session).await?;
    Ok(Done { taken_up, ..Done::new(SessionResponse::Opened(view), loaded) })
}

async fn send(
    txn: &Txn,
    session: SessionId,
    message: &Send,
    version: Option<u64>,
    now: Timestamp,
) -> Result<Done, SessionError> {
    let mut loaded = Loaded::load(txn, session).await?;
    let response = match accept(txn, &mut loaded, message, now).await? {
        Ok(accepted) => SessionResponse::Accepted(accepted),
        Err(refusal) => return Ok(Done::new(refusal.into(), loaded)),
    };
    let taken_up = begin_turn(txn, &mut loaded, version, now).await?;
    loaded.save(txn)?;
    Ok(Done { taken_up, ..Done::new(response, loaded) })
}

/// Begins a waiting message's turn, when no other is in flight and `version` is what it takes: so a message to an idle
/// session needs one commit, not two. The caller saves.
async fn begin_turn(
    txn: &Txn,
    loaded: &mut Loaded,
    version: Option<u64>,
    now: Timestamp,
) -> Result<Option<TakenUp>, SessionError> {
    let record = &loaded.record;
    let may_begin = record.status == SessionStatus::Idle && record.waiting_messages() > 0;
    let Some(version) = version.filter(|_| may_begin && record.owed_to_parent.is_none()) else { return Ok(None) };
    if loaded.is_held_back(txn).await? {
        return Ok(None);
    }
    let (turn, _) = lifecycle::take_up_turn(txn, loaded, version, now).await?;
    Ok(Some(TakenUp::begun(loaded.clone(), turn)))
}

fn check_message(message: &Send) -> Result<(), Refusal> {
    if message.key.is_empty() || message.key.len() > MESSAGE_KEY_BYTES_MAX {
        let text = format!("a message's key has 1 to {MESSAGE_KEY_BYTES_MAX} bytes");
        return Err(Refusal::new(ErrorCode::InvalidRequest, text));
    }
    if json_bytes(&message.message) > SESSION_MESSAGE_BYTES_MAX {
        let text = format!("a message may have {SESSION_MESSAGE_BYTES_MAX} bytes");
        return Err(Refusal::new(ErrorCode::RequestTooLarge, text));
    }
    Ok(())
}

/// Takes a message, once for its key. The caller saves.
async fn accept(
    txn: &Txn,
    loaded: &mut Loaded,
    message: &Send,
    now: Timestamp,
) -> Result<Result<Accepted, Refusal>, SessionError> {
    let refuse = |code, message: String| Ok(Err(Refusal::new(code, message)));
    if let Err(refusal) = check_message(message) {
        return Ok(Err(refusal));
    }
    let taken = key::taken_key(loaded.session, &message.key);
    if let Some(TakenKey { turn, seq }) = txn.load(&taken).await? {
        return Ok(Ok(Accepted { turn, seq, repeated: true }));
    }
    if loaded.record.status == SessionStatus::Ended {
        return refuse(ErrorCode::SessionEnded, "the session has ended".to_owned());
    }
    if loaded.record.waiting_messages() >= SESSION_INBOX_MAX as u64 {
        return refuse(ErrorCode::MailboxFull, format!("{SESSION_INBOX_MAX} messages wait in the session already"));
    }
    loaded.record.messages += 1;
    let number = loaded.record.messages;
    let turn = TurnRecord {
        key: message.key.clone(),
        message: message.message.clone(),
        version: 0,
        received: now,
        ended: None,
        price: Micros::ZERO,
        state: TurnState::Queued,
    };
    txn.save(&key::turn(loaded.session, number), &turn)?;
    let event = EventBody::Message { key: message.key.clone(), message: message.message.clone() };
    let seq = loaded.event(txn, now, number, None, event)?;
    txn.save(&taken, &TakenKey { turn: number, seq })?;
    Ok(Ok(Accepted { turn: number, seq, repeated: false }))
}

async fn decide(txn: &Txn, session: SessionId, request: &Decide, now: Timestamp) -> Result<Done, SessionError> {
    let mut loaded = Loaded::load(txn, session).await?;
    let id = &request.approval;
    let found = txn.load::<Approval>(&key::approval(&loaded.record.project, id)).await?;
    let Some(mut approval) = found.filter(|_| id.session == session) else {
        let refusal = Refusal::new(ErrorCode::ApprovalNotFound, format!("there is no approval {id}"));
        return Ok(Done::new(refusal.into(), loaded));
    };
    let decision = Decision {
        approved: request.approved,
        answer: request.answer.clone(),
        comment: request.comment.clone(),
        decided_by: request.decided_by.clone(),
        decided: now,
    };
    if json_bytes(&decision.answer) + decision.comment.as_ref().map_or(0, String::len) > SESSION_MESSAGE_BYTES_MAX {
        let refusal = Refusal::new(ErrorCode::RequestTooLarge, "the answer and its comment are too long");
        return Ok(Done::new(refusal.into(), loaded));
    }
    if approval.decision.as_ref().is_some_and(|before| before.agrees_with(&decision)) {
        return Ok(Done::new(SessionResponse::Decided(approval), loaded));
    }
    match answer::decide(txn, &mut loaded, &mut approval, decision).await? {
        Taken::Yes => {
            loaded.save(txn)?;
            Ok(Done::new(SessionResponse::Decided(approval), loaded))
        }
        taken @ (Taken::No | Taken::Late) => {
            if taken == Taken::Late {
                loaded.save(txn)?;
            }
            let message = format!("the approval {id} was decided before, differently, or has expired");
            Ok(Done::new(Refusal::new(ErrorCode::ApprovalDecided, message).into(), loaded))
        }
    }
}

/// Ends the turn in flight, if one is.
async fn cancel_turn(
    txn: &Txn,
    loaded: &mut Loaded,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<SessionId>, SessionError> {
    if loaded.head.turn == 0 {
        return Ok(Vec::new());
    }
    let turn = loaded.head.turn;
    let steps = worker::journal_in(txn, loaded.session, turn).await?;
    let price = Micros::sum(steps.iter().map(|(_, step)| step.price));
    let price = price.map_err(|error| SessionError::Internal(error.to_string()))?;
    let children = answer::drop_unfinished(txn, loaded, turn, &steps, now).await?;
    let state = TurnState::Cancelled { reason: reason.to_owned() };
    lifecycle::end_turn(txn, loaded, state, price, now).await?;
    Ok(children)
}

async fn cancel(txn: &Txn, session: SessionId, reason: &str, now: Timestamp) -> Result<Done, SessionError> {
    let mut loaded = Loaded::load(txn, session).await?;
    let children = cancel_turn(txn, &mut loaded, reason, now).await?;
    loaded.save(txn)?;
    Ok(Done { children, ..Done::new(SessionResponse::Done, loaded) })
}

async fn end(txn: &Txn, session: SessionId, reason: &str, now: Timestamp) -> Result<Done, SessionError> {
    let mut loaded = Loaded::load(txn, session).await?;
    let mut children = Vec::new();
    if loaded.record.status != SessionStatus::Ended {
        children = cancel_turn(txn, &mut loaded, reason, now).await?;
    }
    if loaded.record.status != SessionStatus::Ended {
        lifecycle::end_session(txn, &mut loaded, reason.to_owned(), now).await?;
    }
    loaded.save(txn)?;
    Ok(Done { children, ..Done::new(SessionResponse::Done, loaded) })
}

async fn show(txn: &Txn, session: SessionId) -> Result<Done, SessionError> {
    let view = read::view_in(txn, session).await?;
    Ok(Done::new(SessionResponse::View(view), Loaded::load(txn, session).await?))
}
