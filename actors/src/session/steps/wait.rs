//! Steps that wait: for the clock, or for a person. A short wait stays on the script's thread; a long one is a row.

use std::time::Duration;

use serde_json::{Value, json};
use steward_scripting::StepCall;
use steward_scripting::call::AskOptions;
use steward_types::limits::{APPROVAL_TIME_DEFAULT, SESSION_WAIT_TIME_MAX, SHORT_WAIT_MAX, STEP_RESULT_BYTES_MAX};
use steward_types::{ErrorCode, Timestamp};

use super::Answer;
use crate::session::approval::{Approval, ApprovalId, ApprovalState};
use crate::session::change::Change;
use crate::session::error::SessionError;
use crate::session::event::EventBody;
use crate::session::journal::{StepState, Wait};
use crate::session::record::StepOutcome;
use crate::session::turn::Turn;

/// `sleep`: done when the time has passed.
pub(super) async fn sleep(turn: &Turn, call: &StepCall, millis: u64) -> Result<Answer, SessionError> {
    let time = Duration::from_millis(millis);
    if time > SESSION_WAIT_TIME_MAX {
        let message = format!("a wait may last {} days at most", SESSION_WAIT_TIME_MAX.as_secs() / 86_400);
        return Ok(Answer::Done(turn.refuse(call, ErrorCode::StepInvalid, message)));
    }
    if time <= SHORT_WAIT_MAX {
        turn.environment.clock.sleep(time).await;
        let outcome = StepOutcome::Value(Value::Null);
        let step = turn.row(call, StepState::Finished(outcome.clone()));
        turn.buffer([Change::Step(call.path.clone(), Box::new(step))]);
        return Ok(Answer::Done(outcome));
    }
    let due = turn.now().saturating_add(time);
    let step = turn.row(call, StepState::Waiting(Wait::Timer { due }));
    let changes = vec![Change::Step(call.path.clone(), Box::new(step)), Change::Timer(call.path.clone(), due)];
    turn.commit(changes).await?;
    Ok(Answer::Waits)
}

/// `ask_human`: a row that a person decides, or that expires.
pub(super) async fn ask_human(
    turn: &Turn,
    call: &StepCall,
    question: String,
    options: AskOptions,
) -> Result<Answer, SessionError> {
    let rules = &turn.agent.manifest.approvals;
    let details = json!({ "choices": options.choices, "to": options.to.or_else(|| rules.to.clone()) });
    if question.len() + details.to_string().len() > STEP_RESULT_BYTES_MAX {
        return Ok(Answer::Done(turn.refuse(call, ErrorCode::StepInvalid, "the question is too long")));
    }
    let timeout_ms = options.timeout_ms.or(rules.timeout_ms);
    ask_person(turn, call, (question, details), timeout_ms, |expires| Wait::Person { expires }).await
}

/// Asks a person a question, with details, and waits until it is decided or the time is over. `wait` says what becomes of
/// the step then.
pub(super) async fn ask_person(
    turn: &Turn,
    call: &StepCall,
    (question, details): (String, Value),
    timeout_ms: Option<u64>,
    wait: impl FnOnce(Timestamp) -> Wait,
) -> Result<Answer, SessionError> {
    let time = timeout_ms.map_or(APPROVAL_TIME_DEFAULT, Duration::from_millis);
    let asked = turn.now();
    let expires = asked.saturating_add(time.min(SESSION_WAIT_TIME_MAX));
    let id = approval_id(turn, call);
    let approval = Approval {
        id: id.clone(),
        project: turn.record.project.clone(),
        agent: turn.record.agent.clone(),
        question: question.clone(),
        details,
        asked,
        expires,
        state: ApprovalState::Open,
        decision: None,
    };
    let step = turn.row(call, StepState::Waiting(wait(expires)));
    let requested = EventBody::ApprovalRequested { approval: id, question, expires };
    turn.commit(vec![
        Change::Step(call.path.clone(), Box::new(step)),
        Change::Approval(Box::new(approval)),
        Change::Timer(call.path.clone(), expires),
        Change::Event(Some(call.path.clone()), requested),
    ])
    .await?;
    Ok(Answer::Waits)
}

/// The id of what a step asks a person.
pub(super) fn approval_id(turn: &Turn, call: &StepCall) -> ApprovalId {
    ApprovalId { session: turn.place.session, turn: turn.place.turn, step: call.path.clone() }
}
