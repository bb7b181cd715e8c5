//! How triggers lie in the store.
//!
//! | key | holds |
//! |---|---|
//! | `("trigger", project, agent, trigger)` | what the agent's newest version says; its deployment writes it |
//! | `("trigger_state", project, agent, trigger)` | how far it is; its entity writes it, and keeps it when the trigger is gone |
//! | `("trigger_skipped", project, agent, trigger, n)` | an event that started no session: the newest of them |

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steward_adapters::chain::{EventFilter, EventId};
use steward_adapters::cursor::Cursor;
use steward_scripting::{Trigger, TriggerFrom};
use steward_storage::{RangeRead, Record, Store, StoreError, StoreExt, Txn, key};
use steward_types::limits::TRIGGER_SKIPPED_MAX;
use steward_types::{AgentId, ErrorCode, IdError, ProjectId, SessionId, Timestamp, TriggerId};

/// Which trigger; as text, and as its entity's id, `project/agent/trigger`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TriggerName {
    /// Its project.
    pub project: ProjectId,
    /// Its agent.
    pub agent: AgentId,
    /// Its name in the agent.
    pub trigger: TriggerId,
}

/// What an agent's newest version says of a trigger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TriggerSpec {
    /// The chain's CAIP-2 identifier.
    pub chain: String,
    /// Which of its events.
    pub filter: EventFilter,
    /// Where it begins when it is new.
    pub from: TriggerFrom,
    /// The version.
    pub version: u64,
}

/// How far a trigger is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TriggerState {
    /// The chain that it reads.
    pub(super) chain: String,
    /// The events that it reads. With another chain or other events it begins anew.
    pub(super) filter: EventFilter,
    /// The hash of the chain's first block; empty until it was seen.
    pub(super) genesis: String,
    /// The next event; nothing until the chain was seen.
    pub(super) cursor: Option<Cursor>,
    /// Events whose sessions may have been asked for, with the sessions' ids.
    pub(super) assigned: Vec<Assigned>,
    /// Sessions whose turns had not ended when it was last looked.
    pub(super) open: Vec<SessionId>,
    /// How many sessions it has started.
    pub(super) started: u64,
    /// How many events it has skipped.
    pub(super) skipped: u64,
    /// Whether the agent had no such trigger when it was last looked.
    pub(super) ended: bool,
    /// Why it does nothing until an operator lets it go on.
    pub(super) stopped: Option<String>,
    /// Where an operator let it go on, until the chain was seen again.
    pub(super) resume: Option<Resume>,
}

/// The id that an event's session has, or will have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Assigned {
    pub(super) event: EventId,
    pub(super) session: SessionId,
}

/// Where a stopped trigger goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Resume {
    /// Where it was, if the chain is the old one again; otherwise now.
    Itself,
    /// There.
    At(TriggerFrom),
}

/// An event that started no session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SkippedEvent {
    /// The event.
    pub event: EventId,
    /// Why, for programs.
    pub code: ErrorCode,
    /// Why, for people.
    pub reason: String,
    /// When it was given up.
    pub at: Timestamp,
}

impl Record for TriggerSpec {
    const NAME: &'static str = "trigger";
    const VERSION: u16 = 1;
}

impl Record for TriggerState {
    const NAME: &'static str = "trigger state";
    const VERSION: u16 = 1;
}

impl Record for SkippedEvent {
    const NAME: &'static str = "skipped event";
    const VERSION: u16 = 1;
}

impl TriggerState {
    /// That of a trigger which has read nothing.
    pub(super) fn new(spec: &TriggerSpec) -> Self {
        Self {
            chain: spec.chain.clone(),
            filter: spec.filter.clone(),
            genesis: String::new(),
            cursor: None,
            assigned: Vec::new(),
            open: Vec::new(),
            started: 0,
            skipped: 0,
            ended: false,
            stopped: None,
            resume: None,
        }
    }

    /// Whether it is about what the agent now says.
    pub(super) fn is_of(&self, spec: &TriggerSpec) -> bool {
        self.chain == spec.chain && self.filter == spec.filter
    }
}

impl TriggerName {
    pub(crate) fn spec_row(&self) -> Vec<u8> {
        key::pack(&("trigger", self.project.as_str(), self.agent.as_str(), self.trigger.as_str()))
    }

    pub(super) fn state_row(&self) -> Vec<u8> {
        key::pack(&("trigger_state", self.project.as_str(), self.agent.as_str(), self.trigger.as_str()))
    }

    fn skipped_rows(&self) -> Vec<u8> {
        key::pack(&("trigger_skipped", self.project.as_str(), self.agent.as_str(), self.trigger.as_str()))
    }

    fn skipped_row(&self, number: u64) -> Vec<u8> {
        let Self { project, agent, trigger } = self;
        key::pack(&("trigger_skipped", project.as_str(), agent.as_str(), trigger.as_str(), number))
    }

    fn of_row(row: &[u8]) -> Result<Self, StoreError> {
        let (_, project, agent, trigger): (String, String, String, String) = key::unpack(row)?;
        let corrupt = |_: IdError| StoreError::Corrupt(format!("trigger key {}: not names", row.escape_ascii()));
        let (project, agent) = (project.parse().map_err(corrupt)?, agent.parse().map_err(corrupt)?);
        Ok(Self { project, agent, trigger: trigger.parse().map_err(corrupt)? })
    }
}

impl fmt::Display for TriggerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.project, self.agent, self.trigger)
    }
}

impl FromStr for TriggerName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut parts = text.splitn(3, '/');
        let mut next = || parts.next().unwrap_or_default();
        Ok(Self { project: next().parse()?, agent: next().parse()?, trigger: next().parse()? })
    }
}

/// Makes an agent's triggers those of its newest version, within the deployment's transaction.
pub(crate) async fn declare(
    txn: &Txn,
    project: &ProjectId,
    agent: &AgentId,
    triggers: &[Trigger],
    version: u64,
) -> Result<(), StoreError> {
    let of_agent = key::pack(&("trigger", project.as_str(), agent.as_str()));
    for (row, _) in txn.scan::<TriggerSpec>(RangeRead::prefix(&of_agent)).await?.rows {
        let name = TriggerName::of_row(&row)?;
        if triggers.iter().all(|trigger| trigger.name != name.trigger) {
            txn.clear(&row)?;
        }
    }
    for trigger in triggers {
        let name = TriggerName { project: project.clone(), agent: agent.clone(), trigger: trigger.name.clone() };
        let filter = EventFilter { address: trigger.address.clone(), event: trigger.event.clone() };
        let spec = TriggerSpec { chain: trigger.chain.clone(), filter, from: trigger.from, version };
        txn.save(&name.spec_row(), &spec)?;
    }
    Ok(())
}

/// A page of triggers by name: of a project, or of all.
pub(crate) async fn specs(
    store: &Arc<dyn Store>,
    project: Option<&ProjectId>,
    after: Option<&TriggerName>,
    limit: usize,
) -> Result<Vec<(TriggerName, TriggerSpec)>, StoreError> {
    let rows = project.map_or_else(|| key::pack(&("trigger",)), |project| key::pack(&("trigger", project.as_str())));
    let mut range = RangeRead::prefix(&rows).limit(limit).snapshot();
    if let Some(after) = after {
        range.begin = key::successor(&after.spec_row()).to_vec();
    }
    let range = &range;
    let page = store.run(|txn| async move { txn.scan::<TriggerSpec>(range.clone()).await }).await?;
    page.rows.into_iter().map(|(row, spec)| Ok((TriggerName::of_row(&row)?, spec))).collect()
}

/// The newest events that a trigger skipped, newest first, at most `limit`.
pub(crate) async fn skipped(
    store: &Arc<dyn Store>,
    name: &TriggerName,
    limit: usize,
) -> Result<Vec<SkippedEvent>, StoreError> {
    let range = &RangeRead::prefix(&name.skipped_rows()).limit(limit).reversed().snapshot();
    let page = store.run(|txn| async move { txn.scan::<SkippedEvent>(range.clone()).await }).await?;
    Ok(page.rows.into_iter().map(|(_, skipped)| skipped).collect())
}

/// Records a skipped event, the `number`th from 1, and forgets the oldest that are too many.
pub(super) fn record_skipped(
    txn: &Txn,
    name: &TriggerName,
    number: u64,
    event: &SkippedEvent,
) -> Result<(), StoreError> {
    txn.save(&name.skipped_row(number), event)?;
    match number.checked_sub(TRIGGER_SKIPPED_MAX) {
        Some(old) if old > 0 => txn.clear(&name.skipped_row(old)),
        _ => Ok(()),
    }
}
