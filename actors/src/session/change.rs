//! What a worker commits: plain values that are applied together to one transaction, fenced by the session's head row.
//! The same commit applied twice, because its first outcome was unknown, takes effect once.

use serde_json::Value;
use steward_receipts::Leaf;
use steward_storage::{AtomicOp, Store, Txn};
use steward_types::{Clock, HoldId, Micros, SessionId, StepPath, Timestamp};

use super::approval::Approval;
use super::error::SessionError;
use super::event::{EventBody, SessionEvent};
use super::journal::JournalStep;
use super::key;
use super::record::{SessionHead, StateValue, TimerRow};
use crate::budget::{AccountId, HoldRequest, ledger};
use crate::chain::OrderId;
use crate::chain::orders::{self, NewOrder, Waiter};
use crate::lease::Fence;
use crate::memory::{self, NewMemory};
use crate::receipt_log;

/// One part of a commit.
#[derive(Debug, Clone)]
pub(super) enum Change {
    /// A journal row.
    Step(StepPath, Box<JournalStep>),
    /// An event of the log.
    Event(Option<StepPath>, EventBody),
    /// A value of the script's state; none removes it.
    State(String, Option<Value>),
    /// Holds a step's worst case.
    Hold(HoldRequest),
    /// Grows a hold as far as the budget has money, at most to this total.
    Grow(HoldId, Micros),
    /// Pays a step.
    Settle(HoldId, Micros),
    /// Gives a hold back.
    Release(HoldId),
    /// The receipt of a settled step.
    Receipt(Box<Leaf>),
    /// Sets a step's timer.
    Timer(StepPath, Timestamp),
    /// Asks a person.
    Approval(Box<Approval>),
    /// Remembers a text.
    Remember(Box<NewMemory>),
    /// Orders a transaction of a chain.
    Order(Box<NewOrder>),
    /// Waits for the end of one.
    Await(OrderId, StepPath),
}

/// Who commits, and under which turn.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub session: SessionId,
    pub turn: u64,
    pub run: u64,
    pub account: AccountId,
}

/// Applies `changes` in one transaction as the worker's commit number `number` (from 1). Returns what the last
/// [`Change::Grow`] or [`Change::Hold`] holds now.
pub(super) async fn commit(
    store: &dyn Store,
    clock: &dyn Clock,
    fence: &Fence,
    place: &Place,
    number: u64,
    changes: &[Change],
) -> Result<Option<Micros>, SessionError> {
    fence
        .run(store, |txn| async move {
            let mut head = load_head(&txn, place.session).await?;
            if head.turn != place.turn || head.run != place.run {
                return Err(SessionError::Stale);
            }
            if head.commits == number {
                return Ok(None);
            }
            if head.commits + 1 != number {
                return Err(SessionError::Stale);
            }
            head.commits = number;
            let held = apply(&txn, clock.now(), place, &mut head, changes).await?;
            txn.save(&key::head(place.session), &head)?;
            Ok(held)
        })
        .await
}

/// The head row of a session that exists.
pub(super) async fn load_head(txn: &Txn, session: SessionId) -> Result<SessionHead, SessionError> {
    txn.load::<SessionHead>(&key::head(session)).await?.ok_or(SessionError::NotFound(session))
}

/// Applies changes to a transaction; the caller saves the head.
pub(super) async fn apply(
    txn: &Txn,
    now: Timestamp,
    place: &Place,
    head: &mut SessionHead,
    changes: &[Change],
) -> Result<Option<Micros>, SessionError> {
    let mut held = None;
    let account = &place.account;
    for change in changes {
        match change {
            Change::Step(path, step) => txn.save(&key::step(place.session, place.turn, path), &**step)?,
            Change::Event(path, body) => {
                append_event(txn, place.session, head, now, place.turn, path.clone(), body.clone())?;
            }
            Change::State(name, Some(value)) => {
                txn.save(&key::state(place.session, name), &StateValue(value.clone()))?;
            }
            Change::State(name, None) => txn.clear(&key::state(place.session, name))?,
            Change::Hold(request) => held = Some(ledger::reserve(txn, account, request, now).await?),
            Change::Grow(hold, total) => held = Some(ledger::grow_up_to(txn, account, *hold, *total, now).await?),
            Change::Settle(hold, price) => {
                ledger::settle(txn, account, *hold, *price, now).await?;
            }
            Change::Release(hold) => {
                ledger::release(txn, account, *hold, now).await?;
            }
            Change::Receipt(leaf) => receipt_log::append_pending(txn, leaf).await?,
            Change::Timer(path, due) => set_timer(txn, place.session, place.turn, path, *due)?,
            Change::Approval(approval) => save_approval(txn, approval)?,
            Change::Remember(new) => drop(memory::remember(txn, &account.project, new, now).await?),
            Change::Order(new) => orders::place(txn, new, now).await?,
            Change::Await(order, path) => {
                let waiter = Waiter { session: place.session, turn: place.turn, step: path.clone() };
                orders::await_order(txn, order, &waiter).await?;
            }
        }
    }
    Ok(held)
}

/// Appends an event to the session's log; the caller saves the head.
pub(super) fn append_event(
    txn: &Txn,
    session: SessionId,
    head: &mut SessionHead,
    now: Timestamp,
    turn: u64,
    step: Option<StepPath>,
    body: EventBody,
) -> Result<u64, SessionError> {
    head.last_seq += 1;
    head.updated = now;
    let event = SessionEvent { seq: head.last_seq, at: now, turn, step, body };
    txn.save(&key::event(session, head.last_seq), &event)?;
    Ok(head.last_seq)
}

/// Sets a timer and wakes who waits for the next one.
pub(super) fn set_timer(
    txn: &Txn,
    session: SessionId,
    turn: u64,
    step: &StepPath,
    due: Timestamp,
) -> Result<(), SessionError> {
    txn.save(&key::timer(due, session, turn, step), &TimerRow { session, turn, step: step.clone() })?;
    Ok(txn.atomic(&key::timers_set(), AtomicOp::Add, 1)?)
}

/// Writes an approval and wakes who watches the project's.
pub(super) fn save_approval(txn: &Txn, approval: &Approval) -> Result<(), SessionError> {
    txn.save(&key::approval(&approval.project, &approval.id), approval)?;
    Ok(txn.atomic(&key::approval_changes(&approval.project), AtomicOp::Add, 1)?)
}
