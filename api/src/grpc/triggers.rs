//! The Triggers service.

use serde_json::json;
use steward_actors::project::Role;
use steward_actors::trigger::TriggerName;
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use crate::call::{caller, page_size, parse, parse_optional, project, require};
use crate::convert::triggers as convert;
use crate::proto::v1;
use crate::proto::v1::triggers_server::Triggers;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Triggers for Services {
    async fn list(
        &self,
        request: Request<v1::ListTriggersRequest>,
    ) -> Result<Response<v1::ListTriggersResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let after: Option<TriggerName> = parse_optional("page_token", &request.page_token).or_status()?;
        let after = after.filter(|after| after.project == project);
        let size = page_size(request.page_size);
        let views = self.steward.triggers(&project, after.as_ref(), size).await.or_status()?;
        let last = views.last().filter(|_| views.len() == size);
        let next_page_token = last.map(|view| view.name.to_string()).unwrap_or_default();
        let triggers = views.into_iter().map(convert::trigger).collect();
        Ok(Response::new(v1::ListTriggersResponse { triggers, next_page_token }))
    }

    async fn resume(&self, request: Request<v1::ResumeTriggerRequest>) -> Result<Response<v1::Trigger>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let name = TriggerName {
            project: project(&caller, &request.project).or_status()?,
            agent: parse("agent", &request.agent).or_status()?,
            trigger: parse("name", &request.name).or_status()?,
        };
        let resume = convert::resume_from(&request.from).or_status()?;
        let change = Change::new("resume trigger", &name).with(json!({ "from": request.from }));
        let view = self.change(&caller, change, self.steward.resume_trigger(&name, resume)).await.or_status()?;
        Ok(Response::new(convert::trigger(view)))
    }
}
