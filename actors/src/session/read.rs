//! Reading sessions straight from the store: lists, views, turns, journals and approvals. Nothing here activates an
//! entity, so looking costs a waiting session nothing.

use std::sync::Arc;

use steward_storage::{RangeRead, Record, Store, StoreError, StoreExt, TransactionError, Txn, key as tuple};
use steward_types::{ProjectId, SessionId, StepPath};
use thiserror::Error;

use super::approval::{Approval, ApprovalId};
use super::event::SessionEvent;
use super::journal::JournalStep;
use super::key;
use super::record::{SessionHead, SessionRecord, TurnRecord};
use super::request::SessionView;

/// Why a session could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The store failed, or what it holds is corrupt.
    #[error("the session's rows could not be read")]
    Store(#[from] StoreError),
    /// There is no such session.
    #[error("there is no session {0}")]
    NotFound(SessionId),
    /// There is no such approval.
    #[error("there is no approval {0}")]
    ApprovalNotFound(ApprovalId),
}

impl TransactionError for ReadError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl ReadError {
    /// The code that stands for it at the edge.
    pub const fn code(&self) -> steward_types::ErrorCode {
        match self {
            Self::Store(error) => error.code(),
            Self::NotFound(_) => steward_types::ErrorCode::SessionNotFound,
            Self::ApprovalNotFound(_) => steward_types::ErrorCode::ApprovalNotFound,
        }
    }
}

/// How a session looks now.
///
/// # Errors
/// See [`ReadError`].
pub async fn view(store: &Arc<dyn Store>, session: SessionId) -> Result<SessionView, ReadError> {
    store.run(|txn| async move { view_in(&txn, session).await }).await
}

/// [`view`] within a transaction, without conflicts.
pub(super) async fn view_in(txn: &Txn, session: SessionId) -> Result<SessionView, ReadError> {
    let record = txn.load_snapshot::<SessionRecord>(&key::record(session)).await?;
    let record = record.ok_or(ReadError::NotFound(session))?;
    let head = txn.load_snapshot::<SessionHead>(&key::head(session)).await?.unwrap_or_default();
    let turn = match record.turn {
        0 => None,
        turn => txn.load_snapshot::<TurnRecord>(&key::turn(session, turn)).await?,
    };
    let waiting_messages = record.waiting_messages();
    Ok(SessionView {
        id: session,
        project: record.project,
        agent: record.agent,
        status: record.status,
        turn: record.turn,
        version: turn.as_ref().map_or(0, |turn| turn.version),
        turn_state: turn.map(|turn| turn.state),
        waiting_messages,
        last_seq: head.last_seq,
        opened: record.opened,
        updated: head.updated,
        label: record.label,
        ceiling: record.ceiling,
        parent: record.parent,
        forked_from: record.forked_from,
    })
}

/// A page of a project's sessions, newest first, from before `before` on.
///
/// # Errors
/// See [`ReadError`].
pub async fn list(
    store: &Arc<dyn Store>,
    project: &ProjectId,
    before: Option<SessionId>,
    limit: usize,
) -> Result<Vec<SessionView>, ReadError> {
    let mut range = RangeRead::prefix(&key::all_of_project(project)).limit(limit).reversed().snapshot();
    if let Some(before) = before {
        range.end = key::of_project(project, before);
    }
    store
        .run(|txn| {
            let range = range.clone();
            async move {
                let mut views = Vec::new();
                for (row, _) in txn.range(range).await?.rows {
                    let (_, _, id): (String, String, Vec<u8>) = tuple::unpack(&row)?;
                    let id = id.try_into().map_err(|_| StoreError::Corrupt("a session's id in a list".to_owned()))?;
                    views.push(view_in(&txn, SessionId::from_bytes(id)).await?);
                }
                Ok(views)
            }
        })
        .await
}

/// One turn of a session; absent when it never came in.
///
/// # Errors
/// See [`ReadError`].
pub async fn turn(store: &Arc<dyn Store>, session: SessionId, turn: u64) -> Result<Option<TurnRecord>, ReadError> {
    store.run(|txn| async move { Ok(txn.load_snapshot(&key::turn(session, turn)).await?) }).await
}

/// The steps of a turn's journal, in the order of the script.
///
/// # Errors
/// The store's.
pub async fn journal(
    store: &Arc<dyn Store>,
    session: SessionId,
    turn: u64,
) -> Result<Vec<(StepPath, JournalStep)>, ReadError> {
    let rows = all::<JournalStep>(store, RangeRead::prefix(&key::steps(session, turn)).snapshot(), usize::MAX).await?;
    rows.into_iter().map(|(row, step)| Ok((key::step_path(&row)?, step))).collect()
}

/// Events from `from_seq` on that are committed already, at most `limit`.
///
/// # Errors
/// See [`ReadError`].
pub async fn events(
    store: &Arc<dyn Store>,
    session: SessionId,
    from_seq: u64,
    limit: usize,
) -> Result<Vec<SessionEvent>, ReadError> {
    let range = RangeRead::new(key::event(session, from_seq), key::event(session, u64::MAX)).limit(limit).snapshot();
    let rows = all::<SessionEvent>(store, range, limit).await?;
    Ok(rows.into_iter().map(|(_, event)| event).collect())
}

/// A project's approvals of every state, in the order of their sessions, at most `limit`.
///
/// # Errors
/// See [`ReadError`].
pub async fn approvals(store: &Arc<dyn Store>, project: &ProjectId, limit: usize) -> Result<Vec<Approval>, ReadError> {
    let range = RangeRead::prefix(&key::approvals(project)).snapshot();
    let rows = all::<Approval>(store, range, limit).await?;
    Ok(rows.into_iter().map(|(_, approval)| approval).collect())
}

/// One approval.
///
/// # Errors
/// See [`ReadError`].
pub async fn approval(store: &Arc<dyn Store>, project: &ProjectId, id: &ApprovalId) -> Result<Approval, ReadError> {
    let found = store
        .run(|txn| async move { Ok::<_, ReadError>(txn.load_snapshot(&key::approval(project, id)).await?) })
        .await?;
    found.ok_or_else(|| ReadError::ApprovalNotFound(id.clone()))
}

/// All records of a range, page by page, at most `limit`.
pub(super) async fn all<R: Record + Send>(
    store: &Arc<dyn Store>,
    range: RangeRead,
    limit: usize,
) -> Result<Vec<(bytes::Bytes, R)>, ReadError> {
    let (mut rows, mut rest) = (Vec::new(), Some(range));
    while let Some(range) = rest.take().filter(|_| rows.len() < limit) {
        let range = &range.limit(limit - rows.len());
        let page = store.run(|txn| async move { txn.scan::<R>(range.clone()).await }).await?;
        rows.extend(page.rows);
        rest = page.rest;
    }
    Ok(rows)
}
