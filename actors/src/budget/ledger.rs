//! The ledger: holds, settlements and allowances, as functions over a transaction of the caller's.
//!
//! Each function may be called twice with the same hold and the same amounts, in one transaction or in two: the second
//! call changes nothing and answers as the first. So a transaction whose commit is unknown is simply run again.

use steward_storage::Txn;
use steward_types::{AgentId, Micros, ProjectId, Timestamp};

use super::account::Account;
use super::account_id::AccountId;
use super::error::LedgerError;
use super::level::Level;
use super::period::{Day, Period};
use super::price::PriceList;
use super::records;

mod allowance;
mod holds;

pub use allowance::{affordable, close_account, return_allowance};
pub use holds::{HoldRequest, Settled, grow_to, grow_up_to, release, reserve, settle};

/// Gives a project a budget. Changes nothing when it has one.
///
/// # Errors
/// [`LedgerError::Store`].
pub async fn open_project(
    txn: &Txn,
    project: &ProjectId,
    limit: Option<Micros>,
    period: Period,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let key = records::level(project);
    if txn.load::<Level>(&key).await?.is_none() {
        txn.save(&key, &Level::new(limit, period, Day::of(now)))?;
    }
    Ok(())
}

/// Sets a project's limit and period. A limit below what is already out stops new allowances and takes nothing back.
///
/// # Errors
/// [`LedgerError::NoBudget`] for an unknown project.
pub async fn set_limit(
    txn: &Txn,
    project: &ProjectId,
    limit: Option<Micros>,
    period: Period,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let key = records::level(project);
    let no_budget = || LedgerError::NoBudget { project: project.clone() };
    let mut level = txn.load::<Level>(&key).await?.ok_or_else(no_budget)?;
    level.set_limit(limit, period, Day::of(now));
    Ok(txn.save(&key, &level)?)
}

/// Sets how much a spender takes from the project at a time.
///
/// # Errors
/// [`LedgerError::NoBudget`] for an unknown project.
pub async fn set_slice(txn: &Txn, project: &ProjectId, slice: Micros) -> Result<(), LedgerError> {
    let key = records::level(project);
    let no_budget = || LedgerError::NoBudget { project: project.clone() };
    let mut level = txn.load::<Level>(&key).await?.ok_or_else(no_budget)?;
    level.slice = slice;
    Ok(txn.save(&key, &level)?)
}

/// Sets an agent's limit and period; see [`set_limit`].
///
/// # Errors
/// [`LedgerError::Store`].
pub async fn set_agent_limit(
    txn: &Txn,
    project: &ProjectId,
    agent: &AgentId,
    limit: Option<Micros>,
    period: Period,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let key = records::agent_level(project, agent);
    let mut level = txn.load::<Level>(&key).await?.unwrap_or_else(|| Level::new(limit, period, Day::of(now)));
    level.set_limit(limit, period, Day::of(now));
    Ok(txn.save(&key, &level)?)
}

/// The project's price list; the default list when none was set.
///
/// # Errors
/// [`LedgerError::Store`].
pub async fn prices(txn: &Txn, project: &ProjectId) -> Result<PriceList, LedgerError> {
    Ok(txn.load(&records::prices(project)).await?.unwrap_or_default())
}

/// Sets the project's price list, for steps that are held from now on.
///
/// # Errors
/// [`LedgerError::Store`].
pub fn set_prices(txn: &Txn, project: &ProjectId, prices: &PriceList) -> Result<(), LedgerError> {
    Ok(txn.save(&records::prices(project), prices)?)
}

/// Opens a session's account with the session's own limit. Changes nothing when it is open, and opens it again when it
/// was closed.
///
/// # Errors
/// [`LedgerError::Store`].
pub async fn open_session(
    txn: &Txn,
    account: &AccountId,
    limit: Option<Micros>,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let key = records::account(&account.project, &account.owner);
    let mut row = match txn.load::<Account>(&key).await? {
        Some(row) if !row.closed => return Ok(()),
        Some(row) => row,
        None => Account::new(account.agent.clone(), limit, now),
    };
    row.closed = false;
    Ok(txn.save(&key, &row)?)
}

#[cfg(test)]
mod tests;
