//! Allowances: what an account takes from the levels above it, and gives back.

use steward_storage::{Isolation, Txn};
use steward_types::limits::ALLOWANCE_LEASE_TIME;
use steward_types::{Micros, Timestamp};

use crate::budget::account::Account;
use crate::budget::account_id::{AccountId, Owner};
use crate::budget::error::{LedgerError, LevelName};
use crate::budget::levels::Levels;
use crate::budget::records;

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

pub(super) async fn load_account(txn: &Txn, account: &AccountId, now: Timestamp) -> Result<Account, LedgerError> {
    let row = txn.load::<Account>(&records::account(&account.project, &account.owner)).await?;
    match (row, &account.owner) {
        (Some(row), _) => Ok(row),
        (None, Owner::Key { .. }) => Ok(Account::new(account.agent.clone(), None, now)),
        (None, Owner::Session(_)) => Err(LedgerError::AccountNotOpen { account: account.clone() }),
    }
}

async fn load_levels(txn: &Txn, account: &AccountId, row: &Account, now: Timestamp) -> Result<Levels, LedgerError> {
    Levels::load(txn, &account.project, row.agent.as_ref(), Isolation::Serializable, now).await
}

/// Makes at least `needed` free in `row`, or changes nothing.
pub(super) async fn draw(
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

/// Reports and returns to the levels; the caller saves `row`.
pub(super) async fn give_back(
    txn: &Txn,
    account: &AccountId,
    row: &mut Account,
    now: Timestamp,
) -> Result<Micros, LedgerError> {
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
pub(super) async fn save_account(
    txn: &Txn,
    account: &AccountId,
    mut row: Account,
    now: Timestamp,
) -> Result<(), LedgerError> {
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
