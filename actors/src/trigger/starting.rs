//! Asks for the sessions of events, one after the other. A session is asked for with its first message, under an id that
//! its event has for good, so that asking again changes nothing.

use serde_json::{Value, json};
use steward_types::ErrorCode;

use super::feed::{Outcome, Start};
use super::record::TriggerName;
use crate::host::{AskError, EntityId, Host};
use crate::session::{Open, Send, Session, SessionRequest, SessionResponse};

/// Starts sessions in the order of their events, and stops at the first that cannot be started now.
pub(super) async fn start(host: &Host, name: &TriggerName, watched: (&str, &str), starts: Vec<Start>) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(starts.len());
    for start in starts {
        let outcome = open(host, name, watched, start).await;
        let goes_on = matches!(outcome, Outcome::Started | Outcome::Refused { for_good: true, .. });
        outcomes.push(outcome);
        if !goes_on {
            break;
        }
    }
    outcomes
}

async fn open(host: &Host, name: &TriggerName, watched: (&str, &str), start: Start) -> Outcome {
    let Start { event, session } = start;
    let message = match event.arguments {
        Ok(arguments) => message(name, watched, &event.id, &event.name, arguments.into()),
        Err(reason) => return Outcome::Refused { code: ErrorCode::InvalidRequest, reason, for_good: true },
    };
    let open = Open {
        project: name.project.clone(),
        agent: name.agent.clone(),
        ceiling: None,
        version: None,
        label: name.trigger.to_string(),
        parent: None,
        depth: 0,
        message: Some(Send { key: event.id.to_string(), message }),
    };
    let (id, deadline) = (EntityId::from(&session), host.deadline_default());
    match host.ask_from_inside::<Session>(&id, SessionRequest::Open(open), deadline).await {
        Ok(SessionResponse::Refused(refusal)) => refused(refusal.code, refusal.message),
        Ok(_) => Outcome::Started,
        // The session's entity broke on this very message.
        Err(error @ (AskError::Poison { .. } | AskError::Quarantined { .. } | AskError::TooLarge { .. })) => {
            Outcome::Refused { code: error.code(), reason: error.to_string(), for_good: false }
        }
        Err(error) => Outcome::Later(error.to_string()),
    }
}

/// What the script sees.
fn message(
    name: &TriggerName,
    (chain, address): (&str, &str),
    id: &steward_adapters::chain::EventId,
    event: &str,
    arguments: Value,
) -> Value {
    json!({
        "trigger": name.trigger,
        "chain": chain,
        "address": address,
        "block": id.block,
        "transaction": id.transaction,
        "index": id.index,
        "event": event,
        "arguments": arguments,
    })
}

/// Whether a refusal is the event's own fault, or may pass.
fn refused(code: ErrorCode, reason: String) -> Outcome {
    match code {
        ErrorCode::InvalidRequest | ErrorCode::RequestTooLarge => Outcome::Refused { code, reason, for_good: false },
        _ => Outcome::Later(reason),
    }
}
