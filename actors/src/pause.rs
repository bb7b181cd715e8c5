//! Pauses: an operator holds back an agent, a project or a chain, durably, until it is resumed.
//!
//! | key | holds |
//! |---|---|
//! | `("pause", "project", project)` | that no turn of the project begins |
//! | `("pause", "agent", project, agent)` | that no turn of the agent begins |
//! | `("pause", "chain", chain)` | that nothing new is sent to the chain |
//!
//! The transaction that begins a turn reads the rows of its project and agent, so that no turn begins once a pause has
//! committed. What has begun goes on to its end; messages are accepted and wait.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steward_storage::{RangeRead, Record, Store, StoreError, StoreExt, Txn, key};
use steward_types::{AgentId, ProjectId, Timestamp};

/// What can be paused.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseSubject {
    /// Every agent of a project, and its direct calls.
    Project(ProjectId),
    /// One agent.
    Agent(ProjectId, AgentId),
    /// A chain, by its CAIP-2 identifier.
    Chain(String),
}

/// Who paused, when and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// What is paused.
    pub subject: PauseSubject,
    /// When.
    pub since: Timestamp,
    /// The id of the operator's key.
    pub by: String,
    /// Why; empty when nothing was said.
    pub reason: String,
}

impl Record for Pause {
    const NAME: &'static str = "pause";
    const VERSION: u16 = 1;
}

impl PauseSubject {
    fn row(&self) -> Vec<u8> {
        match self {
            Self::Project(project) => key::pack(&("pause", "project", project.as_str())),
            Self::Agent(project, agent) => key::pack(&("pause", "agent", project.as_str(), agent.as_str())),
            Self::Chain(chain) => key::pack(&("pause", "chain", chain.as_str())),
        }
    }
}

impl fmt::Display for PauseSubject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Project(project) => write!(f, "project {project}"),
            Self::Agent(project, agent) => write!(f, "agent {agent} of project {project}"),
            Self::Chain(chain) => write!(f, "chain {chain}"),
        }
    }
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is paused since {}", self.subject, self.since)?;
        if self.reason.is_empty() { Ok(()) } else { write!(f, ": {}", self.reason) }
    }
}

/// Pauses within a transaction. What is paused already stays as it was.
pub(crate) async fn pause(txn: &Txn, pause: &Pause) -> Result<(), StoreError> {
    let row = pause.subject.row();
    if txn.load::<Pause>(&row).await?.is_none() {
        txn.save(&row, pause)?;
    }
    Ok(())
}

/// Resumes within a transaction. Says whether it was paused.
pub(crate) async fn resume(txn: &Txn, subject: &PauseSubject) -> Result<bool, StoreError> {
    let row = subject.row();
    let was_paused = txn.load::<Pause>(&row).await?.is_some();
    if was_paused {
        txn.clear(&row)?;
    }
    Ok(was_paused)
}

/// The pause that holds back a turn of this agent, if one does. The transaction fails to commit if that changes.
pub(crate) async fn of_agent(txn: &Txn, project: &ProjectId, agent: &AgentId) -> Result<Option<Pause>, StoreError> {
    if let Some(found) = of(txn, &PauseSubject::Project(project.clone())).await? {
        return Ok(Some(found));
    }
    of(txn, &PauseSubject::Agent(project.clone(), agent.clone())).await
}

/// The pause of exactly this, if there is one. The transaction fails to commit if that changes.
pub(crate) async fn of(txn: &Txn, subject: &PauseSubject) -> Result<Option<Pause>, StoreError> {
    txn.load::<Pause>(&subject.row()).await
}

/// Everything that is paused.
///
/// # Errors
/// The store's.
pub async fn all(store: &Arc<dyn Store>) -> Result<Vec<Pause>, StoreError> {
    let (mut found, mut rest) = (Vec::new(), Some(RangeRead::prefix(&key::pack(&("pause",))).snapshot()));
    while let Some(range) = rest.take() {
        let range = &range;
        let page = store.run(|txn| async move { txn.scan::<Pause>(range.clone()).await }).await?;
        found.extend(page.rows.into_iter().map(|(_, pause)| pause));
        rest = page.rest;
    }
    Ok(found)
}
