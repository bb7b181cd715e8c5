//! The Approvals service.

use futures::TryStreamExt;
use serde_json::json;
use steward_actors::service::{ApprovalFilter, Decision};
use steward_actors::session::ApprovalId;
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use super::stream::Answers;
use crate::call::{caller, page_size, parse, parse_json, parse_optional, stream_deadline};
use crate::convert::approvals as convert;
use crate::proto::v1;
use crate::proto::v1::approvals_server::Approvals;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Approvals for Services {
    type WatchStream = Answers<v1::Approval>;

    async fn list(
        &self,
        request: Request<v1::ListApprovalsRequest>,
    ) -> Result<Response<v1::ListApprovalsResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let filter = ApprovalFilter {
            state: convert::state_from(request.state).or_status()?,
            session: parse_optional("session", &request.session).or_status()?,
        };
        let after: Option<ApprovalId> = parse_optional("page_token", &request.page_token).or_status()?;
        let size = page_size(request.page_size);
        let found = self.steward.approvals(&project, &filter, after.as_ref(), size).await.or_status()?;
        let last = found.last().filter(|_| found.len() == size);
        let next_page_token = last.map(|approval| approval.id.to_string()).unwrap_or_default();
        let approvals = found.into_iter().map(convert::approval).collect();
        Ok(Response::new(v1::ListApprovalsResponse { approvals, next_page_token }))
    }

    async fn decide(&self, request: Request<v1::DecideApprovalRequest>) -> Result<Response<v1::Approval>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let id = parse("id", &request.id).or_status()?;
        let decision = Decision {
            approved: request.approved,
            answer: parse_json("answer_json", &request.answer_json).or_status()?,
            comment: Some(request.comment).filter(|comment| !comment.is_empty()),
            decided_by: caller.key.clone(),
        };
        let (reach, told) = (caller.reach(), json!({ "approved": decision.approved, "comment": decision.comment }));
        let change = Change::new("decide approval", &id).with(told);
        let deciding = self.steward.decide(&reach, id, decision);
        let approval = self.change(&caller, change, deciding).await.or_status()?;
        Ok(Response::new(convert::approval(approval)))
    }

    async fn watch(&self, request: Request<v1::WatchApprovalsRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let (caller, deadline) = (caller(&request)?, stream_deadline(&request));
        let project = self.project(&caller, &request.get_ref().project).await.or_status()?;
        let changes = self.steward.watch_approvals(project).map_ok(convert::approval);
        Ok(Response::new(self.answers(changes, deadline)))
    }
}
