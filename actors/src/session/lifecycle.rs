//! How turns and sessions begin and end: what changes in the store then, in the caller's transaction.

use steward_scripting::{ScriptError, TurnEnd};
use steward_storage::Txn;
use steward_types::{ErrorCode, Micros, Timestamp};

use super::answer::Loaded;
use super::error::SessionError;
use super::event::{EventBody, TurnFailure};
use super::key;
use super::record::{SessionStatus, StepOutcome, TurnRecord, TurnState};
use super::turn::Turn;
use crate::budget::ledger;

/// Begins the turn of the oldest waiting message, on `version`, or takes up the one in flight, under a new run number.
/// Returns its row and whether it began now. The caller saves.
pub(super) async fn take_up_turn(
    txn: &Txn,
    loaded: &mut Loaded,
    version: u64,
    now: Timestamp,
) -> Result<(TurnRecord, bool), SessionError> {
    let record = &mut loaded.record;
    let begins = record.status == SessionStatus::Idle;
    if begins {
        record.turn += 1;
        record.status = SessionStatus::Running;
    }
    let number = record.turn;
    let row = key::turn(loaded.session, number);
    let missing = || SessionError::Internal(format!("turn {number} has no row"));
    let mut turn = txn.load::<TurnRecord>(&row).await?.ok_or_else(missing)?;
    loaded.head.turn = number;
    loaded.head.run += 1;
    loaded.head.commits = 0;
    let event = if begins {
        (turn.state, turn.version) = (TurnState::InFlight, version);
        txn.save(&row, &turn)?;
        EventBody::TurnStarted { key: turn.key.clone(), version }
    } else {
        EventBody::Resumed {}
    };
    loaded.event(txn, now, number, None, event)?;
    Ok((turn, begins))
}

/// Marks the turn in flight as ended, and the session with it when a parent called it for this one answer. The caller
/// saves.
pub(super) async fn end_turn(
    txn: &Txn,
    loaded: &mut Loaded,
    state: TurnState,
    price: Micros,
    now: Timestamp,
) -> Result<(), SessionError> {
    let number = loaded.record.turn;
    let row = key::turn(loaded.session, number);
    let missing = || SessionError::Internal(format!("turn {number} has no row"));
    let mut turn = txn.load::<TurnRecord>(&row).await?.ok_or_else(missing)?;
    let event = match &state {
        TurnState::Finished { value } => EventBody::TurnFinished { value: value.clone(), price },
        TurnState::Failed(failure) => EventBody::TurnFailed { failure: failure.clone(), price },
        TurnState::Cancelled { reason } => EventBody::TurnCancelled { reason: reason.clone() },
        TurnState::Queued | TurnState::InFlight => {
            return Err(SessionError::Internal("a turn ends as it began".to_owned()));
        }
    };
    let owed = loaded.record.parent.is_some().then(|| answer_to_parent(&state));
    (turn.state, turn.ended, turn.price) = (state, Some(now), price);
    txn.save(&row, &turn)?;
    loaded.event(txn, now, number, None, event)?;
    (loaded.head.turn, loaded.record.status) = (0, SessionStatus::Idle);
    if let Some(owed) = owed {
        loaded.record.owed_to_parent = Some(owed);
        end_session(txn, loaded, "the call is answered".to_owned(), now).await?;
    }
    Ok(())
}

/// Marks the session as ended and gives its allowance back. The caller saves.
pub(super) async fn end_session(
    txn: &Txn,
    loaded: &mut Loaded,
    reason: String,
    now: Timestamp,
) -> Result<(), SessionError> {
    loaded.record.status = SessionStatus::Ended;
    ledger::close_account(txn, &loaded.place().account, now).await?;
    loaded.event(txn, now, 0, None, EventBody::Ended { reason })?;
    Ok(())
}

fn answer_to_parent(state: &TurnState) -> StepOutcome {
    match state {
        TurnState::Finished { value } => StepOutcome::Value(value.clone()),
        TurnState::Failed(failure) => StepOutcome::error(failure.code, failure.message.clone()),
        _ => StepOutcome::error(ErrorCode::Cancelled, "the other agent's turn was cancelled"),
    }
}

/// How a turn ends, given how its script did.
pub(super) fn conclude(turn: &Turn, end: TurnEnd) -> TurnState {
    match end {
        TurnEnd::Finished(value) => {
            let work = turn.work.lock();
            let Some((path, step)) = work.journal.not_asked() else { return TurnState::Finished { value } };
            TurnState::Failed(TurnFailure {
                code: ErrorCode::ReplayDiverged,
                message: format!("the script ended before step {path}, {}", step.in_words()),
                file: Some(step.position.file.clone()),
                line: step.position.line,
                column: step.position.column,
                step: Some(path.clone()),
            })
        }
        TurnEnd::Failed(error) => TurnState::Failed(failure_of(error)),
        TurnEnd::Stopped(reason) => TurnState::Failed(TurnFailure {
            code: reason.code,
            message: reason.message,
            file: None,
            line: 0,
            column: 0,
            step: None,
        }),
        TurnEnd::Suspended { .. } => unreachable!("a suspended turn does not end"),
    }
}

fn failure_of(error: ScriptError) -> TurnFailure {
    TurnFailure {
        code: error.code,
        message: error.message,
        file: Some(error.position.file),
        line: error.position.line,
        column: error.position.column,
        step: error.step,
    }
}
