//! The worker of one session: takes up what there is to do, runs the script on a thread of its own, and brings each
//! turn to its end. It keeps nothing that the store does not have: killed anywhere, the next worker goes on.

use std::sync::Arc;
use std::time::Duration;

use steward_scripting::TurnEnd;
use steward_storage::{RangeRead, Store, StoreExt, Txn};
use steward_types::limits::{RESTART_BACKOFF_MAX, RESTART_BACKOFF_MIN};
use steward_types::{ErrorCode, SessionId, StepPath};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::answer::{self, Loaded};
use super::bridge::Bridge;
use super::change;
use super::entity::Session;
use super::environment::{Loaded as Agent, ProgramError, SessionEnvironment};
use super::error::SessionError;
use super::event::{EventBody, TurnFailure};
use super::journal::{Journal, JournalStep, StepState};
use super::key;
use super::lifecycle::{conclude, end_turn, take_up_turn};
use super::record::{SessionStatus, TurnRecord, TurnState};
use super::request::{SessionRequest, SessionResponse};
use super::transact;
use super::turn::Turn;
use crate::budget::{PriceList, ledger};
use crate::crowd::AtWork;
use crate::host::{Context, EntityId};
use crate::lease::Fence;

/// The function of a script that handles a message.
pub(super) const HANDLER: &str = "on_message";

/// What a worker works with.
pub(super) struct Worker {
    pub environment: SessionEnvironment,
    pub context: Context<Session>,
    pub session: SessionId,
    pub fence: Fence,
    pub cancel: CancellationToken,
}

/// A turn that a transaction has taken up for a worker to run.
pub(super) struct TakenUp {
    loaded: Loaded,
    turn: TurnRecord,
    /// Whether it began just now, so that its journal is empty.
    begins: bool,
    /// The place of the message that brought it.
    place: Option<AtWork>,
}

/// What there is to do.
enum Task {
    Turn(Box<TakenUp>),
    Deliver(Box<Loaded>),
    Nothing,
    /// A message waits, and its agent or project is paused.
    HeldBack,
}

/// How a worker came to rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is nothing to do.
    Done,
    /// What there is to do waits until somebody resumes the agent or its project.
    HeldBack,
}

/// Whether there may be something left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Perhaps,
    Nothing,
}

impl Worker {
    /// Works until there is nothing to do, or the worker is cancelled; on `first` before anything else.
    ///
    /// # Errors
    /// [`SessionError`], when the session is to be built again from the store.
    pub(super) async fn work(self, first: Option<TakenUp>) -> Result<Rest, SessionError> {
        let mut first = first.map(|first| Task::Turn(Box::new(first)));
        while !self.cancel.is_cancelled() {
            let task = match first.take() {
                Some(task) => task,
                None => self.take_up().await?,
            };
            let done = match task {
                Task::Turn(taken_up) => self.run(*taken_up).await,
                Task::Deliver(loaded) => self.deliver(*loaded).await.map(|()| Left::Perhaps),
                Task::Nothing => return Ok(Rest::Done),
                Task::HeldBack => return Ok(Rest::HeldBack),
            };
            match done {
                Ok(Left::Perhaps) => {}
                Ok(Left::Nothing) => return Ok(Rest::Done),
                // Somebody else ended the turn meanwhile; what is left to do is in the store.
                Err(SessionError::Stale) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Rest::Done)
    }

    /// Begins the next turn, or takes up the one in flight, under a new run number: an older worker, should one still
    /// live, can commit no more.
    async fn take_up(&self) -> Result<Task, SessionError> {
        let version = self.version().await?;
        let (session, now) = (self.session, self.environment.clock.now());
        let taken = self.fence.run(&*self.environment.store, |txn| async move {
            let mut loaded = Loaded::load(&txn, session).await?;
            if loaded.record.owed_to_parent.is_some() {
                return Ok(Task::Deliver(Box::new(loaded)));
            }
            if !loaded.record.is_runnable() {
                return Ok(Task::Nothing);
            }
            if loaded.is_held_back(&txn).await? {
                return Ok(Task::HeldBack);
            }
            let (turn, begins) = take_up_turn(&txn, &mut loaded, version, now).await?;
            loaded.save(&txn)?;
            Ok(Task::Turn(Box::new(TakenUp { loaded, turn, begins, place: None })))
        });
        taken.await
    }

    /// The version that a turn would begin with now.
    async fn version(&self) -> Result<u64, SessionError> {
        let view = self.environment.store.run(|txn| {
            let session = self.session;
            async move { Loaded::load(&txn, session).await }
        });
        let loaded = match view.await {
            Ok(loaded) => loaded,
            // What there is to do is looked at again in the transaction that takes it up.
            Err(SessionError::NotFound(_)) => return Ok(0),
            Err(error) => return Err(error),
        };
        transact::version_of(&self.environment, self.session, &loaded.record).await
    }

    /// Runs one turn until it ends or waits.
    async fn run(&self, taken_up: TakenUp) -> Result<Left, SessionError> {
        let TakenUp { loaded, turn, begins, place } = taken_up;
        let at_work = place.unwrap_or_else(|| self.environment.crowd.enter());
        let _in_flight = self.environment.activity.turn();
        let record = &loaded.record;
        let programs = &self.environment.programs;
        let agent = match programs.load(&record.project, &record.agent, turn.version).await {
            Ok(agent) => agent,
            Err(ProgramError { code: ErrorCode::StoreUnavailable, .. }) => {
                return Err(SessionError::Internal("the agent's version can't be read now".to_owned()));
            }
            Err(ProgramError { code, message }) => {
                return self.end_without_script(loaded, begins, at_work, code, message).await;
            }
        };
        let turn_handle = Arc::new(self.prepare(loaded, begins, Arc::clone(&agent), at_work).await?);
        loop {
            let end = self.run_script(&turn_handle, &agent, &turn).await?;
            if let Some(error) = turn_handle.work.lock().halt.take() {
                return Err(error);
            }
            match end {
                TurnEnd::Suspended { waiting_for } => {
                    let answered = self.suspend(&turn_handle, &waiting_for).await?;
                    if answered.is_empty() {
                        return Ok(Left::Perhaps);
                    }
                    let mut work = turn_handle.work.lock();
                    work.journal.rewind();
                    for (path, step) in answered {
                        work.journal.put(path, step);
                    }
                }
                TurnEnd::Stopped(reason) if reason.code == ErrorCode::Cancelled => return Ok(Left::Perhaps),
                end => return self.end(&turn_handle, conclude(&turn_handle, end)).await,
            }
        }
    }

    async fn prepare(
        &self,
        loaded: Loaded,
        begins: bool,
        agent: Arc<Agent>,
        at_work: AtWork,
    ) -> Result<Turn, SessionError> {
        let place = loaded.place();
        let rows = match begins {
            true => Vec::new(),
            false => read_journal(&*self.environment.store, self.session, place.turn).await?,
        };
        let project = &loaded.record.project;
        let prices: PriceList =
            self.environment.store.run(|txn| async move { ledger::prices(&txn, project).await }).await?;
        Ok(Turn::new(
            self.environment.clone(),
            self.context.clone(),
            self.fence.clone(),
            place,
            loaded.record,
            agent,
            prices,
            self.cancel.clone(),
            Journal::new(rows),
            at_work,
        ))
    }

    /// Runs the script from its beginning, on a thread that may block.
    async fn run_script(
        &self,
        turn: &Arc<Turn>,
        agent: &Arc<Agent>,
        record: &TurnRecord,
    ) -> Result<TurnEnd, SessionError> {
        let (turn, agent, input) = (Arc::clone(turn), Arc::clone(agent), record.message.clone());
        let runtime = Handle::current();
        let cancel = self.cancel.clone().drop_guard();
        let end = self.environment.scripts.run(move || {
            let mut bridge = Bridge::new(turn, runtime);
            let limits = agent.manifest.turn_limits();
            agent.program.run_turn(HANDLER, &input, &mut bridge, &limits)
        });
        let end = end.await.map_err(SessionError::Internal);
        // Only a worker that is dropped in the middle cancels its script.
        cancel.disarm();
        end
    }

    /// Leaves the turn to wait, unless one of its steps has been answered meanwhile: those are returned.
    async fn suspend(
        &self,
        turn: &Turn,
        waiting_for: &[StepPath],
    ) -> Result<Vec<(StepPath, JournalStep)>, SessionError> {
        turn.commit(Vec::new()).await?;
        let (session, now) = (self.session, self.environment.clock.now());
        let place = &turn.place;
        let suspended = self.fence.run(&*self.environment.store, |txn| async move {
            let mut loaded = Loaded::load(&txn, session).await?;
            if loaded.head.turn != place.turn || loaded.head.run != place.run {
                return Err(SessionError::Stale);
            }
            let mut answered = Vec::new();
            for path in waiting_for {
                let step = txn.load::<JournalStep>(&key::step(session, place.turn, path)).await?;
                answered.extend(step.filter(|step| !is_waiting(step)).map(|step| (path.clone(), step)));
            }
            if answered.is_empty() && loaded.record.status == SessionStatus::Running {
                loaded.record.status = SessionStatus::Waiting;
                let event = EventBody::Suspended { waiting_for: waiting_for.to_vec() };
                loaded.event(&txn, now, place.turn, None, event)?;
                loaded.save(&txn)?;
            }
            Ok(answered)
        });
        suspended.await
    }

    /// Ends the turn with everything that waited for a commit, in one transaction.
    async fn end(&self, turn: &Turn, state: TurnState) -> Result<Left, SessionError> {
        let buffer = turn.take_buffer();
        let (steps, price) = {
            let work = turn.work.lock();
            let price = work.journal.price().map_err(|error| SessionError::Internal(error.to_string()))?;
            let steps: Vec<_> = work.journal.steps().map(|(path, step)| (path.clone(), step.clone())).collect();
            (steps.into_iter().filter(|(_, step)| !is_finished(step)).collect::<Vec<_>>(), price)
        };
        let (session, now, place) = (self.session, self.environment.clock.now(), &turn.place);
        let (buffer, steps, state) = (&buffer, &steps, &state);
        let ended = self.fence.run(&*self.environment.store, |txn| async move {
            let mut loaded = Loaded::load(&txn, session).await?;
            if loaded.head.turn != place.turn || loaded.head.run != place.run {
                return Err(SessionError::Stale);
            }
            change::apply(&txn, now, place, &mut loaded.head, buffer).await?;
            let children = answer::drop_unfinished(&txn, &mut loaded, place.turn, steps, now).await?;
            end_turn(&txn, &mut loaded, state.clone(), price, now).await?;
            loaded.save(&txn)?;
            let left = if loaded.record.is_runnable() { Left::Perhaps } else { Left::Nothing };
            Ok((children, left))
        });
        let (children, left) = ended.await?;
        for child in children {
            end_child(&self.context, child);
        }
        Ok(left)
    }

    /// Fails a turn whose agent can't be run.
    async fn end_without_script(
        &self,
        loaded: Loaded,
        begins: bool,
        at_work: AtWork,
        code: ErrorCode,
        message: String,
    ) -> Result<Left, SessionError> {
        let failure = TurnFailure { code, message, file: None, line: 0, column: 0, step: None };
        let agent = Agent::none(&loaded.record.agent);
        let turn = self.prepare(loaded, begins, Arc::new(agent), at_work).await?;
        self.end(&turn, TurnState::Failed(failure)).await
    }

    /// Brings the parent its answer, and forgets the debt once the parent has it.
    async fn deliver(&self, loaded: Loaded) -> Result<(), SessionError> {
        let (Some(parent), Some(outcome)) = (&loaded.record.parent, &loaded.record.owed_to_parent) else {
            return Err(SessionError::Internal("an answer is owed to no parent".to_owned()));
        };
        let mut backoff = RESTART_BACKOFF_MIN;
        loop {
            let request =
                SessionRequest::ChildDone { turn: parent.turn, step: parent.step.clone(), outcome: outcome.clone() };
            let host = self.context.host();
            let id = EntityId::from(&parent.session);
            match host.ask_from_inside::<Session>(&id, request, host.deadline_default()).await {
                // A parent that refuses does not wait any more, and never will again.
                Ok(SessionResponse::Done | SessionResponse::Refused(_)) => break,
                Ok(_) => return Err(SessionError::Internal("a parent gave a wrong kind of answer".to_owned())),
                Err(error) => {
                    tracing::warn!(session = %self.session, %error, "a parent could not be told; again");
                }
            }
            self.environment.clock.sleep(backoff).await;
            backoff = next_backoff(backoff);
        }
        let session = self.session;
        let forgotten = self.fence.run(&*self.environment.store, |txn| async move {
            let mut loaded = Loaded::load(&txn, session).await?;
            loaded.record.owed_to_parent = None;
            loaded.save(&txn)
        });
        forgotten.await
    }
}

impl TakenUp {
    /// A turn that began in the transaction which took its message, and that transaction's rows.
    pub(super) const fn begun(loaded: Loaded, turn: TurnRecord) -> Self {
        Self { loaded, turn, begins: true, place: None }
    }

    /// With the place of the message that brought it.
    pub(super) fn with(self, place: Option<AtWork>) -> Self {
        Self { place, ..self }
    }
}

/// The next wait after `backoff`.
pub(super) fn next_backoff(backoff: Duration) -> Duration {
    (backoff * 2).min(RESTART_BACKOFF_MAX)
}

/// Tells a child whose answer nobody waits for any more. If the message is lost, the child ends by itself.
pub(super) fn end_child(context: &Context<Session>, child: SessionId) {
    let request = SessionRequest::End { reason: "the turn that called ended".to_owned() };
    if let Err(error) = context.host().tell_from_inside::<Session>(&EntityId::from(&child), request) {
        tracing::debug!(%child, %error, "a child session could not be told to end");
    }
}

fn is_waiting(step: &JournalStep) -> bool {
    matches!(step.state, StepState::Waiting(_))
}

fn is_finished(step: &JournalStep) -> bool {
    matches!(step.state, StepState::Finished(_))
}

/// All steps of a turn that are stored.
pub(super) async fn read_journal(
    store: &dyn Store,
    session: SessionId,
    turn: u64,
) -> Result<Vec<(StepPath, JournalStep)>, SessionError> {
    store.run(|txn| async move { journal_in(&txn, session, turn).await }).await
}

/// [`read_journal`] within a transaction, without conflicts: who ends the turn conflicts with its worker on the head.
pub(super) async fn journal_in(
    txn: &Txn,
    session: SessionId,
    turn: u64,
) -> Result<Vec<(StepPath, JournalStep)>, SessionError> {
    let range = RangeRead::prefix(&key::steps(session, turn)).snapshot();
    let (mut steps, mut rest) = (Vec::new(), Some(range));
    while let Some(range) = rest.take() {
        let page = txn.scan::<JournalStep>(range).await?;
        for (row, step) in page.rows {
            steps.push((key::step_path(&row)?, step));
        }
        rest = page.rest;
    }
    Ok(steps)
}
