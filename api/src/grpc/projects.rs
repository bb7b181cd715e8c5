//! The Projects service.

use serde_json::json;
use steward_actors::project::Role;
use steward_actors::service::NewProject;
use steward_types::limits::ANCHOR_TIME_DEFAULT;
use steward_types::{Micros, ProjectId};
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use crate::call::{caller, page_size, parse, parse_optional, project, require};
use crate::convert::projects as convert;
use crate::convert::span_from;
use crate::proto::v1;
use crate::proto::v1::projects_server::Projects;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Projects for Services {
    async fn create(&self, request: Request<v1::CreateProjectRequest>) -> Result<Response<v1::Project>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Root).or_status()?;
        let request = request.into_inner();
        let new = NewProject {
            id: parse("name", &request.name).or_status()?,
            limit: request.limit_micros.map(Micros::new),
            period: convert::period_from(request.period).or_status()?,
            prices: request.prices.map(convert::price_list_from),
            chains: request.chains,
        };
        let told = json!({ "limit": new.limit, "period": new.period, "prices": new.prices, "chains": new.chains });
        let change = Change::new("create project", &new.id).with(told);
        let view = self.change(&caller, change, self.steward.create_project(new)).await.or_status()?;
        Ok(Response::new(convert::project(view)))
    }

    async fn get(&self, request: Request<v1::GetProjectRequest>) -> Result<Response<v1::Project>, Status> {
        let project = project(&caller(&request)?, &request.get_ref().project).or_status()?;
        let view = self.steward.project(&project).await.or_status()?;
        Ok(Response::new(convert::project(view)))
    }

    async fn list(
        &self,
        request: Request<v1::ListProjectsRequest>,
    ) -> Result<Response<v1::ListProjectsResponse>, Status> {
        let caller = caller(&request)?;
        if let Some(own) = caller.project {
            let view = self.steward.project(&own).await.or_status()?;
            let (projects, next_page_token) = (vec![convert::project(view)], String::new());
            return Ok(Response::new(v1::ListProjectsResponse { projects, next_page_token }));
        }
        let request = request.into_inner();
        let after: Option<ProjectId> = parse_optional("page_token", &request.page_token).or_status()?;
        let size = page_size(request.page_size);
        let views = self.steward.projects(after.as_ref(), size).await.or_status()?;
        let last = views.last().filter(|_| views.len() == size);
        let next_page_token = last.map(|view| view.id.to_string()).unwrap_or_default();
        let projects = views.into_iter().map(convert::project).collect();
        Ok(Response::new(v1::ListProjectsResponse { projects, next_page_token }))
    }

    async fn set_prices(&self, request: Request<v1::SetPricesRequest>) -> Result<Response<v1::Project>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let prices = convert::price_list_from(request.prices.unwrap_or_default());
        let change = Change::new("set prices", &project).with(json!(prices));
        let view = self.change(&caller, change, self.steward.set_prices(&project, prices)).await.or_status()?;
        Ok(Response::new(convert::project(view)))
    }

    async fn set_anchoring(&self, request: Request<v1::SetAnchoringRequest>) -> Result<Response<v1::Project>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let interval = match request.anchor_interval {
            Some(interval) => span_from("anchor_interval", interval).or_status()?,
            None => ANCHOR_TIME_DEFAULT,
        };
        let receipts = request.anchor_receipts;
        let told = json!({ "chains": request.chains, "interval_seconds": interval.as_secs(), "receipts": receipts });
        let change = Change::new("set anchoring", &project).with(told);
        let setting = self.steward.set_anchoring(&project, request.chains, interval, receipts);
        let view = self.change(&caller, change, setting).await.or_status()?;
        Ok(Response::new(convert::project(view)))
    }

    async fn create_key(
        &self,
        request: Request<v1::CreateKeyRequest>,
    ) -> Result<Response<v1::CreateKeyResponse>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let role = convert::role_from(request.role).or_status()?;
        let change = Change::new("create key", &project).with(json!({ "label": request.label, "role": role }));
        let making = self.steward.create_key(&project, &request.label, role, &request.idempotency_key);
        let made = self.change(&caller, change, making).await.or_status()?;
        let secret = made.text.map(|text| text.reveal()).unwrap_or_default();
        Ok(Response::new(v1::CreateKeyResponse { key: Some(convert::key(made.key)), secret }))
    }

    async fn list_keys(&self, request: Request<v1::ListKeysRequest>) -> Result<Response<v1::ListKeysResponse>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let project = self.project(&caller, &request.get_ref().project).await.or_status()?;
        let keys = self.steward.keys(&project).await.or_status()?;
        Ok(Response::new(v1::ListKeysResponse { keys: keys.into_iter().map(convert::key).collect() }))
    }

    async fn revoke_key(&self, request: Request<v1::RevokeKeyRequest>) -> Result<Response<v1::ApiKey>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let change = Change::new("revoke key", &project).with(json!({ "key": request.key_id }));
        let revoking = self.steward.revoke_key(&project, &request.key_id);
        let key = self.change(&caller, change, revoking).await.or_status()?;
        Ok(Response::new(convert::key(key)))
    }
}
