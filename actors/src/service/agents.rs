//! Agents: check, deploy, list, get.

use std::collections::BTreeMap;

use steward_scripting::Diagnostic;
use steward_types::{AgentId, ErrorCode, ProjectId, TriggerId};

use super::modules::blocking;
use super::{Failure, FieldViolation, Steward};
use crate::agent::{
    Agent, AgentRecord, AgentRequest, AgentResponse, BundleError, CheckedBundle, Deploy, UploadedBundle, VersionRecord,
    read,
};
use crate::host::EntityId;

/// An agent with the version that new turns take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    /// Its project.
    pub project: ProjectId,
    /// Its name.
    pub id: AgentId,
    /// The agent.
    pub agent: AgentRecord,
    /// The version.
    pub version: VersionRecord,
}

/// An agent after a deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeployedAgent {
    /// The agent, with the version of the bundle.
    pub view: AgentView,
    /// Whether the bundle was new.
    pub created: bool,
}

impl Steward {
    /// Everything that is wrong with a bundle, its triggers and what it says of chains among it; empty when it can be
    /// deployed. The modules of the project that it imports are checked with it.
    ///
    /// # Errors
    /// [`ErrorCode::Internal`] when the check did not end; the store's.
    pub async fn check_agent(&self, project: &ProjectId, bundle: UploadedBundle) -> Result<Vec<Diagnostic>, Failure> {
        let modules = self.imported_modules(project, bundle.bundle()).await?;
        let checked = check(bundle.with_modules(modules)).await?;
        Ok(checked.map_or_else(|error| error.diagnostics, |checked| self.chain_problems(&checked.manifest)))
    }

    /// Checks a bundle and makes it its agent's newest version, with the modules of the project that it imports as they
    /// are now. The same files again keep their version.
    ///
    /// # Errors
    /// [`ErrorCode::ScriptInvalid`] with each diagnostic as a violation; [`ErrorCode::ProjectNotFound`].
    pub async fn deploy_agent(&self, project: &ProjectId, bundle: UploadedBundle) -> Result<DeployedAgent, Failure> {
        self.project(project).await?;
        let modules = self.imported_modules(project, bundle.bundle()).await?;
        let checked = check(bundle.with_modules(modules)).await?.map_err(refused)?;
        let diagnostics = self.chain_problems(&checked.manifest);
        if !diagnostics.is_empty() {
            return Err(refused(BundleError { diagnostics }));
        }
        let files = checked.file_records();
        read::keep_texts(self.store(), checked.files.values()).await?;
        let id = checked.manifest.name.clone();
        let description = checked.manifest.description.clone();
        let limit = checked.manifest.budget.agent;
        let triggers = self.canonical_triggers(checked.manifest.triggers);
        let names: Vec<TriggerId> = triggers.iter().map(|trigger| trigger.name.clone()).collect();
        let deploy = Deploy { files, description, limit, triggers };
        let entity = EntityId::from((project, &id));
        match self.host().ask::<Agent>(&entity, AgentRequest::Deploy(deploy), self.deadline()).await? {
            AgentResponse::Deployed { agent, version, created } => {
                self.wake_triggers_of(project, &id, names);
                let view = AgentView { project: project.clone(), id, agent, version };
                Ok(DeployedAgent { view, created })
            }
            AgentResponse::Refused(refusal) => Err(refusal.into()),
        }
    }

    /// A project's agents after `after`, by name, at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn agents(
        &self,
        project: &ProjectId,
        after: Option<&AgentId>,
        limit: usize,
    ) -> Result<Vec<AgentView>, Failure> {
        let found = read::agents(self.store(), project, after, limit).await?;
        let view = |(id, agent, version)| AgentView { project: project.clone(), id, agent, version };
        Ok(found.into_iter().map(view).collect())
    }

    /// One agent with one of its versions; without a number, the newest.
    ///
    /// # Errors
    /// [`ErrorCode::AgentNotFound`] when there is no such agent or version.
    pub async fn agent(&self, project: &ProjectId, id: &AgentId, number: Option<u64>) -> Result<AgentView, Failure> {
        let missing =
            |what: String| Failure::new(ErrorCode::AgentNotFound, what).with("project", project).with("agent", id);
        let agent = read::agent(self.store(), project, id).await?;
        let agent = agent.ok_or_else(|| missing(format!("the project {project} has no agent {id}")))?;
        let number = number.unwrap_or(agent.newest);
        let version = read::version(self.store(), project, id, number).await?;
        let version = version.ok_or_else(|| missing(format!("the agent {id} has no version {number}")))?;
        Ok(AgentView { project: project.clone(), id: id.clone(), agent, version })
    }

    /// The files of a version, the manifest among them.
    ///
    /// # Errors
    /// The store's.
    pub async fn agent_files(&self, view: &AgentView) -> Result<BTreeMap<String, String>, Failure> {
        Ok(read::files(self.store(), &view.version).await?)
    }

    /// The numbers of an agent's versions, oldest first.
    ///
    /// # Errors
    /// The store's.
    pub async fn agent_versions(&self, view: &AgentView) -> Result<Vec<u64>, Failure> {
        Ok(read::version_numbers(self.store(), &view.project, &view.id).await?)
    }
}

async fn check(bundle: UploadedBundle) -> Result<Result<CheckedBundle, BundleError>, Failure> {
    blocking(move || bundle.check()).await
}

pub(super) fn refused(error: BundleError) -> Failure {
    let violation = |found: &Diagnostic| FieldViolation {
        field: format!("bundle.files[{:?}]:{}:{}", found.file, found.line, found.column),
        description: match &found.help {
            Some(help) => format!("{} ({help})", found.message),
            None => found.message.clone(),
        },
    };
    let mut failure = Failure::new(ErrorCode::ScriptInvalid, error.to_string());
    failure.violations = error.diagnostics.iter().map(violation).collect();
    failure
}
