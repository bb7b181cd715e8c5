//! What a trigger finds out before it decides: what its agent now says, what holds it back, which of its sessions have
//! ended, and what is new on the chain. Changes nothing.

use std::sync::Arc;

use steward_adapters::chain::{Chain, ChainError, EmittedEvent};
use steward_adapters::cursor::{Cursor, Span};
use steward_storage::{Store, StoreError, StoreExt};
use steward_types::{Micros, SessionId, Timestamp};

use super::TriggerEnvironment;
use super::record::{TriggerName, TriggerSpec, TriggerState};
use crate::budget::{AccountId, LedgerError, ledger};
use crate::pause;
use crate::session::{ReadError, SessionStatus, read};

/// What is to be found out.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) name: TriggerName,
    pub(super) chain: String,
    pub(super) filter: steward_adapters::chain::EventFilter,
    /// From where events are wanted; nothing while some wait to be taken.
    pub(super) reader: Option<(Cursor, Span)>,
    /// Whether to ask if the chain is the same still.
    pub(super) genesis: bool,
    /// Sessions that may have ended.
    pub(super) open: Vec<SessionId>,
}

/// What was found.
#[derive(Debug)]
pub(super) struct Look {
    /// What the agent says now; nothing when it has no such trigger any more.
    pub(super) spec: Option<TriggerSpec>,
    /// What holds sessions back.
    pub(super) held: Option<String>,
    /// Those whose turns have ended.
    pub(super) closed: Vec<SessionId>,
    /// The chain, or why it cannot be seen.
    pub(super) chain: Result<Sight, String>,
}

/// A chain as it was seen.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) final_block: u64,
    /// The hash of its first block, where that was asked for.
    pub(super) genesis: Option<String>,
    /// The events up to and with a block, where some were asked for.
    pub(super) found: Option<(u64, Result<Vec<EmittedEvent>, ChainError>)>,
}

/// Finds it out.
pub(super) async fn look(
    environment: &TriggerEnvironment,
    question: Question,
    now: Timestamp,
) -> Result<Look, StoreError> {
    let store = &environment.store;
    let spec_row = &question.name.spec_row();
    let spec = store.run(|txn| async move { txn.load_snapshot::<TriggerSpec>(spec_row).await }).await?;
    let spec = spec.map(|spec| spec.canonical(&environment.chains));
    let held = held(store, &question.name, now).await?;
    let closed = closed(store, &question.open).await?;
    let chain = match environment.chains.get(&question.chain) {
        Some(settings) => sight(&*settings.chain, &question, held.is_none()).await.map_err(|error| error.in_full()),
        None => Err(format!("this node has no chain {}: configure it, or deploy the agent without", question.chain)),
    };
    Ok(Look { spec, held, closed, chain })
}

/// What holds the agent's sessions back: nothing of them is started while it does, so that nothing fails or piles up.
async fn held(store: &Arc<dyn Store>, name: &TriggerName, now: Timestamp) -> Result<Option<String>, StoreError> {
    let (project, agent) = (&name.project, &name.agent);
    store
        .run(|txn| async move {
            if let Some(pause) = pause::of_agent(&txn, project, agent).await? {
                return Ok(Some(pause.to_string()));
            }
            let next = AccountId::session(project.clone(), agent.clone(), SessionId::from_bytes([0; 16]));
            match ledger::affordable(&txn, &next, now).await {
                Ok(Micros::ZERO) => Ok(Some(format!("the budget of {project} or of its agent {agent} is used up"))),
                Ok(_) => Ok(None),
                Err(LedgerError::Store(error)) => Err(error),
                Err(error) => Ok(Some(error.to_string())),
            }
        })
        .await
}

async fn closed(store: &Arc<dyn Store>, open: &[SessionId]) -> Result<Vec<SessionId>, StoreError> {
    let mut closed = Vec::new();
    for session in open {
        match read::view(store, *session).await {
            Ok(view)
                if view.waiting_messages == 0 && matches!(view.status, SessionStatus::Idle | SessionStatus::Ended) =>
            {
                closed.push(*session);
            }
            Ok(_) => {}
            Err(ReadError::Store(error)) => return Err(error),
            Err(_) => closed.push(*session),
        }
    }
    Ok(closed)
}

async fn sight(chain: &dyn Chain, question: &Question, may_read: bool) -> Result<Sight, ChainError> {
    let genesis = if question.genesis { Some(chain.genesis().await?) } else { None };
    let final_block = chain.head().await?.final_block;
    let range = question.reader.filter(|_| may_read).and_then(|(cursor, span)| cursor.range(final_block, span));
    let found = match range {
        Some(range) => {
            let (from, to) = range.into_inner();
            Some((to, chain.events(&question.filter, from, to).await))
        }
        None => None,
    };
    Ok(Sight { final_block, genesis, found })
}

impl Question {
    pub(super) fn of(name: &TriggerName, state: &TriggerState) -> Self {
        Self {
            name: name.clone(),
            chain: state.chain.clone(),
            filter: state.filter.clone(),
            reader: None,
            genesis: false,
            open: state.open.clone(),
        }
    }
}
