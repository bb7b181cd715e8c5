//! Steps that touch nothing outside the session: they are answered at once and committed with the next durable step.

use serde_json::Value;
use steward_scripting::call::LogLevel;
use steward_scripting::{HostCall, StepAnswer, StepCall};
use steward_storage::StoreExt;
use steward_types::ErrorCode;
use steward_types::limits::{STATE_KEY_BYTES_MAX, STEP_RESULT_BYTES_MAX};

use crate::session::change::Change;
use crate::session::error::SessionError;
use crate::session::event::EventBody;
use crate::session::journal::StepState;
use crate::session::key;
use crate::session::record::{StateValue, StepOutcome};
use crate::session::turn::{Turn, json_bytes};

/// The answer of a local step; none when the call is something else.
pub(in crate::session) fn local(turn: &Turn, call: &StepCall, host_call: &HostCall) -> Option<StepAnswer> {
    let outcome = match host_call {
        HostCall::Now {} => done(turn, call, Value::from(turn.now().as_millis()), None),
        HostCall::Uuid {} => done(turn, call, Value::from(random_uuid(turn)), None),
        HostCall::Random {} => done(turn, call, Value::from(random_unit(turn)), None),
        HostCall::State { key } => {
            let known = turn.work.lock().state.get(key).cloned()?;
            done(turn, call, known.unwrap_or(Value::Null), None)
        }
        HostCall::SetState { key, value } => set_state(turn, call, key, value),
        HostCall::Reply { value } => {
            emitting(turn, call, json_bytes(value), || EventBody::Reply { value: value.clone() })
        }
        HostCall::Emit { name, value } => emitting(turn, call, name.len() + json_bytes(value), || EventBody::Emitted {
            name: name.clone(),
            value: value.clone(),
        }),
        HostCall::Log { level, text } => emitting(turn, call, text.len(), || EventBody::Logged {
            level: level_name(*level).to_owned(),
            text: text.clone(),
        }),
        _ => return None,
    };
    Some(outcome.into_answer())
}

/// Reads a state value that this turn has not seen.
pub(super) async fn load_state(turn: &Turn, call: &StepCall, name: &str) -> Result<StepOutcome, SessionError> {
    let row = key::state(turn.place.session, name);
    let row = &row;
    let stored: Option<StateValue> =
        turn.environment.store.run(|txn| async move { Ok::<_, SessionError>(txn.load_snapshot(row).await?) }).await?;
    let value = stored.map(|stored| stored.0);
    turn.work.lock().state.insert(name.to_owned(), value.clone());
    Ok(done(turn, call, value.unwrap_or(Value::Null), None))
}

fn set_state(turn: &Turn, call: &StepCall, name: &str, value: &Value) -> StepOutcome {
    if name.len() > STATE_KEY_BYTES_MAX || json_bytes(value) > STEP_RESULT_BYTES_MAX {
        let message = format!(
            "a state's key may have {STATE_KEY_BYTES_MAX} bytes and its value {STEP_RESULT_BYTES_MAX} bytes of JSON"
        );
        return turn.refuse(call, ErrorCode::StepInvalid, message);
    }
    let value = (!value.is_null()).then(|| value.clone());
    turn.work.lock().state.insert(name.to_owned(), value.clone());
    let outcome = done(turn, call, Value::Null, None);
    turn.buffer([Change::State(name.to_owned(), value)]);
    outcome
}

fn emitting(turn: &Turn, call: &StepCall, bytes: usize, event: impl FnOnce() -> EventBody) -> StepOutcome {
    if bytes > STEP_RESULT_BYTES_MAX {
        let message = format!("{}: {bytes} bytes are more than the {STEP_RESULT_BYTES_MAX} allowed", call.function);
        return turn.refuse(call, ErrorCode::StepInvalid, message);
    }
    done(turn, call, Value::Null, Some(event()))
}

fn done(turn: &Turn, call: &StepCall, value: Value, event: Option<EventBody>) -> StepOutcome {
    let outcome = StepOutcome::Value(value);
    let step = turn.row(call, StepState::Finished(outcome.clone()));
    turn.buffer([Change::Step(call.path.clone(), Box::new(step))]);
    turn.buffer(event.map(|event| Change::Event(Some(call.path.clone()), event)));
    outcome
}

/// A version 4 UUID (RFC 9562).
fn random_uuid(turn: &Turn) -> String {
    let mut bytes = turn.environment.entropy.bytes_16();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let text = hex::encode(bytes);
    format!("{}-{}-{}-{}-{}", &text[..8], &text[8..12], &text[12..16], &text[16..20], &text[20..])
}

/// At least 0 and below 1, from 53 random bits.
fn random_unit(turn: &Turn) -> f64 {
    const UNIT: f64 = 1.0 / (1_u64 << 53) as f64;
    (turn.environment.entropy.next_u64() >> 11) as f64 * UNIT
}

const fn level_name(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}
