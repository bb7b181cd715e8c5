//! What a session's transaction does: record an order once the rules allow it, and wait for one.

use steward_storage::{RangeRead, Store, StoreError, StoreExt, Txn};
use steward_types::limits::{CHAIN_ORDERS_MAX, CHAIN_WAITERS_MAX};
use steward_types::{AgentId, ProjectId, SessionId, StepPath, Timestamp};

use super::error::OrderError;
use super::id::OrderId;
use super::records::{self, Order, OrderRecord};
use crate::budget::Day;
use crate::chain::spending::{Policy, Spend, Spent, Tally};
use crate::pause::{self, PauseSubject};

/// An order that is to be recorded.
#[derive(Debug, Clone)]
pub(crate) struct NewOrder {
    pub(crate) chain: String,
    pub(crate) order: Order,
    pub(crate) spend: Spend,
    pub(crate) policy: Policy,
}

/// A step that waits for an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) session: SessionId,
    pub(crate) turn: u64,
    pub(crate) step: StepPath,
}

/// Records an order and counts what it spends, or does neither. The sums are read in the transaction that writes them, so
/// that two orders cannot both take what is left of a day.
pub(crate) async fn place(txn: &Txn, new: &NewOrder, now: Timestamp) -> Result<(), OrderError> {
    let NewOrder { chain, order, spend, policy } = new;
    let (project, agent) = (&order.project, &order.agent);
    let paused = match pause::of(txn, &PauseSubject::Chain(chain.clone())).await? {
        Some(paused) => Some(paused),
        None => pause::of_agent(txn, project, agent).await?,
    };
    if let Some(paused) = paused {
        return Err(OrderError::Paused(paused));
    }
    let rows = [records::project_tally(chain, project), records::agent_tally(chain, project, agent)];
    let mut of_project = txn.load::<Tally>(&rows[0]).await?.unwrap_or_default();
    let mut of_agent = txn.load::<Tally>(&rows[1]).await?.unwrap_or_default();
    if of_project.open >= CHAIN_ORDERS_MAX {
        return Err(OrderError::Full);
    }
    let (asset, today) = (spend.asset.as_deref(), Day::of(now));
    let spent = Spent { agent: of_agent.spent(asset, today), project: of_project.spent(asset, today) };
    policy.judge(spend, spent, now)?;
    let is_counted = of_project.count(asset, spend.amount, today) && of_agent.count(asset, spend.amount, today);
    if !is_counted {
        return Err(OrderError::Full);
    }
    of_project.open += 1;
    txn.save(&rows[0], &of_project)?;
    txn.save(&rows[1], &of_agent)?;
    txn.save(&records::queued(chain, order), order)?;
    let record = OrderRecord { chain: chain.clone(), project: project.clone(), outcome: None };
    Ok(txn.save(&records::record(&order.id), &record)?)
}

/// What was spent of an asset today, as of now: the transaction that records an order reads it again.
pub(crate) async fn spent_today(
    store: &dyn Store,
    chain: &str,
    project: &ProjectId,
    agent: &AgentId,
    asset: Option<&str>,
    now: Timestamp,
) -> Result<Spent, StoreError> {
    let rows = [records::project_tally(chain, project), records::agent_tally(chain, project, agent)];
    let (rows, today) = (&rows, Day::of(now));
    store
        .run(|txn| async move {
            let of_project = txn.load_snapshot::<Tally>(&rows[0]).await?.unwrap_or_default();
            let of_agent = txn.load_snapshot::<Tally>(&rows[1]).await?.unwrap_or_default();
            Ok::<_, StoreError>(Spent { agent: of_agent.spent(asset, today), project: of_project.spent(asset, today) })
        })
        .await
}

/// An order as its session sees it. The transaction fails to commit if that changes.
pub(crate) async fn order_of(txn: &Txn, id: &OrderId) -> Result<Option<OrderRecord>, StoreError> {
    txn.load(&records::record(id)).await
}

/// Notes that a step waits for an order, unless that has ended. When so many do that no more can be told in the transaction
/// that settles the order, the step is left to look by itself.
pub(crate) async fn await_order(txn: &Txn, id: &OrderId, waiter: &Waiter) -> Result<(), OrderError> {
    let record = order_of(txn, id).await?;
    let Some(record) = record.filter(|record| record.outcome.is_none()) else { return Err(OrderError::Ended) };
    let others = RangeRead::prefix(&records::waiters(&record.chain, id)).limit(CHAIN_WAITERS_MAX).snapshot();
    if txn.range(others).await?.rows.len() >= CHAIN_WAITERS_MAX {
        return Ok(());
    }
    let Waiter { session, turn, step } = waiter;
    Ok(txn.set(&records::waiter(&record.chain, id, *session, *turn, step), &[])?)
}

/// Forgets that a step waits for an order.
pub(crate) async fn forget_waiter(txn: &Txn, id: &OrderId, waiter: &Waiter) -> Result<(), StoreError> {
    let Some(record) = order_of(txn, id).await? else { return Ok(()) };
    let Waiter { session, turn, step } = waiter;
    txn.clear(&records::waiter(&record.chain, id, *session, *turn, step))
}
