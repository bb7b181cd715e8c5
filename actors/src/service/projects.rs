//! Projects.

use std::time::Duration;

use steward_types::{AgentId, ErrorCode, Micros, ProjectId};

use super::{Failure, Steward, error::unexpected};
use crate::budget::{Period, PriceList};
use crate::project::{CreateProject, ProjectRequest, ProjectResponse, ProjectView, read};

/// What a new project is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProject {
    /// Its name.
    pub id: ProjectId,
    /// The most it may spend in a period.
    pub limit: Option<Micros>,
    /// When spending starts from zero again.
    pub period: Period,
    /// What things cost; absent for the default list.
    pub prices: Option<PriceList>,
    /// The chains that anchor its receipts.
    pub chains: Vec<String>,
}

impl Steward {
    /// Creates a project. Creating it again with the same settings answers what is there.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectExists`] when it is there with other settings.
    pub async fn create_project(&self, new: NewProject) -> Result<ProjectView, Failure> {
        let NewProject { id, limit, period, prices, chains } = new;
        let create = CreateProject { limit, period, prices, chains };
        let view = self.change_project(&id, ProjectRequest::Create(create)).await?;
        self.wake_project(&id)?;
        self.follow_project(&view)?;
        Ok(view)
    }

    /// One project.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`].
    pub async fn project(&self, project: &ProjectId) -> Result<ProjectView, Failure> {
        let found = read::project(self.store(), project).await?;
        let missing = || Failure::new(ErrorCode::ProjectNotFound, format!("there is no project {project}"));
        found.ok_or_else(|| missing().with("project", project))
    }

    /// Projects after `after`, by name, at most `limit`.
    ///
    /// # Errors
    /// The store's.
    pub async fn projects(&self, after: Option<&ProjectId>, limit: usize) -> Result<Vec<ProjectView>, Failure> {
        let mut found = Vec::new();
        for name in read::project_names(self.store(), after, limit).await? {
            found.push(self.project(&name).await?);
        }
        Ok(found)
    }

    /// Replaces a project's price list.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`].
    pub async fn set_prices(&self, project: &ProjectId, prices: PriceList) -> Result<ProjectView, Failure> {
        self.change_project(project, ProjectRequest::SetPrices(prices)).await
    }

    /// Chooses the chains that anchor a project's receipts, and how long and how many receipts may wait.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`]; [`ErrorCode::InvalidRequest`] when one is out of bounds.
    pub async fn set_anchoring(
        &self,
        project: &ProjectId,
        chains: Vec<String>,
        interval: Duration,
        receipts: Option<u64>,
    ) -> Result<ProjectView, Failure> {
        let interval_ms = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX);
        let request = ProjectRequest::SetAnchoring { chains, interval_ms, receipts };
        let view = self.change_project(project, request).await?;
        self.follow_project(&view)?;
        Ok(view)
    }

    /// Sets the limit of a project, or of one of its agents.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`].
    pub async fn set_limit(
        &self,
        project: &ProjectId,
        agent: Option<AgentId>,
        limit: Option<Micros>,
        period: Period,
    ) -> Result<(), Failure> {
        match self.ask_project(project, ProjectRequest::SetLimit { agent, limit, period }).await? {
            ProjectResponse::Done => Ok(()),
            _ => Err(unexpected("the project")),
        }
    }

    async fn change_project(&self, project: &ProjectId, request: ProjectRequest) -> Result<ProjectView, Failure> {
        match self.ask_project(project, request).await? {
            ProjectResponse::Project(view) => Ok(*view),
            _ => Err(unexpected("the project")),
        }
    }
}
