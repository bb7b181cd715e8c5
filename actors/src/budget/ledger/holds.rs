//! Holds: opened before a step, grown while it streams, settled or released once.

use serde::{Deserialize, Serialize};
use steward_storage::Txn;
use steward_types::{HoldId, Micros, Timestamp};

use super::allowance::{draw, give_back, load_account, save_account};
use crate::budget::account_id::AccountId;
use crate::budget::error::LedgerError;
use crate::budget::period::Day;
use crate::budget::records::{self, Hold, HoldState};

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

async fn load_open(txn: &Txn, account: &AccountId, hold: HoldId) -> Result<(Vec<u8>, Hold), LedgerError> {
    let key = records::hold(&account.project, &account.owner, hold);
    match txn.load::<Hold>(&key).await? {
        Some(entry) if entry.state == HoldState::Open => Ok((key, entry)),
        found => Err(LedgerError::HoldNotOpen { hold, found: found.map(|entry| entry.state) }),
    }
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
