//! Answers from outside to a step that waits: a person's, a timer's, a child session's. Each is one transaction that
//! finishes the step in the journal and makes the session runnable; the same answer twice takes effect once.

use steward_storage::Txn;
use steward_types::limits::CHAIN_WAIT_LOOKED_TIME;
use steward_types::{ErrorCode, SessionId, StepPath, Timestamp};

use super::approval::{Approval, ApprovalState, Decision, answer_to_script};
use super::change::{self, Change, Place};
use super::error::SessionError;
use super::event::EventBody;
use super::journal::{JournalStep, StepState, Wait};
use super::key;
use super::record::{Runnable, SessionHead, SessionRecord, SessionStatus, StepOutcome};
use super::turn::{Spent, leaf};
use crate::budget::{AccountId, Usage};
use crate::chain::{OrderId, orders};
use crate::pause;

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Taken {
    /// The step has it.
    Yes,
    /// The step does not wait for it any more, or never did.
    No,
    /// It came too late: the step has ended without it.
    Late,
}

/// A session and its head within a transaction.
#[derive(Clone)]
pub(super) struct Loaded {
    pub session: SessionId,
    pub record: SessionRecord,
    pub head: SessionHead,
}

impl Loaded {
    /// Reads both rows.
    pub(super) async fn load(txn: &Txn, session: SessionId) -> Result<Self, SessionError> {
        let record = txn.load::<SessionRecord>(&key::record(session)).await?;
        let record = record.ok_or(SessionError::NotFound(session))?;
        Ok(Self { session, record, head: change::load_head(txn, session).await? })
    }

    /// Writes both rows, and the index of those that have something to do.
    pub(super) fn save(&self, txn: &Txn) -> Result<(), SessionError> {
        txn.save(&key::record(self.session), &self.record)?;
        txn.save(&key::head(self.session), &self.head)?;
        if self.record.is_runnable() {
            txn.save(&key::runnable(self.session), &Runnable { session: self.session })?;
        } else {
            txn.clear(&key::runnable(self.session))?;
        }
        Ok(())
    }

    /// Whether its next turn may not begin, because its agent or project is paused. A turn in flight goes on.
    pub(super) async fn is_held_back(&self, txn: &Txn) -> Result<bool, SessionError> {
        let begins = self.record.status == SessionStatus::Idle;
        Ok(begins && pause::of_agent(txn, &self.record.project, &self.record.agent).await?.is_some())
    }

    /// Where its turn in flight commits.
    pub(super) fn place(&self) -> Place {
        let account = AccountId::session(self.record.project.clone(), self.record.agent.clone(), self.session);
        Place { session: self.session, turn: self.head.turn, run: self.head.run, account }
    }

    pub(super) fn event(
        &mut self,
        txn: &Txn,
        now: Timestamp,
        turn: u64,
        step: Option<StepPath>,
        body: EventBody,
    ) -> Result<u64, SessionError> {
        change::append_event(txn, self.session, &mut self.head, now, turn, step, body)
    }

    /// A step of the turn in flight, if it waits.
    async fn waiting(
        &self,
        txn: &Txn,
        turn: u64,
        path: &StepPath,
    ) -> Result<Option<(JournalStep, Wait)>, SessionError> {
        if self.head.turn != turn {
            return Ok(None);
        }
        let step = txn.load::<JournalStep>(&key::step(self.session, turn, path)).await?;
        Ok(step.and_then(|step| match step.state.clone() {
            StepState::Waiting(wait) => Some((step, wait)),
            _ => None,
        }))
    }

    /// Lets a step that waited for a person's consent go on: the turn runs again and does it.
    async fn go_on(
        &mut self,
        txn: &Txn,
        now: Timestamp,
        path: &StepPath,
        mut step: JournalStep,
        wait: &Wait,
    ) -> Result<(), SessionError> {
        self.forget_timer(txn, wait, path)?;
        step.state = StepState::Started { emitted_bytes: 0 };
        self.run_on(txn, now, &[Change::Step(path.clone(), Box::new(step))]).await
    }

    /// A step that waited does not, so its timer has nothing to fire.
    fn forget_timer(&self, txn: &Txn, wait: &Wait, path: &StepPath) -> Result<(), SessionError> {
        if let Some(due) = wait.due() {
            txn.clear(&key::timer(due, self.session, self.head.turn, path))?;
        }
        Ok(())
    }

    /// Makes the changes of a step that waited, and lets the turn run again.
    async fn run_on(&mut self, txn: &Txn, now: Timestamp, changes: &[Change]) -> Result<(), SessionError> {
        let place = self.place();
        change::apply(txn, now, &place, &mut self.head, changes).await?;
        if self.record.status == SessionStatus::Waiting {
            self.record.status = SessionStatus::Running;
        }
        Ok(())
    }

    /// A step does not wait for an order any more.
    async fn wait_no_more(&self, txn: &Txn, turn: u64, path: &StepPath, order: &OrderId) -> Result<(), SessionError> {
        let waiter = orders::Waiter { session: self.session, turn, step: path.clone() };
        Ok(orders::forget_waiter(txn, order, &waiter).await?)
    }

    /// Finishes a step that waited, pays for it if it has a hold, and lets the turn run again.
    async fn finish(
        &mut self,
        txn: &Txn,
        now: Timestamp,
        path: &StepPath,
        mut step: JournalStep,
        wait: &Wait,
        outcome: StepOutcome,
    ) -> Result<(), SessionError> {
        self.forget_timer(txn, wait, path)?;
        if let Wait::Transaction { order, .. } = wait {
            self.wait_no_more(txn, self.head.turn, path, order).await?;
        }
        step.ended = Some(now);
        let mut changes = Vec::new();
        if let (Some(hold), Wait::Session { price, .. }) = (step.hold, wait) {
            let price = *price;
            step.price = price;
            let spent = Spent { price, usage: Usage::default(), model: None };
            let receipt = leaf(&self.place(), &self.record, path.clone(), &step, &outcome, hold, now, &spent);
            changes.extend([Change::Settle(hold, price), Change::Receipt(Box::new(receipt))]);
        }
        changes.push(Change::Event(Some(path.clone()), finished_event(&step, &outcome)));
        step.state = StepState::Finished(outcome);
        changes.push(Change::Step(path.clone(), Box::new(step)));
        self.run_on(txn, now, &changes).await
    }
}

fn finished_event(step: &JournalStep, outcome: &StepOutcome) -> EventBody {
    let function = step.function.clone();
    match outcome {
        StepOutcome::Value(value) => {
            EventBody::StepFinished { function, result: value.clone(), price: step.price, hold: step.hold, usage: None }
        }
        StepOutcome::Error { code, message, .. } => {
            EventBody::StepFailed { function, code: *code, message: message.clone(), price: step.price }
        }
    }
}

/// A person's decision. One that comes when the time is over does not count, though no timer has ended the wait yet: the
/// wait ends as it would have.
pub(super) async fn decide(
    txn: &Txn,
    loaded: &mut Loaded,
    approval: &mut Approval,
    decision: Decision,
) -> Result<Taken, SessionError> {
    let now = decision.decided;
    let (turn, path) = (approval.id.turn, approval.id.step.clone());
    if approval.state != ApprovalState::Open {
        return Ok(Taken::No);
    }
    let Some((step, wait)) = loaded.waiting(txn, turn, &path).await? else { return Ok(Taken::No) };
    if wait.due().is_some_and(|due| due <= now) {
        fire(txn, loaded, turn, &path, now).await?;
        return Ok(Taken::Late);
    }
    approval.state = decision.state();
    let decided = EventBody::ApprovalDecided {
        approval: approval.id.clone(),
        state: approval.state,
        decided_by: Some(decision.decided_by.clone()),
        comment: decision.comment.clone(),
    };
    let outcome = match &wait {
        Wait::Consent { .. } if decision.approved => None,
        Wait::Consent { .. } => Some(not_agreed(Some(&decision))),
        _ => Some(StepOutcome::Value(answer_to_script(Some(&decision)))),
    };
    approval.decision = Some(decision);
    change::save_approval(txn, approval)?;
    loaded.event(txn, now, turn, Some(path.clone()), decided)?;
    let Some(outcome) = outcome else {
        loaded.go_on(txn, now, &path, step, &wait).await?;
        return Ok(Taken::Yes);
    };
    loaded.finish(txn, now, &path, step, &wait, outcome).await?;
    Ok(Taken::Yes)
}

/// A timer that is due.
pub(super) async fn fire(
    txn: &Txn,
    loaded: &mut Loaded,
    turn: u64,
    path: &StepPath,
    now: Timestamp,
) -> Result<Taken, SessionError> {
    let Some((step, wait)) = loaded.waiting(txn, turn, path).await? else { return Ok(Taken::No) };
    if let Wait::Transaction { order, expires, .. } = &wait {
        return look(txn, loaded, path, step, &wait, order, *expires, now).await;
    }
    if wait.due().is_none_or(|due| due > now) {
        return Ok(Taken::No);
    }
    let outcome = match &wait {
        Wait::Timer { .. } => StepOutcome::Value(serde_json::Value::Null),
        Wait::Person { .. } => {
            expire(txn, loaded, turn, path, ApprovalState::Expired, now).await?;
            StepOutcome::Value(answer_to_script(None))
        }
        Wait::Consent { .. } => {
            expire(txn, loaded, turn, path, ApprovalState::Expired, now).await?;
            not_agreed(None)
        }
        Wait::Transaction { .. } => return Ok(Taken::No),
        Wait::Session { .. } => {
            StepOutcome::error(ErrorCode::DeadlineExceeded, "the other agent did not answer in time")
        }
    };
    loaded.finish(txn, now, path, step, &wait, outcome).await?;
    Ok(Taken::Yes)
}

/// Whether the transaction that a step waits for has ended: asked when the chain says so, and now and then in case its word
/// was lost.
#[expect(clippy::too_many_arguments, reason = "the parts of a step that waits")]
async fn look(
    txn: &Txn,
    loaded: &mut Loaded,
    path: &StepPath,
    mut step: JournalStep,
    wait: &Wait,
    order: &OrderId,
    expires: Timestamp,
    now: Timestamp,
) -> Result<Taken, SessionError> {
    let ended = orders::order_of(txn, order).await?.and_then(|record| record.outcome);
    if let Some(ended) = ended {
        loaded.finish(txn, now, path, step, wait, StepOutcome::Value(ended.to_script())).await?;
        return Ok(Taken::Yes);
    }
    if expires <= now {
        let message =
            format!("the transaction of {order} is not final in time; it goes on, and may be waited for again");
        let outcome = StepOutcome::error(ErrorCode::DeadlineExceeded, message);
        loaded.finish(txn, now, path, step, wait, outcome).await?;
        return Ok(Taken::Yes);
    }
    if wait.due().is_none_or(|due| due > now) {
        return Ok(Taken::No);
    }
    let (turn, look) = (loaded.head.turn, now.saturating_add(CHAIN_WAIT_LOOKED_TIME).min(expires));
    if let Some(due) = wait.due() {
        txn.clear(&key::timer(due, loaded.session, turn, path))?;
    }
    step.state = StepState::Waiting(Wait::Transaction { order: order.clone(), expires, look });
    let place = loaded.place();
    let changes = [Change::Step(path.clone(), Box::new(step)), Change::Timer(path.clone(), look)];
    change::apply(txn, now, &place, &mut loaded.head, &changes).await?;
    Ok(Taken::Yes)
}

/// What a step comes to that a person did not agree to.
fn not_agreed(decision: Option<&Decision>) -> StepOutcome {
    let message = match decision {
        Some(Decision { decided_by, comment: Some(comment), .. }) => format!("{decided_by} did not agree: {comment}"),
        Some(Decision { decided_by, .. }) => format!("{decided_by} did not agree"),
        None => "nobody agreed in time".to_owned(),
    };
    StepOutcome::error(ErrorCode::ApprovalRejected, message)
}

/// A child session's answer.
pub(super) async fn child_done(
    txn: &Txn,
    loaded: &mut Loaded,
    turn: u64,
    path: &StepPath,
    outcome: StepOutcome,
    now: Timestamp,
) -> Result<Taken, SessionError> {
    match loaded.waiting(txn, turn, path).await? {
        Some((step, wait @ Wait::Session { .. })) => {
            loaded.finish(txn, now, path, step, &wait, outcome).await?;
            Ok(Taken::Yes)
        }
        _ => Ok(Taken::No),
    }
}

/// Ends an approval that nobody decided.
async fn expire(
    txn: &Txn,
    loaded: &mut Loaded,
    turn: u64,
    path: &StepPath,
    state: ApprovalState,
    now: Timestamp,
) -> Result<(), SessionError> {
    let id = super::approval::ApprovalId { session: loaded.session, turn, step: path.clone() };
    let row = key::approval(&loaded.record.project, &id);
    let Some(mut approval) = txn.load::<Approval>(&row).await? else { return Ok(()) };
    if approval.state != ApprovalState::Open {
        return Ok(());
    }
    approval.state = state;
    change::save_approval(txn, &approval)?;
    let decided = EventBody::ApprovalDecided { approval: id, state, decided_by: None, comment: None };
    loaded.event(txn, now, turn, Some(path.clone()), decided)?;
    Ok(())
}

/// Drops what the unfinished steps of an ended turn left: holds, timers, approvals. Returns the children that were
/// called and have not answered.
pub(super) async fn drop_unfinished(
    txn: &Txn,
    loaded: &mut Loaded,
    turn: u64,
    steps: &[(StepPath, JournalStep)],
    now: Timestamp,
) -> Result<Vec<SessionId>, SessionError> {
    let place = loaded.place();
    let mut children = Vec::new();
    for (path, step) in steps {
        if matches!(step.state, StepState::Finished(_)) {
            continue;
        }
        if let Some(hold) = step.hold {
            crate::budget::ledger::release(txn, &place.account, hold, now).await?;
        }
        let StepState::Waiting(wait) = &step.state else { continue };
        if let Some(due) = wait.due() {
            txn.clear(&key::timer(due, loaded.session, turn, path))?;
        }
        match wait {
            Wait::Person { .. } | Wait::Consent { .. } => {
                expire(txn, loaded, turn, path, ApprovalState::Cancelled, now).await?;
            }
            Wait::Session { child, .. } => children.push(*child),
            Wait::Transaction { order, .. } => loaded.wait_no_more(txn, turn, path, order).await?,
            Wait::Timer { .. } => {}
        }
    }
    Ok(children)
}
