//! What a chain's transaction does: take orders out of their queue, and settle those that ended: the outcome, the price,
//! the receipt and the word to those who wait, in one.

use steward_adapters::outbox::Outcome;
use steward_receipts::{Hash, Leaf};
use steward_scripting::canonical_hash;
use steward_storage::{RangeRead, Store, StoreError, StoreExt, TransactionError, Txn, key};
use steward_types::{Amount, Micros, ProjectId, Timestamp};
use thiserror::Error;

use super::place::Waiter;
use super::records::{self, Order, OrderOutcome, OrderRecord};
use crate::budget::{AccountId, LedgerError, ledger};
use crate::chain::spending::Tally;
use crate::host::Fault;
use crate::lease::LeaseError;
use crate::receipt_log;

/// An order that has ended.
#[derive(Debug, Clone)]
pub(in crate::chain) struct Ended {
    pub(in crate::chain) order: Order,
    /// The transaction that landed, or why the chain refused to make one.
    pub(in crate::chain) end: Result<Outcome, String>,
}

/// Why a chain's transaction was not made.
#[derive(Debug, Error)]
pub(in crate::chain) enum SettleError {
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("a step could not be settled")]
    Ledger(#[source] LedgerError),
}

impl From<StoreError> for SettleError {
    fn from(error: StoreError) -> Self {
        Self::Lease(LeaseError::Store(error))
    }
}

impl From<LedgerError> for SettleError {
    fn from(error: LedgerError) -> Self {
        match error {
            LedgerError::Store(error) => error.into(),
            other => Self::Ledger(other),
        }
    }
}

impl From<SettleError> for Fault {
    fn from(error: SettleError) -> Self {
        match error {
            SettleError::Lease(error) => error.into(),
            other => Self::transient(other),
        }
    }
}

impl TransactionError for SettleError {
    fn store_error(&self) -> Option<&StoreError> {
        match self {
            Self::Lease(error) => error.store_error(),
            Self::Ledger(_) => None,
        }
    }
}

/// Orders of one project that wait in its queue, with their rows.
pub(in crate::chain) type Waiting = Vec<(Vec<u8>, Order)>;

/// The oldest orders that the chain has not taken of the first project behind this one that has any, at most so many.
pub(in crate::chain) async fn waiting_orders(
    store: &dyn Store,
    chain: &str,
    behind: Option<&ProjectId>,
    most: impl Fn(&ProjectId) -> usize + Send + Sync,
) -> Result<Option<(ProjectId, Waiting)>, StoreError> {
    let all = RangeRead::prefix(&records::queue(chain)).limit(1).snapshot();
    let behind = behind.map(|project| key::prefix_range(&records::queue_of(chain, project)).1);
    let first = RangeRead { begin: behind.unwrap_or_else(|| all.begin.clone()), ..all };
    let first = &first;
    let page = store.run(|txn| async move { txn.scan::<Order>(first.clone()).await }).await?;
    let Some((_, oldest)) = page.rows.into_iter().next() else { return Ok(None) };
    let project = oldest.project;
    let most = most(&project);
    if most == 0 {
        return Ok(Some((project, Vec::new())));
    }
    let range = RangeRead::prefix(&records::queue_of(chain, &project)).limit(most).snapshot();
    let range = &range;
    let page = store.run(|txn| async move { txn.scan::<Order>(range.clone()).await }).await?;
    let waiting = page.rows.into_iter().map(|(row, order)| (row.to_vec(), order)).collect();
    Ok(Some((project, waiting)))
}

/// Takes an order's row out of the queue: its intent is written in the same transaction.
pub(in crate::chain) fn take_out(txn: &Txn, row: &[u8]) -> Result<(), StoreError> {
    txn.clear(row)
}

/// The steps whose orders have ended and that are not known to have heard of it.
pub(in crate::chain) async fn owed(store: &dyn Store, chain: &str) -> Result<Vec<Waiter>, StoreError> {
    let (mut found, mut rest) = (Vec::new(), Some(RangeRead::prefix(&records::all_owed(chain)).snapshot()));
    let txn = store.begin();
    while let Some(range) = rest.take() {
        let page = txn.range(range.clone()).await?;
        for (row, _) in &page.rows {
            found.push(records::read_owed(row)?);
        }
        rest = range.after(&page);
    }
    Ok(found)
}

/// A step has heard of its order's end, or does not want to any more.
pub(in crate::chain) async fn told(store: &dyn Store, chain: &str, waiter: &Waiter) -> Result<(), StoreError> {
    let row = &records::owed(chain, waiter);
    store.run(|txn| async move { txn.clear(row) }).await
}

/// Settles an order that has ended, once. Returns the steps that waited for it, which are owed a word from now on.
pub(in crate::chain) async fn settle(
    txn: &Txn,
    chain: &str,
    ended: &Ended,
    now: Timestamp,
) -> Result<Vec<Waiter>, SettleError> {
    let Ended { order, end } = ended;
    let row = records::record(&order.id);
    let known = txn.load::<OrderRecord>(&row).await?;
    if known.is_some_and(|record| record.outcome.is_some()) {
        return Ok(Vec::new());
    }
    let outcome = outcome_of(order, end, now);
    pay(txn, order, end.is_ok(), &outcome).await?;
    let tally = records::project_tally(chain, &order.project);
    let mut of_project = txn.load::<Tally>(&tally).await?.unwrap_or_default();
    of_project.open = of_project.open.saturating_sub(1);
    txn.save(&tally, &of_project)?;
    let record = OrderRecord { chain: chain.to_owned(), project: order.project.clone(), outcome: Some(outcome) };
    txn.save(&row, &record)?;
    take_waiters(txn, chain, order).await
}

fn outcome_of(order: &Order, end: &Result<Outcome, String>, at: Timestamp) -> OrderOutcome {
    match end {
        Ok(landed) => {
            let reason = (!landed.succeeded).then(|| "the transaction is final and failed".to_owned());
            let fee = landed.fee.unwrap_or(order.fee_max);
            OrderOutcome {
                succeeded: landed.succeeded,
                transaction: Some(landed.hash.clone()),
                block: Some(landed.block),
                fee,
                price: price_of(order, fee),
                reason,
                at,
            }
        }
        Err(reason) => OrderOutcome {
            succeeded: false,
            transaction: None,
            block: None,
            fee: Amount::ZERO,
            price: Micros::ZERO,
            reason: Some(reason.clone()),
            at,
        },
    }
}

/// What the order costs: at most what is held for it. No transaction was sent whose fee could be above its cap, so that
/// only a chain that took more than was offered is cut here, and told to the operator, who bears it.
fn price_of(order: &Order, fee: Amount) -> Micros {
    let price = order.fee_price.of(fee).and_then(|price| price.add(order.call_price).ok());
    match price {
        Some(price) if price <= order.held => price,
        _ => {
            tracing::error!(order = %order.id, %fee, held = %order.held, "a chain took more than its fee could be");
            order.held
        }
    }
}

/// Pays for a transaction that landed, whether or not it did what it was to do; gives the hold back for one that was
/// never sent.
async fn pay(txn: &Txn, order: &Order, landed: bool, outcome: &OrderOutcome) -> Result<(), SettleError> {
    let account = AccountId::session(order.project.clone(), order.agent.clone(), order.id.session);
    let paid = if landed {
        ledger::settle(txn, &account, order.hold, outcome.price, outcome.at).await.map(drop)
    } else {
        ledger::release(txn, &account, order.hold, outcome.at).await.map(drop)
    };
    match paid {
        Ok(()) if landed => Ok(receipt_log::append_pending(txn, &leaf(order, outcome)).await?),
        Ok(()) => Ok(()),
        // A bug of ours must not stop the chain for everybody: the audit of the budget names it.
        Err(error @ LedgerError::HoldNotOpen { .. }) => {
            tracing::error!(order = %order.id, %error, "an order's hold was not open when it ended");
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn leaf(order: &Order, outcome: &OrderOutcome) -> Leaf {
    let millis = outcome.at.saturating_since(order.recorded).as_millis();
    Leaf {
        project: order.project.clone(),
        agent: order.agent.clone(),
        session: order.id.session,
        turn: order.id.turn,
        step: order.id.step.clone(),
        hold: order.hold,
        function: order.function.parse().expect("a host function's name is fit for a receipt"),
        model: None,
        prompt_hash: Hash::from_bytes(order.arguments_hash),
        response_hash: Hash::from_bytes(canonical_hash("result", &outcome.to_script())),
        tokens_in: 0,
        tokens_out: 0,
        duration_ms: u64::try_from(millis).unwrap_or(u64::MAX),
        price: outcome.price,
        time: outcome.at,
    }
}

async fn take_waiters(txn: &Txn, chain: &str, order: &Order) -> Result<Vec<Waiter>, SettleError> {
    let (mut found, mut rest) = (Vec::new(), Some(RangeRead::prefix(&records::waiters(chain, &order.id))));
    while let Some(range) = rest.take() {
        let page = txn.range(range.clone()).await?;
        for (row, _) in &page.rows {
            let waiter = records::read_waiter(row)?;
            txn.clear(row)?;
            txn.set(&records::owed(chain, &waiter), &[])?;
            found.push(waiter);
        }
        rest = range.after(&page);
    }
    Ok(found)
}
