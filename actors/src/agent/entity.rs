//! The entity of one agent: it numbers the versions.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_scripting::Trigger;
use steward_storage::{Store, StoreError, TransactionError, Txn};
use steward_types::{AgentId, ErrorCode, Micros, ProjectId, Timestamp};
use thiserror::Error;

use super::bundle::bundle_hash;
use super::record::{self, AgentRecord, FileRecord, HashRecord, VersionRecord};
use crate::budget::{LedgerError, Period, ledger};
use crate::host::{Context, Entity, EntityId, Fault, Reply};
use crate::lease::LeaseError;
use crate::session::Refusal;
use crate::trigger;

/// What the node gives to its agents.
#[derive(Debug, Clone)]
pub struct AgentEnvironment {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
}

/// One agent of one project; its id reads `project/agent`.
#[derive(Debug)]
pub struct Agent {
    project: ProjectId,
    agent: AgentId,
}

/// A request to one agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AgentRequest {
    /// Makes a bundle the newest version, whose files are kept already.
    Deploy(Deploy),
}

/// A bundle that passed its check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// Its files.
    pub files: BTreeMap<String, FileRecord>,
    /// One line for people.
    pub description: String,
    /// The ceiling of all sessions of the agent together; absent to leave it as it is.
    pub limit: Option<Micros>,
    /// The events that start sessions of it.
    #[serde(default)]
    pub triggers: Vec<Trigger>,
}

/// What an agent answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum AgentResponse {
    /// The bundle has this version.
    Deployed {
        /// The agent as it is now.
        agent: AgentRecord,
        /// The version.
        version: VersionRecord,
        /// Whether this request made it.
        created: bool,
    },
    /// Not done, and why.
    Refused(Refusal),
}

#[derive(Debug, Error)]
enum DeployError {
    #[error("the agent's rows could not be read or written")]
    Store(#[from] StoreError),
    #[error("the budget refused")]
    Ledger(#[source] LedgerError),
    #[error("this node does not own the agent's shard")]
    Fenced,
}

impl TransactionError for DeployError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<LedgerError> for DeployError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            other => Self::Ledger(other),
        }
    }
}

impl From<LeaseError> for DeployError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => Self::Store(error),
            LeaseError::Lost { .. } => Self::Fenced,
        }
    }
}

impl Entity for Agent {
    const KIND: &'static str = "agent";

    type Environment = AgentEnvironment;
    type Request = AgentRequest;
    type Response = AgentResponse;
    type Event = ();

    async fn activate(id: EntityId, _context: Context<Self>) -> Result<Self, Fault> {
        let parts = id.as_str().split_once('/');
        let (project, agent) = parts.ok_or_else(|| Fault::poison("an agent's id reads project/agent"))?;
        Ok(Self { project: project.parse().map_err(Fault::poison)?, agent: agent.parse().map_err(Fault::poison)? })
    }

    async fn handle(
        &mut self,
        AgentRequest::Deploy(deploy): AgentRequest,
        reply: Reply<AgentResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        let (this, deploy, now) = (&*self, &deploy, context.clock().now());
        let deployed = |txn| async move { this.deploy(&txn, deploy, now).await };
        let outcome = context.fence().run(&*context.environment().store, deployed).await;
        match outcome {
            Ok(response) => reply.send(response),
            Err(DeployError::Ledger(error)) => {
                reply.send(AgentResponse::Refused(Refusal::new(error.code(), error.to_string())));
            }
            Err(DeployError::Fenced) => return Err(Fault::Fenced),
            Err(DeployError::Store(error)) => return Err(error.into()),
        }
        Ok(())
    }

    async fn on_event(&mut self, (): (), _context: &Context<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn observe(&self) -> Value {
        json!({ "project": self.project, "agent": self.agent })
    }

    fn is_idle(&self) -> bool {
        true
    }
}

impl Agent {
    async fn deploy(&self, txn: &Txn, deploy: &Deploy, now: Timestamp) -> Result<AgentResponse, DeployError> {
        let (project, id) = (&self.project, &self.agent);
        if !crate::project::read::exists(txn, project).await? {
            let refusal = Refusal::new(ErrorCode::ProjectNotFound, format!("there is no project {project}"));
            return Ok(AgentResponse::Refused(refusal));
        }
        let row = record::agent_row(project, id);
        let found = txn.load::<AgentRecord>(&row).await?;
        let hash = bundle_hash(&deploy.files);
        let known = txn.load::<HashRecord>(&record::hash_row(project, id, &hash)).await?;
        if let (Some(agent), Some(known)) = (&found, known) {
            let version = txn.load::<VersionRecord>(&record::version_row(project, id, known.number)).await?;
            let version = version.ok_or_else(|| StoreError::Corrupt(format!("version {} is gone", known.number)))?;
            // An older bundle that is deployed again becomes the newest once more, under its own number.
            let agent = AgentRecord { newest: known.number, description: deploy.description.clone(), ..agent.clone() };
            txn.save(&row, &agent)?;
            trigger::declare(txn, project, id, &deploy.triggers, known.number).await?;
            return Ok(AgentResponse::Deployed { agent, version, created: false });
        }
        let number = self.last_number(txn).await? + 1;
        let created = found.map_or(now, |agent| agent.created);
        let agent = AgentRecord { newest: number, description: deploy.description.clone(), created };
        let version = VersionRecord { number, hash, deployed: now, files: deploy.files.clone() };
        txn.save(&row, &agent)?;
        txn.save(&record::version_row(project, id, number), &version)?;
        txn.save(&record::hash_row(project, id, &hash), &HashRecord { number })?;
        trigger::declare(txn, project, id, &deploy.triggers, number).await?;
        if let Some(limit) = deploy.limit {
            ledger::set_agent_limit(txn, project, id, Some(limit), Period::None, now).await?;
        }
        Ok(AgentResponse::Deployed { agent, version, created: true })
    }

    async fn last_number(&self, txn: &Txn) -> Result<u64, StoreError> {
        let range = steward_storage::RangeRead::prefix(&record::versions(&self.project, &self.agent));
        let page = txn.scan::<VersionRecord>(range.limit(1).reversed()).await?;
        Ok(page.rows.first().map_or(0, |(_, version)| version.number))
    }
}
