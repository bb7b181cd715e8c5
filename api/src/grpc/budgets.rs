//! The Budgets service.

use serde_json::json;
use steward_actors::budget::{Scope, StatementRequest};
use steward_actors::project::Role;
use steward_actors::service::Failure;
use steward_types::{AgentId, Micros};
use tonic::{Request, Response, Status};

use super::Services;
use super::changes::Change;
use crate::call::{caller, page_size, parse, parse_optional, project, require};
use crate::convert::projects::period_from;
use crate::convert::{budgets as convert, time_from};
use crate::proto::v1;
use crate::proto::v1::budgets_server::Budgets;
use crate::status::OrStatus;

#[tonic::async_trait]
impl Budgets for Services {
    async fn get(&self, request: Request<v1::GetBudgetRequest>) -> Result<Response<v1::GetBudgetResponse>, Status> {
        let project = self.project(&caller(&request)?, &request.get_ref().project).await.or_status()?;
        let tree = self.steward.budget(&project).await.or_status()?;
        let agent = |(id, balance): &(AgentId, _)| convert::balance(format!("agent/{id}"), balance);
        Ok(Response::new(v1::GetBudgetResponse {
            balance: Some(convert::balance("project".to_owned(), &tree.project)),
            agents: tree.agents.iter().map(agent).collect(),
        }))
    }

    async fn set_limit(&self, request: Request<v1::SetLimitRequest>) -> Result<Response<v1::Balance>, Status> {
        let caller = caller(&request)?;
        require(&caller, Role::Admin).or_status()?;
        let request = request.into_inner();
        let project = project(&caller, &request.project).or_status()?;
        let agent: Option<AgentId> = parse_optional("agent", &request.agent).or_status()?;
        let period = period_from(request.period).or_status()?;
        let limit = request.limit_micros.map(Micros::new);
        let told = json!({ "agent": agent, "limit": limit, "period": period });
        let change = Change::new("set limit", &project).with(told);
        let setting = self.steward.set_limit(&project, agent.clone(), limit, period);
        self.change(&caller, change, setting).await.or_status()?;
        let (scope, name) = match agent {
            Some(agent) => (Scope::Agent(agent.clone()), format!("agent/{agent}")),
            None => (Scope::Project, "project".to_owned()),
        };
        let balance = self.steward.balance(&project, scope).await.or_status()?;
        let balance = balance.map(|found| convert::balance(name, &found)).unwrap_or_default();
        Ok(Response::new(balance))
    }

    async fn statement(
        &self,
        request: Request<v1::StatementRequest>,
    ) -> Result<Response<v1::StatementResponse>, Status> {
        let caller = caller(&request)?;
        let request = request.into_inner();
        let project = self.project(&caller, &request.project).await.or_status()?;
        let (scope, name) = scope(&request.agent, &request.spender).or_status()?;
        let wanted = StatementRequest {
            scope,
            from: request.from.map(|time| time_from("from", &time)).transpose().or_status()?,
            until: request.until.map(|time| time_from("until", &time)).transpose().or_status()?,
            entries_max: page_size(request.page_size),
            after: Some(request.page_token).filter(|token| !token.is_empty()),
        };
        let statement = self.steward.statement(&project, &wanted).await.or_status()?;
        Ok(Response::new(convert::statement(name, statement)))
    }

    async fn audit(&self, request: Request<v1::AuditRequest>) -> Result<Response<v1::AuditResponse>, Status> {
        let project = self.project(&caller(&request)?, &request.get_ref().project).await.or_status()?;
        let audit = self.steward.audit(&project).await.or_status()?;
        Ok(Response::new(convert::audit(audit)))
    }
}

fn scope(agent: &str, spender: &str) -> Result<(Scope, String), Failure> {
    match (agent, spender) {
        ("", "") => Ok((Scope::Project, "project".to_owned())),
        (agent, "") => Ok((Scope::Agent(parse("agent", agent)?), format!("agent/{agent}"))),
        ("", spender) => Ok((Scope::Owner(parse("spender", spender)?), spender.to_owned())),
        _ => Err(Failure::field("spender", "name an agent or a spender, not both")),
    }
}
