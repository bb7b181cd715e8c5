//! The trace of one session, turn, step or receipt: everything that journal, budget, receipts and chains know of it, in
//! the order of time.

use std::str::FromStr;

use serde_json::Value;
use steward_types::limits::{PAGE_ITEMS_MAX, TRACE_LINES_MAX};
use steward_types::{ErrorCode, HoldId, Micros, ProjectId, SessionId, StepPath, Timestamp};

use super::{Failure, ReceiptView, Steward};
use crate::budget::{AccountId, HoldState, Scope, StatementRequest};
use crate::receipt_log::{self, AnchoredRoot, ReceiptError};
use crate::session::journal::{JournalStep, StepState};
use crate::session::{EventBody, SessionEvent, SessionView, StepOutcome, read};

/// Letters of a detail.
const DETAIL_CHARS_MAX: usize = 160;

/// What is traced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TraceId {
    /// A session, one turn of it, or one step of that.
    Session {
        /// The session.
        session: SessionId,
        /// Only this turn.
        turn: Option<u64>,
        /// Only this step of the turn, and what lies below it.
        step: Option<StepPath>,
    },
    /// A hold, which is also the id of its receipt.
    Hold(HoldId),
}

/// What is known, in the order of time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// The session; absent for a direct call.
    pub session: Option<SessionId>,
    /// The project.
    pub project: ProjectId,
    /// What happened.
    pub lines: Vec<TraceLine>,
    /// Whether there was more than [`TRACE_LINES_MAX`] lines.
    pub truncated: bool,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceLine {
    /// When.
    pub at: Timestamp,
    /// Where it is written: `session`, `journal`, `budget`, `receipt`, `log` or `chain`.
    pub source: &'static str,
    /// The turn; 0 for none.
    pub turn: u64,
    /// The step.
    pub step: Option<StepPath>,
    /// What happened.
    pub what: String,
    /// More about it.
    pub detail: String,
}

impl FromStr for TraceId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("hold_") {
            return text.parse().map(Self::Hold).map_err(|error: steward_types::IdError| error.to_string());
        }
        let mut parts = text.splitn(3, '/');
        let session = parts.next().unwrap_or_default().parse().map_err(|error: steward_types::IdError| {
            format!("{error}; a trace takes ses_…, ses_…/TURN, ses_…/TURN/STEP or hold_…")
        })?;
        let turn = parts.next().map(|turn| turn.parse().map_err(|_| format!("{turn:?} is not a turn's number")));
        let step = parts.next().map(|step| step.parse().map_err(|error: steward_types::IdError| error.to_string()));
        Ok(Self::Session { session, turn: turn.transpose()?, step: step.transpose()? })
    }
}

impl Steward {
    /// Everything that is known of `id`.
    ///
    /// # Errors
    /// [`ErrorCode::SessionNotFound`], [`ErrorCode::ReceiptNotFound`].
    pub async fn trace(&self, id: TraceId) -> Result<Trace, Failure> {
        match id {
            TraceId::Session { session, turn, step } => self.trace_session(session, turn, step).await,
            TraceId::Hold(hold) => self.trace_hold(hold).await,
        }
    }

    async fn trace_hold(&self, hold: HoldId) -> Result<Trace, Failure> {
        let (project, receipt) = self.find_receipt(hold).await?;
        let leaf = &receipt.leaf;
        match read::view(self.store(), leaf.session).await {
            Ok(_) => {
                let (turn, step) = (Some(leaf.turn), Some(leaf.step.clone()));
                self.trace_session(leaf.session, turn, step).await
            }
            // A direct call has no session: its receipt is all.
            Err(read::ReadError::NotFound(_)) => {
                let lines = self.trace_receipt(&project, &receipt).await?;
                Ok(finish(None, project, lines))
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn find_receipt(&self, hold: HoldId) -> Result<(ProjectId, ReceiptView), Failure> {
        let mut after = None;
        loop {
            let page = crate::project::read::project_names(self.store(), after.as_ref(), PAGE_ITEMS_MAX).await?;
            for project in &page {
                match receipt_log::get(self.store().as_ref(), project, hold).await {
                    Ok(receipt) => return Ok((project.clone(), receipt.into())),
                    Err(ReceiptError::NotFound { .. }) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            match page.last() {
                Some(last) if page.len() >= PAGE_ITEMS_MAX => after = Some(last.clone()),
                _ => break,
            }
        }
        let message = format!("no receipt is of {hold}: nothing was settled under it; trace its session");
        Err(Failure::new(ErrorCode::ReceiptNotFound, message).with("hold", hold))
    }

    async fn trace_session(
        &self,
        session: SessionId,
        turn: Option<u64>,
        step: Option<StepPath>,
    ) -> Result<Trace, Failure> {
        let view = read::view(self.store(), session).await?;
        let wanted = Wanted { turn, step };
        let mut lines = self.trace_events(session, &wanted).await?;
        for number in turn.unwrap_or(1)..=turn.unwrap_or(view.turn) {
            for (path, step) in self.turn_steps(session, number).await? {
                if lines.len() > TRACE_LINES_MAX {
                    break;
                }
                if wanted.has(number, Some(&path)) {
                    lines.extend(journal_lines(number, &path, &step));
                    if let Some(hold) = step.hold.filter(|_| matches!(step.state, StepState::Finished(_))) {
                        lines.extend(self.trace_settled(&view.project, hold).await?);
                    }
                }
            }
        }
        lines.extend(self.trace_holds(&view, &wanted).await?);
        Ok(finish(Some(session), view.project, lines))
    }

    async fn trace_events(&self, session: SessionId, wanted: &Wanted) -> Result<Vec<TraceLine>, Failure> {
        let (mut lines, mut from) = (Vec::new(), 1);
        loop {
            let events = read::events(self.store(), session, from, PAGE_ITEMS_MAX).await?;
            let Some(last) = events.last() else { return Ok(lines) };
            from = last.seq + 1;
            let told = events.iter().filter(|event| !matches!(event.body, EventBody::Delta { .. }));
            lines.extend(told.filter(|event| wanted.has(event.turn, event.step.as_ref())).map(event_line));
            if lines.len() > TRACE_LINES_MAX {
                return Ok(lines);
            }
        }
    }

    async fn trace_holds(&self, view: &SessionView, wanted: &Wanted) -> Result<Vec<TraceLine>, Failure> {
        let account = AccountId::session(view.project.clone(), view.agent.clone(), view.id);
        let mut request = StatementRequest::all(Scope::Owner(account.owner));
        let mut lines = Vec::new();
        loop {
            let page = self.statement(&view.project, &request).await?;
            for entry in &page.entries {
                let (turn, step) = turn_and_step(&entry.hold.step);
                if !wanted.has(turn, step.as_ref()) {
                    continue;
                }
                let line = |at, what: &str, amount: Micros| TraceLine {
                    at,
                    source: "budget",
                    turn,
                    step: step.clone(),
                    what: what.to_owned(),
                    detail: format!("{amount} under {}", entry.id),
                };
                lines.push(line(entry.hold.opened_at, "held", entry.hold.held));
                let ended = match entry.hold.state {
                    HoldState::Open => None,
                    HoldState::Settled => Some(("settled", entry.hold.settled)),
                    HoldState::Released => Some(("released", entry.released())),
                };
                lines.extend(entry.hold.finished_at.zip(ended).map(|(at, (what, amount))| line(at, what, amount)));
            }
            match page.next {
                Some(next) if lines.len() <= TRACE_LINES_MAX => request.after = Some(next),
                _ => return Ok(lines),
            }
        }
    }

    async fn trace_settled(&self, project: &ProjectId, hold: HoldId) -> Result<Vec<TraceLine>, Failure> {
        match receipt_log::get(self.store().as_ref(), project, hold).await {
            Ok(receipt) => self.trace_receipt(project, &receipt.into()).await,
            // A step that cost nothing has none.
            Err(ReceiptError::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    async fn trace_receipt(&self, project: &ProjectId, receipt: &ReceiptView) -> Result<Vec<TraceLine>, Failure> {
        let leaf = &receipt.leaf;
        let line = |at, source, what: &str, detail| TraceLine {
            at,
            source,
            turn: leaf.turn,
            step: Some(leaf.step.clone()),
            what: what.to_owned(),
            detail,
        };
        let mut lines = vec![line(leaf.time, "receipt", "written", format!("{} for {}", leaf.hold, leaf.price))];
        let Some(index) = receipt.index else { return Ok(lines) };
        // The log keeps no time of its own: its leaf's is the earliest that it can be.
        lines.push(line(leaf.time, "log", "logged", format!("leaf {index}, {}", receipt.leaf_hash)));
        let covering = self.covering_anchor(project, index).await?;
        lines.extend(covering.map(|root| {
            let detail = format!("{} block {} {}", root.anchor.chain, root.anchor.block, root.anchor.transaction);
            line(root.anchored_at, "chain", "anchored", detail)
        }));
        Ok(lines)
    }

    /// The earliest of the newest roots that covers a leaf.
    async fn covering_anchor(&self, project: &ProjectId, index: u64) -> Result<Option<AnchoredRoot>, Failure> {
        let roots = receipt_log::anchors(self.store().as_ref(), project, PAGE_ITEMS_MAX).await?;
        Ok(roots.into_iter().filter(|root| root.size > index).min_by_key(|root| root.size))
    }
}

/// Which lines are wanted.
#[derive(Debug)]
struct Wanted {
    turn: Option<u64>,
    step: Option<StepPath>,
}

impl Wanted {
    fn has(&self, turn: u64, step: Option<&StepPath>) -> bool {
        let below = |wanted: &StepPath| step.is_some_and(|step| step.numbers().starts_with(wanted.numbers()));
        self.turn.is_none_or(|wanted| wanted == turn) && self.step.as_ref().is_none_or(below)
    }
}

fn finish(session: Option<SessionId>, project: ProjectId, mut lines: Vec<TraceLine>) -> Trace {
    lines.sort_by_key(|line| line.at);
    let truncated = lines.len() > TRACE_LINES_MAX;
    lines.truncate(TRACE_LINES_MAX);
    Trace { session, project, lines, truncated }
}

fn journal_lines(turn: u64, path: &StepPath, step: &JournalStep) -> Vec<TraceLine> {
    let line = |at, what: &str, detail| TraceLine {
        at,
        source: "journal",
        turn,
        step: Some(path.clone()),
        what: format!("{} {what}", step.function),
        detail,
    };
    let arguments = step.arguments.as_ref().map(short).unwrap_or_default();
    let mut lines = vec![line(step.started, "begun", arguments)];
    let outcome = match &step.state {
        StepState::Finished(StepOutcome::Value(value)) => short(value),
        StepState::Finished(StepOutcome::Error { code, message, .. }) => {
            format!("{code}: {message}")
        }
        StepState::Started { .. } | StepState::Waiting(_) => String::new(),
    };
    lines.extend(step.ended.map(|ended| line(ended, "done", outcome)));
    lines
}

fn event_line(event: &SessionEvent) -> TraceLine {
    let detail = match &event.body {
        EventBody::Message { message, .. } => short(message),
        EventBody::Reply { value } | EventBody::TurnFinished { value, .. } => short(value),
        EventBody::StepFailed { code, message, .. } => format!("{code}: {message}"),
        EventBody::TurnFailed { failure, .. } => format!("{}: {}", failure.code, failure.message),
        EventBody::TurnCancelled { reason } | EventBody::Ended { reason } => reason.clone(),
        EventBody::ApprovalRequested { question, .. } => question.clone(),
        _ => String::new(),
    };
    let (turn, step) = (event.turn, event.step.clone());
    TraceLine { at: event.at, source: "session", turn, step, what: event.body.name().to_owned(), detail }
}

/// A value as one line of JSON that is not long.
fn short(value: &Value) -> String {
    if value.is_null() {
        return String::new();
    }
    let text = value.to_string();
    match text.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The turn and step of a hold, as in `4/3.1.2`.
fn turn_and_step(text: &str) -> (u64, Option<StepPath>) {
    let parsed = text.split_once('/').and_then(|(turn, step)| Some((turn.parse().ok()?, step.parse().ok())));
    parsed.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_names_a_session_a_turn_a_step_or_a_hold() {
        let session = SessionId::from_bytes([7; 16]);
        let of =
            |turn, step: Option<&str>| TraceId::Session { session, turn, step: step.map(|step| step.parse().unwrap()) };
        assert_eq!(session.to_string().parse(), Ok(of(None, None)));
        assert_eq!(format!("{session}/2").parse(), Ok(of(Some(2), None)));
        assert_eq!(format!("{session}/2/3.1.1").parse(), Ok(of(Some(2), Some("3.1.1"))));
        let hold = HoldId::from_bytes([7; 16]);
        assert_eq!(hold.to_string().parse(), Ok(TraceId::Hold(hold)));
        for bad in ["", "nod_1", "ses_1", &format!("{session}/x"), &format!("{session}/1/a")] {
            assert!(bad.parse::<TraceId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_step_has_what_lies_below_it() {
        let wanted = Wanted { turn: Some(1), step: Some("3".parse().unwrap()) };
        let path = |text: &str| text.parse::<StepPath>().unwrap();
        assert!(wanted.has(1, Some(&path("3"))) && wanted.has(1, Some(&path("3.1.2"))));
        assert!(!wanted.has(2, Some(&path("3"))) && !wanted.has(1, Some(&path("4"))) && !wanted.has(1, None));
    }
}
