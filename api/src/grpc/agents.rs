//! The Agents service.

use serde_json::json;
use steward_actors::project::Role;
use steward_types::AgentId;
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use crate::call::{caller, page_size, parse, parse_optional, project, require};
use crate::convert::models as convert;
use crate::proto::v1;
use crate::proto::v1::agents_server::Agents;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Agents for Services {
    async fn check(&self, request: Request<v1::CheckAgentRequest>) -> Result<Response<v1::CheckAgentResponse>, Status> {
        let project = self.project(&caller(&request)?, &request.get_ref().project).await.or_status()?;
        let bundle = convert::bundle_from(request.into_inner().bundle).or_status()?;
        let found = self.steward.check_agent(&project, bundle).await.or_status()?;
        let diagnostics = found.into_iter().map(convert::diagnostic).collect();
        Ok(Response::new(v1::CheckAgentResponse { diagnostics }))
    }

    async fn deploy(
        &self,
        request: Request<v1::DeployAgentRequest>,
    ) -> Result<Response<v1::DeployAgentResponse>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let bundle = convert::bundle_from(request.bundle).or_status()?;
        let change = Change::new("deploy agent", &project).with(json!({ "manifest": bundle.manifest }));
        let deployed = self.change(&caller, change, self.steward.deploy_agent(&project, bundle)).await.or_status()?;
        let agent = Some(convert::agent(&deployed.view, &deployed.view.version));
        Ok(Response::new(v1::DeployAgentResponse { agent, created: deployed.created }))
    }

    async fn list(&self, request: Request<v1::ListAgentsRequest>) -> Result<Response<v1::ListAgentsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let after: Option<AgentId> = parse_optional("page_token", &request.page_token).or_status()?;
        let size = page_size(request.page_size);
        let views = self.steward.agents(&project, after.as_ref(), size).await.or_status()?;
        let last = views.last().filter(|_| views.len() == size);
        let next_page_token = last.map(|view| view.id.to_string()).unwrap_or_default();
        let agents = views.iter().map(|view| convert::agent(view, &view.version)).collect();
        Ok(Response::new(v1::ListAgentsResponse { agents, next_page_token }))
    }

    async fn get(&self, request: Request<v1::GetAgentRequest>) -> Result<Response<v1::GetAgentResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let id = parse("name", &request.name).or_status()?;
        let newest = self.steward.agent(&project, &id, None).await.or_status()?;
        let number = Some(request.version).filter(|number| *number > 0);
        let view = self.steward.agent(&project, &id, number).await.or_status()?;
        let files = self.steward.agent_files(&view).await.or_status()?;
        Ok(Response::new(v1::GetAgentResponse {
            agent: Some(convert::agent(&newest, &newest.version)),
            version: Some(convert::version(&view.version)),
            bundle: Some(convert::bundle(files)),
            versions: self.steward.agent_versions(&view).await.or_status()?,
        }))
    }
}
