//! One turn while a worker runs it: its journal, what waits for the next commit, and the two commits of an effect.
//!
//! Cheap local steps, and the results of effects that may simply be done again, wait in a buffer and are committed
//! together with whatever is durable next: nothing outside depends on them before.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;
use sha2::{Digest, Sha256};
use steward_receipts::{Hash, Leaf, LeafModel};
use steward_scripting::{StepAnswer, StepCall, StepError, StopReason, canonical_hash};
use steward_types::limits::{STEP_ARGUMENTS_BYTES_MAX, STEP_RESULT_BYTES_MAX, TURN_BUFFER_BYTES_MAX};
use steward_types::{ErrorCode, HoldId, Micros, Timestamp};
use tokio_util::sync::CancellationToken;

use super::change::{self, Change, Place};
use super::entity::Session;
use super::environment::{Loaded, SessionEnvironment};
use super::error::SessionError;
use super::event::{EventBody, StepUsage};
use super::journal::{Journal, JournalStep, StepState};
use super::record::{SessionRecord, StepOutcome};
use crate::budget::{HoldRequest, PriceList, Usage, step_hold};
use crate::crowd::AtWork;
use crate::host::Context;
use crate::lease::Fence;

/// One turn in a worker's hands.
pub(super) struct Turn {
    pub environment: SessionEnvironment,
    pub context: Context<Session>,
    pub fence: Fence,
    pub place: Place,
    pub record: SessionRecord,
    pub agent: Arc<Loaded>,
    pub prices: PriceList,
    pub cancel: CancellationToken,
    pub work: Mutex<Work>,
    /// Its place among what the node works on, given back while it waits for something outside.
    pub at_work: AtWork,
    /// How many commits this worker has made; held while one is made, so that they go out in order.
    commits: tokio::sync::Mutex<u64>,
}

/// What a turn has in memory.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub journal: Journal,
    pub state: BTreeMap<String, Option<Value>>,
    buffer: Vec<Change>,
    buffer_bytes: usize,
    /// Why the turn can't go on, when it is no fault of the script.
    pub halt: Option<SessionError>,
}

/// What a step gets from the engine: an answer for the script, or the end of the run.
pub(super) type StepResult = Result<StepOutcome, SessionError>;

/// What an effect used, for its price, its receipt and its event.
#[derive(Debug, Clone)]
pub(super) struct Spent {
    pub price: Micros,
    pub usage: Usage,
    pub model: Option<(LeafModel, StepUsage)>,
}

/// Whether an effect's result must be durable before the script goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// It must: the effect must not be done again.
    Now,
    /// It may wait for the next commit: after a crash the effect is simply done again, to the same end.
    Next,
}

impl Turn {
    #[expect(clippy::too_many_arguments, reason = "a plain constructor of private parts")]
    pub(super) fn new(
        environment: SessionEnvironment,
        context: Context<Session>,
        fence: Fence,
        place: Place,
        record: SessionRecord,
        agent: Arc<Loaded>,
        prices: PriceList,
        cancel: CancellationToken,
        journal: Journal,
        at_work: AtWork,
    ) -> Self {
        let work = Mutex::new(Work { journal, ..Work::default() });
        Self {
            environment,
            context,
            fence,
            place,
            record,
            agent,
            prices,
            cancel,
            work,
            at_work,
            commits: tokio::sync::Mutex::new(0),
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.environment.clock.now()
    }

    /// The hold of a step.
    pub(super) fn hold(&self, call: &StepCall) -> HoldId {
        step_hold(self.place.session, self.place.turn, &call.path)
    }

    /// Puts changes aside for the next commit.
    pub(super) fn buffer(&self, changes: impl IntoIterator<Item = Change>) {
        let mut work = self.work.lock();
        for change in changes {
            if let Change::Step(path, step) = &change {
                work.journal.put(path.clone(), (**step).clone());
            }
            work.buffer_bytes += change.size_bytes();
            work.buffer.push(change);
        }
    }

    /// Whether so much is put aside that it must be committed now.
    pub(super) fn is_buffer_full(&self) -> bool {
        self.work.lock().buffer_bytes >= TURN_BUFFER_BYTES_MAX
    }

    /// Takes what is put aside, for a commit that ends this worker's hold of the turn.
    pub(super) fn take_buffer(&self) -> Vec<Change> {
        let mut work = self.work.lock();
        work.buffer_bytes = 0;
        std::mem::take(&mut work.buffer)
    }

    /// Commits what is put aside and `changes`, together. Returns what the last hold holds now. When the ledger
    /// refuses, nothing is committed and what was put aside stays.
    pub(super) async fn commit(&self, changes: Vec<Change>) -> Result<Option<Micros>, SessionError> {
        let mut commits = self.commits.lock().await;
        let mut all = self.take_buffer();
        let buffered = all.len();
        all.extend(changes);
        if all.is_empty() {
            return Ok(None);
        }
        let (store, clock) = (&*self.environment.store, &*self.environment.clock);
        let result = change::commit(store, clock, &self.fence, &self.place, *commits + 1, &all).await;
        let mut work = self.work.lock();
        match result {
            Ok(held) => {
                *commits += 1;
                self.environment.activity.committed();
                for change in all.drain(buffered..) {
                    if let Change::Step(path, step) = change {
                        work.journal.put(path, *step);
                    }
                }
                Ok(held)
            }
            Err(error) => {
                all.truncate(buffered);
                work.buffer_bytes = all.iter().map(Change::size_bytes).sum();
                all.append(&mut work.buffer);
                work.buffer = all;
                Err(error)
            }
        }
    }

    /// A journal row of a call in this state, begun now unless it was before.
    pub(super) fn row(&self, call: &StepCall, state: StepState) -> JournalStep {
        let begun = self.work.lock().journal.get(&call.path).map(|step| (step.started, step.hold));
        let (started, hold) = begun.unwrap_or((self.now(), None));
        JournalStep {
            function: call.function.clone(),
            arguments_hash: call.arguments_hash,
            arguments: short(&call.arguments),
            position: call.position.clone(),
            started,
            ended: matches!(state, StepState::Finished(_)).then(|| self.now()),
            price: Micros::ZERO,
            hold,
            state,
        }
    }

    /// First commit of an effect: the journal says that it may have begun, and its worst case is held. Returns what is
    /// held, or the error that the script gets when the budget refuses.
    pub(super) async fn begin(
        &self,
        call: &StepCall,
        worst_case: Option<Micros>,
        state: StepState,
        more: Vec<Change>,
    ) -> Result<Result<Micros, StepOutcome>, SessionError> {
        let mut step = self.row(call, state);
        let mut changes = Vec::with_capacity(4 + more.len());
        if let Some(worst_case) = worst_case {
            let hold = self.hold(call);
            step.hold = Some(hold);
            changes.push(Change::Hold(HoldRequest {
                hold,
                step: format!("{}/{}", self.place.turn, call.path),
                function: call.function.clone(),
                worst_case,
                expires_at: None,
            }));
        }
        let started = EventBody::StepStarted { function: call.function.clone(), hold: step.hold };
        changes.push(Change::Step(call.path.clone(), Box::new(step)));
        changes.push(Change::Event(Some(call.path.clone()), started));
        changes.extend(more);
        match self.commit(changes).await {
            Ok(held) => Ok(Ok(held.or(worst_case).unwrap_or_default())),
            Err(SessionError::Ledger(error)) => Ok(Err(StepOutcome::error(error.code(), error.to_string()))),
            Err(error) => Err(error),
        }
    }

    /// Second commit of an effect: result, price, receipt and event in one.
    pub(super) async fn finish(
        &self,
        call: &StepCall,
        outcome: StepOutcome,
        spent: Option<Spent>,
        durability: Durability,
        mut changes: Vec<Change>,
    ) -> StepResult {
        let outcome = bounded(outcome);
        changes.extend(self.finish_changes(call, &outcome, spent));
        match durability {
            Durability::Now => drop(self.commit(changes).await?),
            Durability::Next => self.buffer(changes),
        }
        Ok(outcome)
    }

    fn finish_changes(&self, call: &StepCall, outcome: &StepOutcome, spent: Option<Spent>) -> Vec<Change> {
        let mut step = self.row(call, StepState::Finished(outcome.clone()));
        let (path, function) = (call.path.clone(), call.function.clone());
        let mut changes = Vec::with_capacity(4);
        let price = spent.as_ref().map_or(Micros::ZERO, |spent| spent.price);
        step.price = price;
        let usage = spent.as_ref().and_then(|spent| spent.model.as_ref()).map(|(_, usage)| usage.clone());
        if let Some(usage) = &usage {
            self.environment.activity.generated(u64::from(usage.completion_tokens));
        }
        if let Some(spent) = spent {
            let hold = self.hold(call);
            step.hold = Some(hold);
            changes.push(Change::Settle(hold, price));
            changes.push(Change::Receipt(Box::new(self.leaf(call, outcome, &step, hold, spent))));
        }
        let event = match outcome {
            StepOutcome::Value(value) => {
                EventBody::StepFinished { function, result: value.clone(), price, hold: step.hold, usage }
            }
            StepOutcome::Error { code, message, .. } => {
                EventBody::StepFailed { function, code: *code, message: message.clone(), price }
            }
        };
        changes.push(Change::Step(path.clone(), Box::new(step)));
        changes.push(Change::Event(Some(path), event));
        changes
    }

    fn leaf(&self, call: &StepCall, outcome: &StepOutcome, step: &JournalStep, hold: HoldId, spent: Spent) -> Leaf {
        let time = step.ended.unwrap_or(step.started);
        leaf(&self.place, &self.record, call.path.clone(), step, outcome, hold, time, &spent)
    }

    /// Notes an error that the script gets, without an effect: the next run gets the same.
    pub(super) fn refuse(&self, call: &StepCall, code: ErrorCode, message: impl Into<String>) -> StepOutcome {
        let outcome = StepOutcome::error(code, message);
        self.buffer(self.finish_changes(call, &outcome, None));
        outcome
    }

    /// Ends the run for a reason that is no fault of the script.
    pub(super) fn halt(&self, error: SessionError) -> StepAnswer {
        let reason = StopReason { code: error.code(), message: error.to_string() };
        self.work.lock().halt.get_or_insert(error);
        StepAnswer::Stop(reason)
    }
}

impl StepOutcome {
    /// As the script engine takes it.
    pub(super) fn into_answer(self) -> StepAnswer {
        match self {
            Self::Value(value) => StepAnswer::Value(value),
            Self::Error { code, message, data } => StepAnswer::Error(StepError { code, message, data }),
        }
    }
}

impl Change {
    /// About how many bytes it adds to a transaction.
    pub(super) fn size_bytes(&self) -> usize {
        match self {
            Self::Step(_, step) => match &step.state {
                StepState::Finished(StepOutcome::Value(value)) => 400 + json_bytes(value),
                _ => 400,
            },
            Self::Event(_, body) => match body {
                EventBody::Delta { text, .. } | EventBody::Logged { text, .. } => 200 + text.len(),
                EventBody::StepFinished { result: value, .. }
                | EventBody::Reply { value }
                | EventBody::Emitted { value, .. } => 200 + json_bytes(value),
                _ => 400,
            },
            Self::State(_, Some(value)) => 100 + json_bytes(value),
            _ => 800,
        }
    }
}

/// The receipt of a settled step.
#[expect(clippy::too_many_arguments, reason = "a receipt is made of all that is known of a step")]
pub(super) fn leaf(
    place: &Place,
    record: &SessionRecord,
    path: steward_types::StepPath,
    step: &JournalStep,
    outcome: &StepOutcome,
    hold: HoldId,
    time: Timestamp,
    spent: &Spent,
) -> Leaf {
    let millis = time.saturating_since(step.started).as_millis();
    Leaf {
        project: record.project.clone(),
        agent: record.agent.clone(),
        session: place.session,
        turn: place.turn,
        step: path,
        hold,
        function: step.function.parse().expect("a host function's name is fit for a receipt"),
        model: spent.model.as_ref().map(|(model, _)| model.clone()),
        prompt_hash: Hash::from_bytes(step.arguments_hash),
        response_hash: Hash::from_bytes(outcome_hash(outcome)),
        tokens_in: spent.usage.input_tokens,
        tokens_out: spent.usage.output_tokens,
        duration_ms: u64::try_from(millis).unwrap_or(u64::MAX),
        price: spent.price,
        time,
    }
}

/// SHA-256 of what a step answered: of its canonical JSON, or of its error's code and message.
fn outcome_hash(outcome: &StepOutcome) -> [u8; 32] {
    match outcome {
        StepOutcome::Value(value) => canonical_hash("result", value),
        StepOutcome::Error { code, message, .. } => {
            let mut hash = Sha256::new();
            hash.update(b"error\0");
            hash.update(code.reason());
            hash.update([0]);
            hash.update(message);
            hash.finalize().into()
        }
    }
}

/// An outcome that fits a row; one that does not is an error instead.
fn bounded(outcome: StepOutcome) -> StepOutcome {
    match &outcome {
        StepOutcome::Value(value) if json_bytes(value) > STEP_RESULT_BYTES_MAX => StepOutcome::error(
            ErrorCode::StepInvalid,
            format!("the result is larger than the {STEP_RESULT_BYTES_MAX} bytes that a step may answer"),
        ),
        _ => outcome,
    }
}

fn short(arguments: &Value) -> Option<Value> {
    (json_bytes(arguments) <= STEP_ARGUMENTS_BYTES_MAX).then(|| arguments.clone())
}

/// How long a value is as JSON.
pub(super) fn json_bytes(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    // Writing a value to a counter cannot fail.
    let _ = serde_json::to_writer(&mut count, value);
    count.0
}
