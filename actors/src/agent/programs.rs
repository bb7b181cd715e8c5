//! Programs of deployed agents, for the turns of sessions: read once, checked once, kept while there is room.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use steward_scripting::{Manifest, Program};
use steward_storage::{Store, StoreError};
use steward_types::limits::PROGRAMS_MAX;
use steward_types::{AgentId, ErrorCode, ProjectId, SessionId};

use super::bundle::{MANIFEST_FILE, bundle_of};
use super::read;
use crate::chain::Chains;
use crate::chain::spending::canonical_rules;
use crate::session::{Loaded, ProgramError, Programs};

type VersionName = (ProjectId, AgentId, u64);

/// The programs in the store.
#[derive(Debug)]
pub struct StoredPrograms {
    store: Arc<dyn Store>,
    chains: Chains,
    ready: Mutex<Ready>,
}

/// Programs that are ready, with the order in which they were last used.
#[derive(Debug, Default)]
struct Ready {
    uses: u64,
    programs: BTreeMap<VersionName, (u64, Arc<Loaded>)>,
}

impl StoredPrograms {
    /// Programs read from this store, with what they may do on these chains.
    pub fn new(store: Arc<dyn Store>, chains: Chains) -> Self {
        Self { store, chains, ready: Mutex::default() }
    }

    async fn read(&self, name: &VersionName) -> Result<Arc<Loaded>, ProgramError> {
        let (project, agent, number) = name;
        let version = read::version(&self.store, project, agent, *number).await.map_err(of_store)?;
        let version = version.ok_or_else(|| ProgramError {
            code: ErrorCode::AgentNotFound,
            message: format!("the agent {agent} has no version {number}"),
        })?;
        let files = read::files(&self.store, &version).await.map_err(of_store)?;
        let manifest = files.get(MANIFEST_FILE).map(String::as_str).unwrap_or_default();
        let mut manifest = Manifest::parse(manifest).map_err(|error| invalid(agent, *number, &error.to_string()))?;
        self.canonicalise(&mut manifest);
        let program = check(bundle_of(&files)).await.map_err(|problem| invalid(agent, *number, &problem))?;
        Ok(Arc::new(Loaded { program, manifest }))
    }
}

impl StoredPrograms {
    /// Rules that a chain cannot read were deployed before they were checked, or on a node without the chain. They never
    /// allowed anything.
    fn canonicalise(&self, manifest: &mut Manifest) {
        for (chain, rules) in &mut manifest.chains {
            let Some(settings) = self.chains.get(chain) else { continue };
            let (canonical, problems) = canonical_rules(rules, &*settings.chain);
            for problem in problems {
                tracing::warn!(agent = %manifest.name, %chain, %problem, "a rule of a manifest is void");
            }
            *rules = canonical;
        }
    }
}

#[async_trait]
impl Programs for StoredPrograms {
    async fn current(&self, project: &ProjectId, agent: &AgentId, _session: SessionId) -> Result<u64, ProgramError> {
        let found = read::agent(&self.store, project, agent).await.map_err(of_store)?;
        let missing = || ProgramError {
            code: ErrorCode::AgentNotFound,
            message: format!("the project {project} has no agent {agent}"),
        };
        Ok(found.ok_or_else(missing)?.newest)
    }

    async fn load(&self, project: &ProjectId, agent: &AgentId, version: u64) -> Result<Arc<Loaded>, ProgramError> {
        let name = (project.clone(), agent.clone(), version);
        if let Some(loaded) = self.ready.lock().get(&name) {
            return Ok(loaded);
        }
        let loaded = self.read(&name).await?;
        self.ready.lock().put(name, Arc::clone(&loaded));
        Ok(loaded)
    }
}

impl Ready {
    fn get(&mut self, name: &VersionName) -> Option<Arc<Loaded>> {
        self.uses += 1;
        let (used, loaded) = self.programs.get_mut(name)?;
        *used = self.uses;
        Some(Arc::clone(loaded))
    }

    fn put(&mut self, name: VersionName, loaded: Arc<Loaded>) {
        self.uses += 1;
        self.programs.insert(name, (self.uses, loaded));
        while self.programs.len() > PROGRAMS_MAX {
            let oldest = self.programs.iter().min_by_key(|(_, (used, _))| *used).map(|(name, _)| name.clone());
            let Some(oldest) = oldest else { return };
            self.programs.remove(&oldest);
        }
    }
}

/// Checks on a blocking thread, because a large script takes some milliseconds of CPU.
async fn check(bundle: steward_scripting::Bundle) -> Result<Program, String> {
    let checked = tokio::task::spawn_blocking(move || Program::check(&bundle)).await;
    match checked {
        Ok(Ok(program)) => Ok(program),
        Ok(Err(diagnostics)) => Err(diagnostics.first().map(ToString::to_string).unwrap_or_default()),
        Err(_) => Err("its check did not end".to_owned()),
    }
}

fn invalid(agent: &AgentId, version: u64, problem: &str) -> ProgramError {
    let message = format!("version {version} of the agent {agent} cannot be run any more: {problem}");
    ProgramError { code: ErrorCode::ScriptInvalid, message }
}

fn of_store(error: StoreError) -> ProgramError {
    ProgramError { code: error.code(), message: error.to_string() }
}
