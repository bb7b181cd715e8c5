//! Budgets: balances, statements and audits. Limits are set through the project.

use steward_types::limits::PAGE_ITEMS_MAX;
use steward_types::{AgentId, ProjectId};

use super::{Failure, Steward};
use crate::budget::{Audit, AuditReceipts, Balance, Scope, Statement, StatementRequest, audit, statement};

/// A project's balance and those of its agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetTree {
    /// The project's.
    pub project: Balance,
    /// Its agents', by name; an agent that never spent and has no limit has none.
    pub agents: Vec<(AgentId, Balance)>,
}

impl Steward {
    /// A project's balance and those of its agents.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`](steward_types::ErrorCode::ProjectNotFound).
    pub async fn budget(&self, project: &ProjectId) -> Result<BudgetTree, Failure> {
        let balance = self.balance(project, Scope::Project).await?;
        let missing = || Failure::from(crate::budget::LedgerError::NoBudget { project: project.clone() });
        let mut agents = Vec::new();
        for agent in self.agents(project, None, PAGE_ITEMS_MAX).await? {
            if let Some(balance) = self.balance(project, Scope::Agent(agent.id.clone())).await? {
                agents.push((agent.id, balance));
            }
        }
        Ok(BudgetTree { project: balance.ok_or_else(missing)?, agents })
    }

    /// How a project, an agent or a spender stands; absent when it never spent and has no limit.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`](steward_types::ErrorCode::ProjectNotFound).
    pub async fn balance(&self, project: &ProjectId, scope: Scope) -> Result<Option<Balance>, Failure> {
        let request = StatementRequest { entries_max: 1, ..StatementRequest::all(scope) };
        Ok(self.statement(project, &request).await?.balance)
    }

    /// A page of a statement.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`](steward_types::ErrorCode::ProjectNotFound).
    pub async fn statement(&self, project: &ProjectId, request: &StatementRequest) -> Result<Statement, Failure> {
        Ok(statement(self.store().as_ref(), project, request, self.clock().now()).await?)
    }

    /// Adds everything up again, receipts included.
    ///
    /// # Errors
    /// [`ErrorCode::ProjectNotFound`](steward_types::ErrorCode::ProjectNotFound). A difference is no error.
    pub async fn audit(&self, project: &ProjectId) -> Result<Audit, Failure> {
        Ok(audit(self.store().as_ref(), project, AuditReceipts::Compare).await?)
    }
}
