//! The entity of a project's budget: sweeps it from time to time, sets limits and prices, answers statements.
//!
//! Steps do not pass through it: they hold and settle in their own transactions, which keep the ledger right whoever
//! runs them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::json;
use steward_storage::{Store, Txn};
use steward_types::limits::SWEEP_TIME;
use steward_types::{AgentId, ErrorCode, Micros, ProjectId, Timestamp};

use super::audit::{Audit, AuditReceipts, audit};
use super::error::LedgerError;
use super::ledger::{prices, set_agent_limit, set_limit, set_prices, set_slice};
use super::period::Period;
use super::price::PriceList;
use super::statement::{Statement, StatementRequest, statement};
use super::sweep::{Sweep, Swept, sweep};
use crate::host::{Context, Entity, EntityId, Fault, Reply};
use crate::lease::Fence;

/// What the node gives its budgets.
#[derive(Debug, Clone)]
pub struct BudgetEnvironment {
    /// Where the ledger lies.
    pub store: Arc<dyn Store>,
}

/// What can be asked of a budget.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BudgetRequest {
    /// Be there: the budget then sweeps by itself.
    Wake,
    /// A page of a statement.
    Statement(StatementRequest),
    /// Set the project's limit and period.
    SetLimit(Option<Micros>, Period),
    /// Set an agent's limit and period.
    SetAgentLimit(AgentId, Option<Micros>, Period),
    /// Set how much a spender takes at a time.
    SetSlice(Micros),
    /// The price list.
    Prices,
    /// Set the price list.
    SetPrices(PriceList),
    /// Take back at once what lies free with spenders, because the budget seems used up.
    Reclaim,
    /// Recompute everything.
    Audit,
}

/// What a budget answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum BudgetResponse {
    /// It is done.
    Done,
    /// A page of a statement.
    Statement(Box<Statement>),
    /// The price list.
    Prices(Box<PriceList>),
    /// So much returned.
    Reclaimed(Micros),
    /// What was found.
    Audit(Box<Audit>),
    /// It cannot be done.
    Refused(ErrorCode, String),
}

/// What the sweeping worker says.
#[derive(Debug)]
pub enum BudgetEvent {
    /// It swept.
    Swept(Swept, Timestamp),
    /// It cannot go on.
    Failed(Fault),
}

/// The entity of a project's budget.
#[derive(Debug)]
pub struct Budget {
    project: ProjectId,
    sweeps: u64,
    returned: Micros,
    holds_released: u64,
    swept_at: Option<Timestamp>,
}

impl Entity for Budget {
    const KIND: &'static str = "budget";
    const RESIDENT: bool = true;
    const IDEMPOTENT: bool = true;
    type Environment = BudgetEnvironment;
    type Request = BudgetRequest;
    type Response = BudgetResponse;
    type Event = BudgetEvent;

    async fn activate(id: EntityId, context: Context<Self>) -> Result<Self, Fault> {
        let project: ProjectId = id.as_str().parse().map_err(Fault::corrupt)?;
        context.work(sweep_for_ever(project.clone(), context.clone()));
        Ok(Self { project, sweeps: 0, returned: Micros::ZERO, holds_released: 0, swept_at: None })
    }

    async fn handle(
        &mut self,
        request: BudgetRequest,
        reply: Reply<BudgetResponse>,
        context: &Context<Self>,
    ) -> Result<(), Fault> {
        let (project, context, now) = (self.project.clone(), context.clone(), context.clock().now());
        context.clone().run(async move {
            let answer = answer(&*context.environment().store, &context.fence(), &project, request, now).await;
            if matches!(answer, Err(LedgerError::Fenced)) {
                context.events().send(BudgetEvent::Failed(Fault::Fenced));
            }
            reply.send(answer.unwrap_or_else(|error| {
                let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
                BudgetResponse::Refused(error.code(), format!("{error}{cause}"))
            }));
        });
        Ok(())
    }

    async fn on_event(&mut self, event: BudgetEvent, _context: &Context<Self>) -> Result<(), Fault> {
        match event {
            BudgetEvent::Swept(swept, at) => {
                self.sweeps += 1;
                self.returned = Micros::new(self.returned.get().saturating_add(swept.returned.get()));
                self.holds_released += swept.holds_released;
                self.swept_at = Some(at);
                Ok(())
            }
            BudgetEvent::Failed(fault) => Err(fault),
        }
    }

    fn observe(&self) -> serde_json::Value {
        json!({
            "project": self.project.as_str(),
            "sweeps_since_activation": self.sweeps,
            "returned_since_activation": self.returned.to_string(),
            "holds_released_since_activation": self.holds_released,
            "swept_at": self.swept_at.map(|at| at.to_string()),
        })
    }

    fn is_idle(&self) -> bool {
        // It is resident, so this only lets a drain go on: what it does is done in transactions of its own.
        true
    }
}

async fn sweep_for_ever(project: ProjectId, context: Context<Budget>) -> BudgetEvent {
    let store = Arc::clone(&context.environment().store);
    loop {
        let now = context.clock().now();
        match sweep(&*store, &context.fence(), &project, Sweep::Expired, now).await {
            Ok(swept) => {
                context.events().send(BudgetEvent::Swept(swept, now));
                if swept.more {
                    continue;
                }
            }
            Err(LedgerError::Fenced) => return BudgetEvent::Failed(Fault::Fenced),
            Err(LedgerError::Store(error)) => return BudgetEvent::Failed(error.into()),
            Err(error) => return BudgetEvent::Failed(Fault::corrupt(error)),
        }
        context.clock().sleep(SWEEP_TIME).await;
    }
}

async fn answer(
    store: &dyn Store,
    fence: &Fence,
    project: &ProjectId,
    request: BudgetRequest,
    now: Timestamp,
) -> Result<BudgetResponse, LedgerError> {
    match request {
        BudgetRequest::Wake => {}
        BudgetRequest::Statement(request) => {
            return Ok(BudgetResponse::Statement(Box::new(statement(store, project, &request, now).await?)));
        }
        BudgetRequest::SetLimit(limit, period) => {
            let set = async |txn: Txn| set_limit(&txn, project, limit, period, now).await;
            fence.run(store, set).await?;
        }
        BudgetRequest::SetAgentLimit(agent, limit, period) => {
            let set = async |txn: Txn| set_agent_limit(&txn, project, &agent, limit, period, now).await;
            fence.run(store, set).await?;
        }
        BudgetRequest::SetSlice(slice) => {
            fence.run(store, async |txn: Txn| set_slice(&txn, project, slice).await).await?;
        }
        BudgetRequest::Prices => {
            return Ok(BudgetResponse::Prices(Box::new(prices(&store.begin(), project).await?)));
        }
        BudgetRequest::SetPrices(list) => {
            fence.run(store, async |txn: Txn| set_prices(&txn, project, &list)).await?;
        }
        BudgetRequest::Reclaim => {
            return Ok(BudgetResponse::Reclaimed(sweep(store, fence, project, Sweep::Idle, now).await?.returned));
        }
        BudgetRequest::Audit => {
            let audit = audit(store, project, AuditReceipts::Compare).await?;
            return Ok(BudgetResponse::Audit(Box::new(audit)));
        }
    }
    Ok(BudgetResponse::Done)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use steward_storage::MemoryStore;
    use steward_types::limits::ALLOWANCE_LEASE_TIME;
    use steward_types::{HoldId, ManualClock};

    use super::*;
    use crate::budget::{AccountId, HoldRequest, Scope, ledger};
    use crate::host::{Host, HostBuilder};
    use crate::lease::{SoleLease, Unleased};

    async fn start() -> (Arc<dyn Store>, Arc<ManualClock>, Host, ProjectId) {
        let clock = Arc::new(ManualClock::new(Timestamp::from_millis(1_795_262_399_999)));
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let project: ProjectId = "acme".parse().unwrap();
        let txn = store.begin();
        let limit = Some(Micros::new(1_000_000));
        ledger::open_project(&txn, &project, limit, Period::None, Timestamp::EPOCH).await.unwrap();
        txn.commit().await.unwrap();
        let environment = BudgetEnvironment { store: Arc::clone(&store) };
        let host = HostBuilder::new(Arc::clone(&clock) as _, Arc::new(Unleased));
        (store, clock, host.register::<Budget>(environment).start().await.unwrap(), project)
    }

    async fn ask(host: &Host, project: &ProjectId, request: BudgetRequest) -> BudgetResponse {
        host.ask::<Budget>(&EntityId::from(project), request, host.deadline_default()).await.unwrap()
    }

    async fn outstanding(host: &Host, project: &ProjectId) -> u64 {
        let request = StatementRequest::all(Scope::Project);
        match ask(host, project, BudgetRequest::Statement(request)).await {
            BudgetResponse::Statement(statement) => statement.balance.unwrap().outstanding.get(),
            other => panic!("{other:?}"),
        }
    }

    async fn hold_by(store: &dyn Store, project: &ProjectId, now: Timestamp) {
        let account = AccountId::key(project.clone(), "ci".to_owned(), 0);
        let request = HoldRequest {
            hold: HoldId::from_bytes([1; 16]),
            step: "call".to_owned(),
            function: "chat".to_owned(),
            worst_case: Micros::new(10),
            expires_at: Some(now.saturating_add(Duration::from_secs(60))),
        };
        let txn = store.begin();
        ledger::reserve(&txn, &account, &request, now).await.unwrap();
        txn.commit().await.unwrap();
    }

    #[tokio::test]
    async fn it_sweeps_by_itself_when_the_time_has_come() {
        let (store, clock, host, project) = start().await;
        ask(&host, &project, BudgetRequest::Wake).await;
        hold_by(&*store, &project, steward_types::Clock::now(&*clock)).await;
        assert_eq!(outstanding(&host, &project).await, 100_000);
        // Each turn of the loop lets the sweeper run; it may need several, because it sleeps between two sweeps.
        for _ in 0..10_000 {
            clock.advance(ALLOWANCE_LEASE_TIME);
            tokio::task::yield_now().await;
            if outstanding(&host, &project).await == 0 {
                return;
            }
        }
        panic!("nothing was swept");
    }

    #[tokio::test]
    async fn it_sets_limits_and_prices_and_finds_the_ledger_exact() {
        let (store, clock, host, project) = start().await;
        hold_by(&*store, &project, steward_types::Clock::now(&*clock)).await;
        let limit = BudgetRequest::SetLimit(Some(Micros::new(5)), Period::Daily);
        assert!(matches!(ask(&host, &project, limit).await, BudgetResponse::Done));
        let BudgetResponse::Reclaimed(returned) = ask(&host, &project, BudgetRequest::Reclaim).await else { panic!() };
        assert_eq!(returned, Micros::new(99_990));
        ask(&host, &project, BudgetRequest::SetPrices(PriceList::free())).await;
        let BudgetResponse::Prices(list) = ask(&host, &project, BudgetRequest::Prices).await else { panic!() };
        assert_eq!(*list, PriceList::free());
        let BudgetResponse::Audit(audit) = ask(&host, &project, BudgetRequest::Audit).await else { panic!() };
        assert!(audit.is_exact(), "{audit:#?}");
        assert_eq!((audit.held.get(), audit.outstanding.get()), (10, 10));
        let unknown: ProjectId = "nobody".parse().unwrap();
        let refused = ask(&host, &unknown, BudgetRequest::Audit).await;
        assert!(matches!(refused, BudgetResponse::Refused(ErrorCode::ProjectNotFound, _)));
    }

    #[tokio::test]
    async fn who_lost_the_lease_changes_nothing() {
        let (store, clock, _, project) = start().await;
        let now = steward_types::Clock::now(&*clock);
        hold_by(&*store, &project, now).await;
        let older = Fence::new(Arc::new(SoleLease::take(&*store).await.unwrap()), 0);
        let newer = Fence::new(Arc::new(SoleLease::take(&*store).await.unwrap()), 0);
        let requests = [
            BudgetRequest::SetLimit(Some(Micros::new(5)), Period::Daily),
            BudgetRequest::SetAgentLimit("clerk".parse().unwrap(), None, Period::None),
            BudgetRequest::SetSlice(Micros::new(5)),
            BudgetRequest::SetPrices(PriceList::free()),
            BudgetRequest::Reclaim,
        ];
        for request in requests {
            let refused = answer(&*store, &older, &project, request.clone(), now).await;
            assert!(matches!(refused, Err(LedgerError::Fenced)), "{request:?}: {refused:?}");
            answer(&*store, &newer, &project, request, now).await.unwrap();
        }
    }
}
