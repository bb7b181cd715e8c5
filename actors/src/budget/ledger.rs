//! The ledger: holds, settlements and allowances, as functions over a transaction of the caller's.
//!
//! Each function may be called twice with the same hold and the same amounts, in one transaction or in two: the second
//! call changes nothing and answers as the first. So a transaction whose commit is unknown is simply run again.

use serde::{Deserialize, Serialize};
use steward_storage::{Isolation, Txn};
use steward_types::limits::ALLOWANCE_LEASE_TIME;
use steward_types::{AgentId, HoldId, Micros, ProjectId, Timestamp};

use super::account::Account;
use super::account_id::{AccountId, Owner};
use super::error::{LedgerError, LevelName};
use super::level::Level;
use super::levels::Levels;
use super::period::{Day, Period};
use super::price::PriceList;
use super::records::{self, Hold, HoldState};

/// What a step asks to hold.
#[derive(Debug, Clone)]
pub struct HoldRequest {
    /// The hold; see [`step_hold`](super::step_hold) and [`call_hold`](super::call_hold).
    pub hold: HoldId,
    /// The turn and step (`4/3.1.2`), or the request of a direct call. Shown in statements.
    pub step: String,
    /// The host function or route. Shown in statements.
    pub function: String,
    /// The most that the step may cost, or its first slice.
    pub worst_case: Micros,
    /// When to release the hold if nobody has finished it. A session's holds have none, because the session always
    /// comes back to finish them; a direct call dies with its node, so its hold needs one, later than any answer.
    pub expires_at: Option<Timestamp>,
}

/// What a settled step cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settled {
    /// The most that was held.
    pub held: Micros,
    /// The price that was paid.
    pub price: Micros,
    /// What was given back.
    pub released: Micros,
    /// When it was settled.
    pub at: Timestamp,
}

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

/// Holds a step's worst case. Takes a further allowance from all levels, or from none, when the account is short.
///
/// # Errors
/// [`LedgerError::Exhausted`] when a level has not enough; [`LedgerError::HoldNotOpen`] when the hold was finished.
pub async fn reserve(
    txn: &Txn,
    account: &AccountId,
    request: &HoldRequest,
    now: Timestamp,
) -> Result<Micros, LedgerError> {
    let hold_key = records::hold(&account.project, &account.owner, request.hold);
    match txn.load::<Hold>(&hold_key).await? {
        Some(hold) if hold.state == HoldState::Open => return Ok(hold.held),
        Some(hold) => return Err(LedgerError::HoldNotOpen { hold: request.hold, found: Some(hold.state) }),
        None => {}
    }
    let mut row = load_account(txn, account, now).await?;
    if row.closed {
        return Err(LedgerError::AccountNotOpen { account: account.clone() });
    }
    draw(txn, account, &mut row, request.worst_case, now).await?;
    row.hold(request.worst_case)?;
    row.holds += 1;
    let hold = Hold {
        number: row.holds,
        step: request.step.clone(),
        function: request.function.clone(),
        state: HoldState::Open,
        held: request.worst_case,
        settled: Micros::ZERO,
        opened_at: now,
        finished_at: None,
        expires_at: request.expires_at,
    };
    if let Some(at) = request.expires_at {
        txn.set(&records::expiry(&account.project, at, &account.owner, request.hold), &[])?;
    }
    txn.save(&hold_key, &hold)?;
    save_account(txn, account, row, now).await?;
    Ok(request.worst_case)
}

/// Grows an open hold to `total`. A hold that has so much already stays as it is.
///
/// # Errors
/// [`LedgerError::Exhausted`] as [`reserve`]; then the hold is as before.
pub async fn grow_to(
    txn: &Txn,
    account: &AccountId,
    hold: HoldId,
    total: Micros,
    now: Timestamp,
) -> Result<Micros, LedgerError> {
    let (key, mut entry) = load_open(txn, account, hold).await?;
    let Some(by) = total.get().checked_sub(entry.held.get()).filter(|by| *by > 0).map(Micros::new) else {
        return Ok(entry.held);
    };
    let mut row = load_account(txn, account, now).await?;
    draw(txn, account, &mut row, by, now).await?;
    row.hold(by)?;
    entry.held = total;
    txn.save(&key, &entry)?;
    save_account(txn, account, row, now).await?;
    Ok(total)
}

/// Grows an open hold towards `total`, as far as every level has money: what a stream calls for its next slice, so
/// that it stops exactly at its ceiling. Returns what is held then, which is less than `total` only when a level is
/// used up.
///
/// # Errors
/// [`LedgerError::HoldNotOpen`].
pub async fn grow_up_to(
    txn: &Txn,
    account: &AccountId,
    hold: HoldId,
    total: Micros,
    now: Timestamp,
) -> Result<Micros, LedgerError> {
    match grow_to(txn, account, hold, total, now).await {
        Err(LedgerError::Exhausted { available, .. }) => {
            let (_, entry) = load_open(txn, account, hold).await?;
            grow_to(txn, account, hold, entry.held.add(available)?, now).await
        }
        other => other,
    }
}

/// What the account could hold now on top of its open holds. Reads without conflicts: a later [`reserve`] decides.
///
/// # Errors
/// [`LedgerError::NoBudget`].
pub async fn affordable(txn: &Txn, account: &AccountId, now: Timestamp) -> Result<Micros, LedgerError> {
    let key = records::account(&account.project, &account.owner);
    let row = txn.load_snapshot::<Account>(&key).await?;
    let row = row.unwrap_or_else(|| Account::new(account.agent.clone(), None, now));
    let mut levels = Levels::load(txn, &account.project, row.agent.as_ref(), Isolation::Snapshot, now).await?;
    levels.report(&row.unreported)?;
    let (_, available) = levels.least();
    Ok(Micros::new(row.free.get().saturating_add(available.get())).min(row.limit_left()))
}

/// Pays a step's price out of its hold and releases the rest.
///
/// # Errors
/// [`LedgerError::PriceAboveHold`]; [`LedgerError::HoldNotOpen`] when there is no such hold, or it was released, or
/// settled with another price.
pub async fn settle(
    txn: &Txn,
    account: &AccountId,
    hold: HoldId,
    price: Micros,
    now: Timestamp,
) -> Result<Settled, LedgerError> {
    let key = records::hold(&account.project, &account.owner, hold);
    let missing = LedgerError::HoldNotOpen { hold, found: None };
    let mut entry = txn.load::<Hold>(&key).await?.ok_or(missing)?;
    let held = entry.held;
    if entry.state == HoldState::Settled && entry.settled == price {
        return Ok(Settled { held, price, released: held.sub(price)?, at: entry.finished_at.unwrap_or(now) });
    }
    if entry.state != HoldState::Open {
        return Err(LedgerError::HoldNotOpen { hold, found: Some(entry.state) });
    }
    if price > held {
        return Err(LedgerError::PriceAboveHold { hold, price, held });
    }
    let released = finish(txn, account, hold, &mut entry, HoldState::Settled, price, now).await?;
    txn.save(&key, &entry)?;
    Ok(Settled { held, price, released, at: now })
}

/// Gives a hold back without paying: the step did not happen.
///
/// # Errors
/// [`LedgerError::HoldNotOpen`] when there is no such hold, or it was settled.
pub async fn release(txn: &Txn, account: &AccountId, hold: HoldId, now: Timestamp) -> Result<Micros, LedgerError> {
    let key = records::hold(&account.project, &account.owner, hold);
    let missing = LedgerError::HoldNotOpen { hold, found: None };
    let mut entry = txn.load::<Hold>(&key).await?.ok_or(missing)?;
    match entry.state {
        HoldState::Released => Ok(entry.held),
        HoldState::Settled => Err(LedgerError::HoldNotOpen { hold, found: Some(HoldState::Settled) }),
        HoldState::Open => {
            let released = finish(txn, account, hold, &mut entry, HoldState::Released, Micros::ZERO, now).await?;
            txn.save(&key, &entry)?;
            Ok(released)
        }
    }
}

/// Reports what was settled to the levels and returns what is free. Open holds stay.
///
/// # Errors
/// [`LedgerError::Store`].
pub async fn return_allowance(txn: &Txn, account: &AccountId, now: Timestamp) -> Result<Micros, LedgerError> {
    let key = records::account(&account.project, &account.owner);
    let Some(mut row) = txn.load::<Account>(&key).await? else { return Ok(Micros::ZERO) };
    let returned = give_back(txn, account, &mut row, now).await?;
    save_account(txn, account, row, now).await?;
    Ok(returned)
}

/// Closes an account at its session's end: returns the allowance, and whatever open holds leave later.
///
/// # Errors
/// [`LedgerError::Store`].
pub async fn close_account(txn: &Txn, account: &AccountId, now: Timestamp) -> Result<Micros, LedgerError> {
    let key = records::account(&account.project, &account.owner);
    let Some(mut row) = txn.load::<Account>(&key).await? else { return Ok(Micros::ZERO) };
    row.closed = true;
    let returned = give_back(txn, account, &mut row, now).await?;
    save_account(txn, account, row, now).await?;
    Ok(returned)
}

async fn load_account(txn: &Txn, account: &AccountId, now: Timestamp) -> Result<Account, LedgerError> {
    let row = txn.load::<Account>(&records::account(&account.project, &account.owner)).await?;
    match (row, &account.owner) {
        (Some(row), _) => Ok(row),
        (None, Owner::Key { .. }) => Ok(Account::new(account.agent.clone(), None, now)),
        (None, Owner::Session(_)) => Err(LedgerError::AccountNotOpen { account: account.clone() }),
    }
}

async fn load_open(txn: &Txn, account: &AccountId, hold: HoldId) -> Result<(Vec<u8>, Hold), LedgerError> {
    let key = records::hold(&account.project, &account.owner, hold);
    match txn.load::<Hold>(&key).await? {
        Some(entry) if entry.state == HoldState::Open => Ok((key, entry)),
        found => Err(LedgerError::HoldNotOpen { hold, found: found.map(|entry| entry.state) }),
    }
}

async fn load_levels(txn: &Txn, account: &AccountId, row: &Account, now: Timestamp) -> Result<Levels, LedgerError> {
    Levels::load(txn, &account.project, row.agent.as_ref(), Isolation::Serializable, now).await
}

/// Makes at least `needed` free in `row`, or changes nothing.
async fn draw(
    txn: &Txn,
    account: &AccountId,
    row: &mut Account,
    needed: Micros,
    now: Timestamp,
) -> Result<(), LedgerError> {
    let limit_left = row.limit_left();
    if needed > limit_left {
        let mut available = limit_left;
        if limit_left > row.free {
            // The caller may fall back to what is available, so it has to be so on every level.
            let (_, above) = load_levels(txn, account, row, now).await?.reported(&row.unreported)?.least();
            available = limit_left.min(Micros::new(row.free.get().saturating_add(above.get())));
        }
        return Err(LedgerError::Exhausted { level: LevelName::Session, needed, available });
    }
    let Ok(short) = needed.sub(row.free) else { return Ok(()) };
    if short.is_zero() {
        return Ok(());
    }
    let mut levels = load_levels(txn, account, row, now).await?.reported(&row.unreported)?;
    let (level, above) = levels.least();
    if above < short {
        return Err(LedgerError::Exhausted { level, needed, available: row.free.add(above)? });
    }
    let slice = levels.slice().min(limit_left.sub(row.free)?).max(short);
    let grant = if above >= slice { slice } else { short };
    levels.give(grant)?;
    row.receive(grant)?;
    row.take_unreported();
    levels.save(txn)?;
    Ok(())
}

/// Moves a hold's money on and marks `entry`, which the caller saves.
async fn finish(
    txn: &Txn,
    account: &AccountId,
    hold: HoldId,
    entry: &mut Hold,
    state: HoldState,
    price: Micros,
    now: Timestamp,
) -> Result<Micros, LedgerError> {
    let mut row = load_account(txn, account, now).await?;
    let released = row.settle(entry.held, price, Day::of(now))?;
    if row.closed {
        give_back(txn, account, &mut row, now).await?;
    }
    if let Some(at) = entry.expires_at {
        txn.clear(&records::expiry(&account.project, at, &account.owner, hold))?;
    }
    (entry.state, entry.settled, entry.finished_at) = (state, price, Some(now));
    save_account(txn, account, row, now).await?;
    Ok(released)
}

/// Reports and returns to the levels; the caller saves `row`.
async fn give_back(txn: &Txn, account: &AccountId, row: &mut Account, now: Timestamp) -> Result<Micros, LedgerError> {
    if row.free.is_zero() && row.unreported.is_empty() {
        return Ok(Micros::ZERO);
    }
    let mut levels = load_levels(txn, account, row, now).await?;
    levels.report(&row.take_unreported())?;
    let free = row.take_free();
    levels.take_back(free)?;
    levels.save(txn)?;
    Ok(free)
}

/// Writes an account back, with a lease on its allowance as long as it has one.
async fn save_account(txn: &Txn, account: &AccountId, mut row: Account, now: Timestamp) -> Result<(), LedgerError> {
    row.used_at = row.used_at.max(now);
    match row.lease_until {
        None if !row.is_empty() => {
            let until = now.saturating_add(ALLOWANCE_LEASE_TIME);
            txn.set(&records::lease(&account.project, until, &account.owner), &[])?;
            row.lease_until = Some(until);
        }
        Some(until) if row.is_empty() => {
            txn.clear(&records::lease(&account.project, until, &account.owner))?;
            row.lease_until = None;
        }
        _ => {}
    }
    Ok(txn.save(&records::account(&account.project, &account.owner), &row)?)
}

#[cfg(test)]
mod tests;
