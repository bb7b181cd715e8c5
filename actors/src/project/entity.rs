//! The entity of one project: the only writer of its rows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use steward_storage::{RangeRead, Store, StoreError, TransactionError, Txn};
use steward_types::limits::{
    ANCHOR_INTERVAL_MAX, ANCHOR_INTERVAL_MIN, ANCHOR_RECEIPTS_MAX, ANCHOR_TIME_DEFAULT, KEY_LABEL_BYTES_MAX,
    PROJECT_CHAINS_MAX, PROJECT_KEYS_MAX, PROJECT_MODULES_MAX,
};
use steward_types::{AgentId, Clock, ErrorCode, Micros, ModuleId, MoneyError, ProjectId};
use thiserror::Error;

use super::read;
use super::record::{self, ApiKey, ModuleRecord, ProjectRecord, Role};
use super::request::{CreateKey, CreateProject, ProjectRequest, ProjectResponse};
use crate::agent::FileRecord;
use crate::budget::{LedgerError, Period, PriceList, ledger};
use crate::host::{Context, Entity, EntityId, Fault, Reply};
use crate::lease::LeaseError;
use crate::session::Refusal;

/// What the node gives to its projects.
#[derive(Debug, Clone)]
pub struct ProjectEnvironment {
    /// Where everything is kept.
    pub store: Arc<dyn Store>,
}

/// One project.
#[derive(Debug)]
pub struct Project {
    id: ProjectId,
}

/// Why a change of a project was not made.
#[derive(Debug, Error)]
enum ChangeError {
    #[error("the project's rows could not be read or written")]
    Store(#[from] StoreError),
    #[error("the budget refused")]
    Ledger(#[source] LedgerError),
    #[error("this node does not own the project's shard")]
    Fenced,
    #[error("{0}")]
    Refused(Refusal),
}

impl TransactionError for ChangeError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Store(error) => Some(error),
            _ => None,
        }
    }
}

impl From<LedgerError> for ChangeError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => Self::Store(error),
            other => Self::Ledger(other),
        }
    }
}

impl From<LeaseError> for ChangeError {
    fn from(error: LeaseError) -> Self {
        match error {
            LeaseError::Store(error) => Self::Store(error),
            LeaseError::Lost { .. } => Self::Fenced,
        }
    }
}

impl From<MoneyError> for ChangeError {
    fn from(error: MoneyError) -> Self {
        Self::Ledger(error.into())
    }
}

fn refused<T>(code: ErrorCode, message: impl Into<String>) -> Result<T, ChangeError> {
    Err(ChangeError::Refused(Refusal::new(code, message)))
}

impl Entity for Project {
    const KIND: &'static str = "project";

    type Environment = ProjectEnvironment;
    type Request = ProjectRequest;
    type Response = ProjectResponse;
    type Event = ();

    async fn activate(id: EntityId, _context: Context<Self>) -> Result<Self, Fault> {
        let id = id.as_str().parse().map_err(Fault::poison)?;
        Ok(Self { id })
    }

    async fn handle(
        &mut self,
        request: ProjectRequest,
        reply: Reply<ProjectResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        let change = Change { project: self.id.clone(), clock: Arc::clone(context.clock()) };
        let (request, change) = (&request, &change);
        let applied = |txn| async move { change.apply(&txn, request).await };
        let outcome = context.fence().run(&*context.environment().store, applied).await;
        match outcome {
            Ok(response) => reply.send(response),
            Err(ChangeError::Refused(refusal)) => reply.send(ProjectResponse::Refused(refusal)),
            Err(ChangeError::Ledger(error)) => {
                reply.send(ProjectResponse::Refused(Refusal::new(error.code(), error.to_string())));
            }
            Err(ChangeError::Fenced) => return Err(Fault::Fenced),
            Err(ChangeError::Store(error)) => return Err(error.into()),
        }
        Ok(())
    }

    async fn on_event(&mut self, (): (), _context: &Context<Self>) -> Result<(), Fault> {
        Ok(())
    }

    fn observe(&self) -> Value {
        json!({ "project": self.id })
    }

    fn is_idle(&self) -> bool {
        true
    }
}

/// One change, as a function over a transaction that may run more than once.
struct Change {
    project: ProjectId,
    clock: Arc<dyn Clock>,
}

impl Change {
    async fn apply(&self, txn: &Txn, request: &ProjectRequest) -> Result<ProjectResponse, ChangeError> {
        match request {
            ProjectRequest::Create(create) => self.create(txn, create).await,
            ProjectRequest::SetPrices(prices) => self.set_prices(txn, prices).await,
            ProjectRequest::SetAnchoring { chains, interval_ms, receipts } => {
                self.set_anchoring(txn, chains, *interval_ms, *receipts).await
            }
            ProjectRequest::SetLimit { agent, limit, period } => {
                self.set_limit(txn, agent.as_ref(), *limit, *period).await
            }
            ProjectRequest::CreateKey(create) => self.create_key(txn, create).await,
            ProjectRequest::RevokeKey { id } => self.revoke_key(txn, id).await,
            ProjectRequest::PutModules(modules) => self.put_modules(txn, modules).await,
            ProjectRequest::RemoveModule { module } => self.remove_module(txn, module).await,
        }
    }

    async fn create(&self, txn: &Txn, create: &CreateProject) -> Result<ProjectResponse, ChangeError> {
        if let Some(found) = read::project_in(txn, &self.project).await? {
            let same_prices = found.prices == create.prices.clone().unwrap_or_default();
            if same_prices && found.chains == create.chains {
                return Ok(ProjectResponse::Project(Box::new(found)));
            }
            return refused(
                ErrorCode::ProjectExists,
                format!("a project {} exists, with other settings", self.project),
            );
        }
        check_chains(&create.chains)?;
        let now = self.clock.now();
        ledger::open_project(txn, &self.project, create.limit, create.period, now).await?;
        if let Some(prices) = &create.prices {
            ledger::set_prices(txn, &self.project, prices)?;
        }
        let interval = u64::try_from(ANCHOR_TIME_DEFAULT.as_millis()).unwrap_or(u64::MAX);
        let project = ProjectRecord {
            created: now,
            chains: create.chains.clone(),
            anchor_interval_ms: interval,
            anchor_receipts: None,
        };
        self.save(txn, &project).await
    }

    async fn set_prices(&self, txn: &Txn, prices: &PriceList) -> Result<ProjectResponse, ChangeError> {
        let project = self.load(txn).await?;
        ledger::set_prices(txn, &self.project, prices)?;
        self.save(txn, &project).await
    }

    async fn set_anchoring(
        &self,
        txn: &Txn,
        chains: &[String],
        interval_ms: u64,
        receipts: Option<u64>,
    ) -> Result<ProjectResponse, ChangeError> {
        check_chains(chains)?;
        check_waiting(interval_ms, receipts)?;
        let project = self.load(txn).await?;
        let chains = chains.to_vec();
        let project = ProjectRecord { chains, anchor_interval_ms: interval_ms, anchor_receipts: receipts, ..project };
        self.save(txn, &project).await
    }

    async fn set_limit(
        &self,
        txn: &Txn,
        agent: Option<&AgentId>,
        limit: Option<Micros>,
        period: Period,
    ) -> Result<ProjectResponse, ChangeError> {
        self.load(txn).await?;
        let now = self.clock.now();
        match agent {
            None => ledger::set_limit(txn, &self.project, limit, period, now).await?,
            Some(agent) => ledger::set_agent_limit(txn, &self.project, agent, limit, period, now).await?,
        }
        Ok(ProjectResponse::Done)
    }

    async fn create_key(&self, txn: &Txn, create: &CreateKey) -> Result<ProjectResponse, ChangeError> {
        self.load(txn).await?;
        if create.label.len() > KEY_LABEL_BYTES_MAX {
            return refused(ErrorCode::InvalidRequest, format!("label: at most {KEY_LABEL_BYTES_MAX} bytes"));
        }
        if create.role == Role::Root {
            return refused(ErrorCode::InvalidRequest, "role: a project's key is an admin's or a member's");
        }
        let row = record::key_row(&create.id);
        if let Some(key) = txn.load::<ApiKey>(&row).await? {
            if key.project.as_ref() != Some(&self.project) {
                return refused(ErrorCode::InvalidRequest, "the key's id is taken");
            }
            let created = key.secret_hash == create.secret_hash;
            return Ok(ProjectResponse::Key { key, created });
        }
        let keys = txn.range(RangeRead::prefix(&record::project_keys(&self.project))).await?;
        if keys.rows.len() >= PROJECT_KEYS_MAX {
            let message =
                format!("keys: a project has at most {PROJECT_KEYS_MAX} in its life, the revoked ones included");
            return refused(ErrorCode::InvalidRequest, message);
        }
        let key = ApiKey {
            id: create.id.clone(),
            project: Some(self.project.clone()),
            label: create.label.clone(),
            role: create.role,
            secret_hash: create.secret_hash,
            created: self.clock.now(),
            revoked: None,
        };
        txn.save(&row, &key)?;
        txn.set(&record::project_key_row(&self.project, &key.id), b"")?;
        Ok(ProjectResponse::Key { key, created: true })
    }

    async fn revoke_key(&self, txn: &Txn, id: &str) -> Result<ProjectResponse, ChangeError> {
        let row = record::key_row(id);
        let found = txn.load::<ApiKey>(&row).await?.filter(|key| key.project.as_ref() == Some(&self.project));
        let Some(mut key) = found else {
            return refused(ErrorCode::InvalidRequest, format!("key_id: the project has no key {id}"));
        };
        if key.revoked.is_none() {
            key.revoked = Some(self.clock.now());
            txn.save(&row, &key)?;
        }
        Ok(ProjectResponse::Key { key, created: false })
    }

    async fn put_modules(
        &self,
        txn: &Txn,
        modules: &BTreeMap<ModuleId, FileRecord>,
    ) -> Result<ProjectResponse, ChangeError> {
        self.load(txn).await?;
        let kept = txn.scan::<ModuleRecord>(RangeRead::prefix(&record::modules(&self.project))).await?;
        let mut count = kept.rows.len();
        for (module, file) in modules {
            let row = record::module_row(&self.project, module);
            let found = kept.rows.iter().find(|(key, _)| **key == *row).map(|(_, module)| module);
            if found.is_some_and(|found| found.file == *file) {
                continue;
            }
            count += usize::from(found.is_none());
            txn.save(&row, &ModuleRecord { file: *file, updated: self.clock.now() })?;
        }
        if count > PROJECT_MODULES_MAX {
            let message =
                format!("modules: a project has at most {PROJECT_MODULES_MAX}; remove one that no agent imports");
            return refused(ErrorCode::InvalidRequest, message);
        }
        Ok(ProjectResponse::Done)
    }

    async fn remove_module(&self, txn: &Txn, module: &ModuleId) -> Result<ProjectResponse, ChangeError> {
        let row = record::module_row(&self.project, module);
        if txn.load::<ModuleRecord>(&row).await?.is_none() {
            let message = format!("the project {} has no module {module}", self.project);
            return refused(ErrorCode::ModuleNotFound, message);
        }
        txn.clear(&row)?;
        Ok(ProjectResponse::Done)
    }

    async fn load(&self, txn: &Txn) -> Result<ProjectRecord, ChangeError> {
        match txn.load(&record::project_row(&self.project)).await? {
            Some(project) => Ok(project),
            None => refused(ErrorCode::ProjectNotFound, format!("there is no project {}", self.project)),
        }
    }

    async fn save(&self, txn: &Txn, project: &ProjectRecord) -> Result<ProjectResponse, ChangeError> {
        txn.save(&record::project_row(&self.project), project)?;
        match read::project_in(txn, &self.project).await? {
            Some(view) => Ok(ProjectResponse::Project(Box::new(view))),
            None => refused(ErrorCode::Internal, "a project that was just written is not there"),
        }
    }
}

/// Whether receipts may wait so long, and so many of them.
fn check_waiting(interval_ms: u64, receipts: Option<u64>) -> Result<(), ChangeError> {
    let interval = Duration::from_millis(interval_ms);
    if !(ANCHOR_INTERVAL_MIN..=ANCHOR_INTERVAL_MAX).contains(&interval) {
        return refused(ErrorCode::InvalidRequest, "anchor_interval: from 1 second to 30 days");
    }
    if receipts.is_some_and(|receipts| !(1..=ANCHOR_RECEIPTS_MAX).contains(&receipts)) {
        let message = format!("anchor_receipts: from 1 to {ANCHOR_RECEIPTS_MAX}; leave it out to anchor by time alone");
        return refused(ErrorCode::InvalidRequest, message);
    }
    Ok(())
}

fn check_chains(chains: &[String]) -> Result<(), ChangeError> {
    if chains.len() > PROJECT_CHAINS_MAX || chains.iter().any(|chain| chain.is_empty() || chain.len() > 63) {
        return refused(
            ErrorCode::InvalidRequest,
            format!("chains: at most {PROJECT_CHAINS_MAX} names of 1 to 63 bytes"),
        );
    }
    Ok(())
}
