//! A project's modules: what its agents share. A version of an agent takes along a copy of those that it imports.

use std::collections::BTreeMap;

use steward_scripting::bundle::PROJECT_PREFIX;
use steward_scripting::{Bundle, Program};
use steward_types::limits::{MODULE_AGENTS_MAX, SCRIPT_MODULES_MAX};
use steward_types::{AgentId, ErrorCode, ModuleId, ProjectId};

use super::agents::refused;
use super::{Failure, Steward, error::unexpected};
use crate::agent::{self, BundleError, FileRecord};
use crate::project::{ModuleRecord, ProjectRequest, ProjectResponse, read};

/// A module of a project.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleView {
    /// Its project.
    pub project: ProjectId,
    /// Its name: scripts import it as `project/NAME`.
    pub id: ModuleId,
    /// The module.
    pub module: ModuleRecord,
    /// The agents whose newest versions have it, by name; of the project's first [`MODULE_AGENTS_MAX`].
    pub agents: Vec<ModuleAgent>,
}

/// An agent that has a module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModuleAgent {
    /// The agent.
    pub agent: AgentId,
    /// Its newest version.
    pub version: u64,
    /// Whether that has the module as it is now; otherwise an older copy, until the agent is deployed again.
    pub current: bool,
}

impl Steward {
    /// Adds or replaces modules: all of them or none. Agents that have older copies keep them until they are deployed again.
    ///
    /// # Errors
    /// [`ErrorCode::ScriptInvalid`] with each diagnostic as a violation; [`ErrorCode::ProjectNotFound`].
    pub async fn deploy_modules(
        &self,
        project: &ProjectId,
        sources: BTreeMap<ModuleId, String>,
    ) -> Result<Vec<ModuleView>, Failure> {
        self.project(project).await?;
        let named = sources.iter().map(|(id, source)| (format!("{PROJECT_PREFIX}{id}"), source.clone())).collect();
        let mut bundle = Bundle::of_modules(named);
        bundle.modules.extend(self.imported_modules(project, bundle.clone()).await?);
        let checked = blocking(move || Program::check(&bundle)).await?;
        checked.map_err(|diagnostics| refused(BundleError { diagnostics }))?;
        agent::read::keep_texts(self.store(), sources.values()).await?;
        let files = sources.iter().map(|(id, source)| (id.clone(), FileRecord::of(source))).collect();
        self.change_modules(project, ProjectRequest::PutModules(files)).await?;
        let mut views = self.modules(project).await?;
        views.retain(|view| sources.contains_key(&view.id));
        Ok(views)
    }

    /// A project's modules, by name.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`].
    pub async fn modules(&self, project: &ProjectId) -> Result<Vec<ModuleView>, Failure> {
        self.project(project).await?;
        let agents = agent::read::agents(self.store(), project, None, MODULE_AGENTS_MAX).await?;
        let view = |(id, module): (ModuleId, ModuleRecord)| {
            let file = format!("{PROJECT_PREFIX}{id}.rhai");
            let having = agents.iter().filter_map(|(agent, _, version)| {
                let current = *version.files.get(&file)? == module.file;
                Some(ModuleAgent { agent: agent.clone(), version: version.number, current })
            });
            ModuleView { project: project.clone(), id, module, agents: having.collect() }
        };
        Ok(read::modules(self.store(), project).await?.into_iter().map(view).collect())
    }

    /// One module and its source.
    ///
    /// # Errors
    /// [`ErrorCode::ModuleNotFound`]; [`ErrorCode::ProjectNotFound`].
    pub async fn module(&self, project: &ProjectId, id: &ModuleId) -> Result<(ModuleView, String), Failure> {
        let found = self.modules(project).await?.into_iter().find(|view| view.id == *id);
        let missing = || Failure::new(ErrorCode::ModuleNotFound, format!("the project {project} has no module {id}"));
        let view = found.ok_or_else(|| missing().with("project", project).with("module", id))?;
        let source = agent::read::text(self.store(), &view.module.file).await?;
        Ok((view, source))
    }

    /// Removes a module. Versions of agents keep the copies that they took along.
    ///
    /// # Errors
    /// [`ErrorCode::ModuleNotFound`]; [`ErrorCode::ProjectNotFound`].
    pub async fn remove_module(&self, project: &ProjectId, id: &ModuleId) -> Result<(), Failure> {
        self.project(project).await?;
        self.change_modules(project, ProjectRequest::RemoveModule { module: id.clone() }).await
    }

    /// The modules of the project that a bundle imports and does not bring along, and those that they import, by their whole
    /// names. What the project has not is left out: the check says so with its place.
    pub(super) async fn imported_modules(
        &self,
        project: &ProjectId,
        mut bundle: Bundle,
    ) -> Result<BTreeMap<String, String>, Failure> {
        let kept = read::modules(self.store(), project).await?;
        let mut found = BTreeMap::new();
        while bundle.modules.len() <= SCRIPT_MODULES_MAX && !kept.is_empty() {
            let (looked_at, missing) = blocking(move || {
                let missing = Program::missing_modules(&bundle);
                (bundle, missing)
            })
            .await?;
            bundle = looked_at;
            let before = found.len();
            for name in missing {
                let id = name.strip_prefix(PROJECT_PREFIX).and_then(|id| id.parse().ok());
                let Some(module) = id.and_then(|id: ModuleId| kept.get(&id)) else { continue };
                let source = agent::read::text(self.store(), &module.file).await?;
                bundle.modules.insert(name.clone(), source.clone());
                found.insert(name, source);
            }
            if found.len() == before {
                break;
            }
        }
        Ok(found)
    }

    async fn change_modules(&self, project: &ProjectId, request: ProjectRequest) -> Result<(), Failure> {
        match self.ask_project(project, request).await? {
            ProjectResponse::Done => Ok(()),
            _ => Err(unexpected("the project")),
        }
    }
}

/// Parses on a blocking thread, because a large script takes some milliseconds of CPU.
pub(super) async fn blocking<T: Send + 'static>(parse: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let parsed = tokio::task::spawn_blocking(parse).await;
    parsed.map_err(|error| Failure::new(ErrorCode::Internal, format!("the check did not end: {error}")))
}
