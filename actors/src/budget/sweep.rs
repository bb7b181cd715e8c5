//! Sweeping: allowances that nobody used return to their levels, and holds that nobody finished are released.

use steward_storage::{RangeRead, Store};
use steward_types::limits::{ALLOWANCE_LEASE_TIME, SWEEP_ROWS_MAX};
use steward_types::{Micros, ProjectId, Timestamp};

use super::account::Account;
use super::account_id::{AccountId, Owner};
use super::error::LedgerError;
use super::ledger::{release, return_allowance};
use super::records;
use crate::lease::Fence;

/// Which allowances a sweep returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sweep {
    /// Those whose lease ran out.
    Expired,
    /// All that lie free, because a budget seems used up while others sit on theirs. Spenders in hand take them anew.
    Idle,
}

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Accounts that were looked at.
    pub accounts: u64,
    /// What returned to the levels.
    pub returned: Micros,
    /// Forgotten holds that were released.
    pub holds_released: u64,
    /// Whether there is more to do at once.
    pub more: bool,
}

/// Sweeps a project once, each account in a transaction of its own. Dropping the future between two accounts is safe.
///
/// # Errors
/// [`LedgerError::Store`], and [`LedgerError::Fenced`] once another node has the budget.
pub async fn sweep(
    store: &dyn Store,
    fence: &Fence,
    project: &ProjectId,
    sweep: Sweep,
    now: Timestamp,
) -> Result<Swept, LedgerError> {
    let mut swept = Swept::default();
    release_forgotten(store, fence, project, now, &mut swept).await?;
    let mut range = RangeRead::subspace(&records::leases(project)).snapshot().limit(SWEEP_ROWS_MAX);
    if sweep == Sweep::Expired {
        range.end = records::leases(project).pack(&(now.as_millis().saturating_add(1),));
    }
    let page = store.begin().range(range).await?;
    swept.more |= page.more;
    for (key, _) in &page.rows {
        let (until, owner) = records::unpack_lease(project, key)?;
        let swept_account = |txn| sweep_account(txn, project, owner.clone(), until, sweep, now);
        let returned = fence.run(store, swept_account).await?;
        swept.accounts += 1;
        swept.returned = swept.returned.add(returned)?;
    }
    Ok(swept)
}

async fn release_forgotten(
    store: &dyn Store,
    fence: &Fence,
    project: &ProjectId,
    now: Timestamp,
    swept: &mut Swept,
) -> Result<(), LedgerError> {
    let mut range = RangeRead::subspace(&records::expiries(project)).snapshot().limit(SWEEP_ROWS_MAX);
    range.end = records::expiries(project).pack(&(now.as_millis().saturating_add(1),));
    let page = store.begin().range(range).await?;
    swept.more |= page.more;
    for (key, _) in &page.rows {
        let (owner, hold) = records::unpack_expiry(project, key)?;
        let account = AccountId { project: project.clone(), agent: None, owner };
        let released = fence.run(store, |txn| {
            let account = account.clone();
            async move {
                match release(&txn, &account, hold, now).await {
                    // It was finished meanwhile, and its expiry cleared with it.
                    Err(LedgerError::HoldNotOpen { .. }) => Ok(false),
                    other => other.map(|_| true),
                }
            }
        });
        swept.holds_released += u64::from(released.await?);
    }
    Ok(())
}

async fn sweep_account(
    txn: steward_storage::Txn,
    project: &ProjectId,
    owner: Owner,
    until: Timestamp,
    sweep: Sweep,
    now: Timestamp,
) -> Result<Micros, LedgerError> {
    let lease = records::lease(project, until, &owner);
    let key = records::account(project, &owner);
    let row = txn.load::<Account>(&key).await?.filter(|row| row.lease_until == Some(until));
    let Some(mut row) = row else {
        txn.clear(&lease)?;
        return Ok(Micros::ZERO);
    };
    let next = row.used_at.saturating_add(ALLOWANCE_LEASE_TIME);
    let mut returned = Micros::ZERO;
    let mut next = next;
    if sweep == Sweep::Idle || next <= now {
        let account = AccountId { project: project.clone(), agent: row.agent.clone(), owner: owner.clone() };
        returned = return_allowance(&txn, &account, now).await?;
        // Open holds may still leave something to return.
        let left = txn.load::<Account>(&key).await?.filter(|row| row.lease_until == Some(until));
        let Some(left) = left else { return Ok(returned) };
        (row, next) = (left, now.saturating_add(ALLOWANCE_LEASE_TIME));
    }
    txn.clear(&lease)?;
    txn.set(&records::lease(project, next, &owner), &[])?;
    row.lease_until = Some(next);
    txn.save(&key, &row)?;
    Ok(returned)
}
