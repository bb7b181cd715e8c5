//! Sessions, their events and journals.

use serde_json::{Map, Value, json};
use steward_actors::service::{Failure, JournalLine, TurnOutcome};
use steward_actors::session::journal::StepState;
use steward_actors::session::{
    ApprovalState, EventBody, SessionEvent, SessionStatus, SessionView, StepOutcome, StepUsage, TurnFailure, TurnState,
};
use steward_types::{ErrorCode, Micros, SessionId};

use super::{json as json_text, time};
use crate::proto::v1::{self, SessionEventKind as Kind};

pub(crate) fn session(view: SessionView, spent: Option<Micros>) -> v1::Session {
    let failed = match view.turn_state {
        Some(TurnState::Failed(why)) => Some(failure(why)),
        _ => None,
    };
    v1::Session {
        id: view.id.to_string(),
        project: view.project.to_string(),
        agent: view.agent.to_string(),
        agent_version: view.version,
        state: state(view.status).into(),
        created_at: time(view.opened),
        updated_at: time(view.updated),
        turns: view.turn,
        inbox: view.waiting_messages,
        last_sequence: view.last_seq,
        spent_micros: spent.map_or(0, Micros::get),
        limit_micros: view.ceiling.map(Micros::get),
        failure: failed,
        label: view.label,
        held_back: String::new(),
        forked_from: view.forked_from.map(|from| format!("{}/{}", from.session, from.turn)).unwrap_or_default(),
    }
}

fn state(status: SessionStatus) -> v1::SessionState {
    match status {
        SessionStatus::Idle => v1::SessionState::Idle,
        SessionStatus::Running => v1::SessionState::Running,
        SessionStatus::Waiting => v1::SessionState::Waiting,
        SessionStatus::Ended => v1::SessionState::Ended,
    }
}

pub(crate) fn state_from(number: i32) -> Result<Option<SessionStatus>, Failure> {
    match v1::SessionState::try_from(number) {
        Ok(v1::SessionState::Unspecified) => Ok(None),
        Ok(v1::SessionState::Idle) => Ok(Some(SessionStatus::Idle)),
        Ok(v1::SessionState::Running) => Ok(Some(SessionStatus::Running)),
        Ok(v1::SessionState::Waiting) => Ok(Some(SessionStatus::Waiting)),
        Ok(v1::SessionState::Ended) => Ok(Some(SessionStatus::Ended)),
        Err(_) => Err(Failure::field("state", format!("there is no state {number}"))),
    }
}

/// The message as the script sees it: the fields of `data_json` and `text`.
pub(crate) fn message_from(message: Option<v1::Message>) -> Result<Value, Failure> {
    let message = message.ok_or_else(|| Failure::field("message", "it is missing"))?;
    let mut fields = match crate::call::parse_json("message.data_json", &message.data_json)? {
        Value::Null => Map::new(),
        Value::Object(fields) => fields,
        _ => return Err(Failure::field("message.data_json", "it must be a JSON object")),
    };
    fields.insert("text".to_owned(), Value::String(message.text));
    Ok(Value::Object(fields))
}

pub(crate) fn failure(why: TurnFailure) -> v1::Failure {
    v1::Failure {
        reason: why.code.reason().to_owned(),
        message: why.message,
        file: why.file.unwrap_or_default(),
        line: why.line,
        column: why.column,
        step: why.step.map(|step| step.to_string()).unwrap_or_default(),
    }
}

fn plain_failure(code: ErrorCode, message: String) -> v1::Failure {
    v1::Failure { reason: code.reason().to_owned(), message, ..v1::Failure::default() }
}

pub(crate) fn outcome(outcome: TurnOutcome) -> v1::RunResponse {
    let replies: Vec<String> = outcome.replies.iter().map(text_of).collect();
    v1::RunResponse {
        turn: outcome.turn,
        reply: replies.join("\n"),
        result_json: json_text(&outcome.value),
        failure: outcome.failure.map(failure),
        spent_micros: outcome.price.get(),
        last_sequence: outcome.last_seq,
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

pub(crate) fn journal_entry(line: JournalLine) -> v1::JournalEntry {
    let JournalLine { turn, path, step } = line;
    let mut entry = v1::JournalEntry {
        turn,
        step: path.to_string(),
        function: step.function,
        arguments_json: step.arguments.as_ref().map(json_text).unwrap_or_default(),
        price_micros: step.price.get(),
        hold_id: step.hold.map(|hold| hold.to_string()).unwrap_or_default(),
        started_at: time(step.started),
        finished_at: step.ended.and_then(time),
        ..v1::JournalEntry::default()
    };
    match step.state {
        StepState::Started { .. } => entry.state = "started".to_owned(),
        StepState::Waiting(_) => entry.state = "waiting".to_owned(),
        StepState::Finished(StepOutcome::Value(value)) => {
            (entry.state, entry.result_json) = ("finished".to_owned(), value.to_string());
        }
        StepState::Finished(StepOutcome::Error { code, message, data }) => {
            (entry.state, entry.result_json) = ("failed".to_owned(), json_text(&data));
            entry.failure = Some(plain_failure(code, message));
        }
    }
    entry
}

pub(crate) fn event(session: SessionId, event: SessionEvent) -> v1::SessionEvent {
    let wire = v1::SessionEvent {
        sequence: event.seq,
        at: time(event.at),
        turn: event.turn,
        step: event.step.map(|step| step.to_string()).unwrap_or_default(),
        session: session.to_string(),
        ..v1::SessionEvent::default()
    };
    fill(wire, event.body)
}

/// Fills in what the kind of the event says.
fn fill(mut wire: v1::SessionEvent, body: EventBody) -> v1::SessionEvent {
    let kind = match body {
        EventBody::Opened { agent, .. } => {
            wire.name = agent.to_string();
            Kind::Opened
        }
        EventBody::Message { key, message } => {
            (wire.name, wire.data_json) = (key, json_text(&message));
            Kind::Message
        }
        EventBody::TurnStarted { key, .. } => {
            wire.name = key;
            Kind::TurnStarted
        }
        EventBody::StepStarted { function, hold } => {
            wire.name = function;
            wire.hold_id = hold.map(|hold| hold.to_string()).unwrap_or_default();
            Kind::StepStarted
        }
        EventBody::Delta { offset, text } => {
            (wire.offset, wire.text) = (offset, text);
            Kind::Delta
        }
        EventBody::StepFinished { function, result, price, hold, usage } => {
            (wire.name, wire.data_json, wire.micros) = (function, result.to_string(), price.get());
            wire.hold_id = hold.map(|hold| hold.to_string()).unwrap_or_default();
            wire.usage = usage.map(model_usage);
            Kind::StepFinished
        }
        EventBody::StepFailed { function, code, message, price } => {
            (wire.name, wire.micros, wire.failure) = (function, price.get(), Some(plain_failure(code, message)));
            Kind::StepFailed
        }
        EventBody::Reply { value } => {
            (wire.text, wire.data_json) = (text_of(&value), value.to_string());
            Kind::Reply
        }
        EventBody::Emitted { name, value } => {
            (wire.name, wire.data_json) = (name, value.to_string());
            Kind::Emitted
        }
        EventBody::Logged { level, text } => {
            (wire.name, wire.text) = (level, text);
            Kind::Logged
        }
        EventBody::ApprovalRequested { approval, question, expires } => {
            (wire.name, wire.text) = (approval.to_string(), question);
            wire.data_json = json!({ "expires": expires.to_string() }).to_string();
            Kind::ApprovalRequested
        }
        EventBody::ApprovalDecided { approval, state, decided_by, comment } => {
            (wire.name, wire.text) = (approval.to_string(), approval_word(state).to_owned());
            wire.data_json = json!({ "decided_by": decided_by, "comment": comment }).to_string();
            Kind::ApprovalDecided
        }
        EventBody::Suspended { waiting_for } => {
            wire.data_json = json!(waiting_for).to_string();
            Kind::Suspended
        }
        EventBody::Resumed {} => Kind::Resumed,
        EventBody::TurnFinished { value, price } => {
            (wire.data_json, wire.micros) = (value.to_string(), price.get());
            Kind::TurnFinished
        }
        EventBody::TurnFailed { failure: why, price } => {
            (wire.failure, wire.micros) = (Some(failure(why)), price.get());
            Kind::TurnFailed
        }
        EventBody::TurnCancelled { reason } => {
            wire.text = reason;
            Kind::TurnCancelled
        }
        EventBody::Ended { reason } => {
            wire.text = reason;
            Kind::Ended
        }
    };
    v1::SessionEvent { kind: kind.into(), ..wire }
}

fn model_usage(usage: StepUsage) -> v1::ModelUsage {
    v1::ModelUsage {
        model: usage.model.to_string(),
        prompt_tokens: usage.prompt_tokens,
        completion_tokens: usage.completion_tokens,
        model_ms: usage.model_ms,
    }
}

fn approval_word(state: ApprovalState) -> &'static str {
    match state {
        ApprovalState::Open => "open",
        ApprovalState::Approved => "approved",
        ApprovalState::Rejected => "rejected",
        ApprovalState::Expired => "expired",
        ApprovalState::Cancelled => "cancelled",
    }
}
