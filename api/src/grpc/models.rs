//! The Models service.

use std::num::NonZeroU32;

use serde_json::json;
use steward_actors::model::{NewModel, Replicas};
use steward_actors::project::Role;
use steward_inference::ModelSource;
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use crate::call::{caller, parse, parse_optional, require};
use crate::convert::models as convert;
use crate::proto::v1;
use crate::proto::v1::models_server::Models;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Models for Services {
    async fn add(&self, request: Request<v1::AddModelRequest>) -> Result<Response<v1::Model>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Root).or_status()?;
        let request = request.into_inner();
        let id = parse("name", &request.name).or_status()?;
        let hash = parse_optional("expected_hash", &request.expected_hash).or_status()?;
        let source = ModelSource { hash, origin: request.source, ..ModelSource::new(id, request.path) };
        let replicas = match NonZeroU32::new(request.replicas) {
            _ if request.on_each_node => Replicas::Each,
            count => count.map_or_else(Replicas::default, Replicas::Count),
        };
        let told = json!({ "path": source.path, "source": source.origin, "replicas": replicas });
        let change = Change::new("add model", &source.id).with(told);
        let adding = self.steward.add_model(NewModel { source, replicas });
        let view = self.change(&caller, change, adding).await.or_status()?;
        Ok(Response::new(convert::model(view)))
    }

    async fn list(&self, request: Request<v1::ListModelsRequest>) -> Result<Response<v1::ListModelsResponse>, Status> {
        caller(&request)?;
        let models = self.steward.models().await.into_iter().map(convert::model).collect();
        Ok(Response::new(v1::ListModelsResponse { models }))
    }

    async fn get(&self, request: Request<v1::GetModelRequest>) -> Result<Response<v1::Model>, Status> {
        caller(&request)?;
        let id = parse("name", &request.get_ref().name).or_status()?;
        let view = self.steward.model(&id).await.or_status()?;
        Ok(Response::new(convert::model(view)))
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveModelRequest>,
    ) -> Result<Response<v1::RemoveModelResponse>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Root).or_status()?;
        let id = parse("name", &request.get_ref().name).or_status()?;
        self.change(&caller, Change::new("remove model", &id), self.steward.remove_model(&id)).await.or_status()?;
        Ok(Response::new(v1::RemoveModelResponse {}))
    }
}
