//! `call_agent`: another agent of the project answers in a session of its own. The parent waits as a row; the child's
//! answer is committed in the parent's journal.

use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};
use steward_scripting::StepCall;
use steward_scripting::call::CallOptions;
use steward_types::limits::{AGENT_CALL_DEPTH_MAX, SESSION_WAIT_TIME_MAX};
use steward_types::{AgentId, ErrorCode, SessionId};

use super::{Answer, Begun};
use crate::budget::Usage;
use crate::host::EntityId;
use crate::session::change::Change;
use crate::session::entity::Session;
use crate::session::error::SessionError;
use crate::session::event::Parent;
use crate::session::journal::{StepState, Wait};
use crate::session::record::StepOutcome;
use crate::session::request::{Open, Send, SessionRequest, SessionResponse};
use crate::session::turn::{Durability, Turn};

/// `call_agent`: the child is named in the journal before it is opened, so that it is opened once.
pub(super) async fn call_agent(
    turn: &Turn,
    call: &StepCall,
    agent: &str,
    input: Value,
    options: CallOptions,
    begun: Begun,
) -> Result<Answer, SessionError> {
    let refuse = |code, message: String| Ok(Answer::Done(turn.refuse(call, code, message)));
    let agent: AgentId = match agent.parse() {
        Ok(agent) => agent,
        Err(error) => return refuse(ErrorCode::StepInvalid, format!("{error}")),
    };
    if turn.record.depth >= AGENT_CALL_DEPTH_MAX {
        let message = format!("agents may call each other {AGENT_CALL_DEPTH_MAX} deep");
        return refuse(ErrorCode::StepInvalid, message);
    }
    let child = child_id(turn, call);
    if begun == Begun::New {
        let price = match turn.prices.function("call").map(|price| price.cost(Usage::default())) {
            Ok(Ok(price)) => price,
            Ok(Err(error)) | Err(error) => return refuse(ErrorCode::PriceMissing, error.to_string()),
        };
        let wait = options.timeout_ms.map(|millis| Duration::from_millis(millis).min(SESSION_WAIT_TIME_MAX));
        let expires = wait.map(|wait| turn.now().saturating_add(wait));
        let timer = expires.map(|due| Change::Timer(call.path.clone(), due)).into_iter().collect();
        let state = StepState::Waiting(Wait::Session { child, expires, price });
        if let Err(StepOutcome::Error { code, message, .. }) = turn.begin(call, Some(price), state, timer).await? {
            return refuse(code, message);
        }
    }
    open_child(turn, call, child, agent, input).await
}

/// Opens the child with its message; opening it again changes nothing.
async fn open_child(
    turn: &Turn,
    call: &StepCall,
    child: SessionId,
    agent: AgentId,
    input: Value,
) -> Result<Answer, SessionError> {
    let parent = Parent { session: turn.place.session, turn: turn.place.turn, step: call.path.clone() };
    let request = || {
        SessionRequest::Open(Open {
            project: turn.record.project.clone(),
            agent: agent.clone(),
            ceiling: None,
            version: None,
            label: String::new(),
            parent: Some(parent.clone()),
            depth: turn.record.depth + 1,
            message: Some(Send { key: "call".to_owned(), message: input.clone() }),
        })
    };
    let id = EntityId::from(&child);
    let mut backoff = Duration::from_millis(10);
    loop {
        let host = turn.context.host();
        let asked = host.ask_from_inside::<Session>(&id, request(), host.deadline_default());
        let message = match asked.await {
            Ok(SessionResponse::Refused(refusal)) => {
                let release = vec![Change::Release(turn.hold(call))];
                let outcome = StepOutcome::error(refusal.code, refusal.message);
                let outcome = turn.finish(call, outcome, None, Durability::Now, release).await?;
                return Ok(Answer::Done(outcome));
            }
            Ok(_) => return Ok(Answer::Waits),
            Err(error) => error.to_string(),
        };
        tracing::warn!(session = %turn.place.session, %child, %message, "a child session could not be opened; again");
        turn.environment.clock.sleep(backoff).await;
        backoff = (backoff * 2).min(Duration::from_secs(5));
    }
}

/// The child of a step: always the same. Its first 48 bits are the parent's time, so that ids sort by time still.
fn child_id(turn: &Turn, call: &StepCall) -> SessionId {
    let parent = turn.place.session;
    let mut hash = Sha256::new();
    hash.update(b"steward session of a call\0");
    hash.update(parent.as_bytes());
    hash.update(turn.place.turn.to_be_bytes());
    hash.update(call.path.to_string());
    let digest: [u8; 32] = hash.finalize().into();
    let mut bytes = [0; 16];
    bytes[..6].copy_from_slice(&parent.as_bytes()[..6]);
    bytes[6..].copy_from_slice(&digest[..10]);
    SessionId::from_bytes(bytes)
}
