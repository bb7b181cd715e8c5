//! The Modules service.

use std::collections::BTreeMap;

use serde_json::json;
use steward_actors::project::Role;
use steward_actors::service::Failure;
use steward_types::ModuleId;
use steward_types::limits::SCRIPT_MODULES_MAX;
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use crate::call::{caller, parse, project, require};
use crate::convert::models as convert;
use crate::proto::v1;
use crate::proto::v1::modules_server::Modules;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Modules for Services {
    async fn deploy(
        &self,
        request: Request<v1::DeployModulesRequest>,
    ) -> Result<Response<v1::DeployModulesResponse>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let sources = sources_from(request.sources).or_status()?;
        let names: Vec<String> = sources.keys().map(ToString::to_string).collect();
        let change = Change::new("deploy modules", &project).with(json!({ "modules": names }));
        let deploying = self.steward.deploy_modules(&project, sources);
        let views = self.change(&caller, change, deploying).await.or_status()?;
        Ok(Response::new(v1::DeployModulesResponse { modules: views.into_iter().map(convert::module).collect() }))
    }

    async fn list(
        &self,
        request: Request<v1::ListModulesRequest>,
    ) -> Result<Response<v1::ListModulesResponse>, Status> {
        let project = self.project(&caller(&request)?, &request.get_ref().project).await.or_status()?;
        let views = self.steward.modules(&project).await.or_status()?;
        Ok(Response::new(v1::ListModulesResponse { modules: views.into_iter().map(convert::module).collect() }))
    }

    async fn get(&self, request: Request<v1::GetModuleRequest>) -> Result<Response<v1::GetModuleResponse>, Status> {
        let project = self.project(&caller(&request)?, &request.get_ref().project).await.or_status()?;
        let id = parse("name", &request.get_ref().name).or_status()?;
        let (view, source) = self.steward.module(&project, &id).await.or_status()?;
        Ok(Response::new(v1::GetModuleResponse { module: Some(convert::module(view)), source }))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveModuleRequest>,
    ) -> Result<Response<v1::RemoveModuleResponse>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let id: ModuleId = parse("name", &request.name).or_status()?;
        let change = Change::new("remove module", &project).with(json!({ "module": id }));
        self.change(&caller, change, self.steward.remove_module(&project, &id)).await.or_status()?;
        Ok(Response::new(v1::RemoveModuleResponse {}))
    }
}

fn sources_from(sources: BTreeMap<String, String>) -> Result<BTreeMap<ModuleId, String>, Failure> {
    if !(1..=SCRIPT_MODULES_MAX).contains(&sources.len()) {
        return Err(Failure::field("sources", format!("from 1 to {SCRIPT_MODULES_MAX} modules in one request")));
    }
    sources.into_iter().map(|(name, source)| Ok((parse("sources", &name)?, source))).collect()
}
