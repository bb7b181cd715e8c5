//! How the ledger lies in the store: keys and records.
//!
//! | key | holds |
//! |---|---|
//! | `("budget", project, "prices")` | the price list |
//! | `("budget", project, "level")` | the project's level |
//! | `("budget", project, "agent", agent)` | an agent's level |
//! | `("budget", project, "account", owner)` | an account |
//! | `("budget", project, "hold", owner, hold)` | a hold, open or finished: the statement's entry |
//! | `("budget", project, "lease", time, owner)` | when to look at an account's allowance |
//! | `("budget", project, "expiry", time, owner, hold)` | when to release a forgotten hold |

use serde::{Deserialize, Serialize};
use steward_storage::{Record, StoreError, Subspace, key};
use steward_types::{AgentId, HoldId, Micros, ProjectId, Timestamp};

use super::account::Account;
use super::account_id::Owner;
use super::level::Level;
use super::price::PriceList;

impl Record for Level {
    const NAME: &'static str = "budget level";
    const VERSION: u16 = 1;
}

impl Record for Account {
    const NAME: &'static str = "budget account";
    const VERSION: u16 = 1;
}

impl Record for PriceList {
    const NAME: &'static str = "price list";
    const VERSION: u16 = 1;
}

/// What became of a hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldState {
    /// The step runs.
    Open,
    /// The step was paid.
    Settled,
    /// The step did not happen; nothing was paid.
    Released,
}

/// A hold, and once it is finished the statement's entry of its step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its place among the account's holds, from 1.
    pub number: u64,
    /// The turn and step (`4/3.1.2`), or the request of a direct call.
    pub step: String,
    /// The host function or route: `chat`, `http`, …
    pub function: String,
    /// What became of it.
    pub state: HoldState,
    /// The most that was held.
    pub held: Micros,
    /// The price that was paid.
    pub settled: Micros,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was settled or released.
    pub finished_at: Option<Timestamp>,
    /// When it is released by itself if nobody has finished it.
    pub expires_at: Option<Timestamp>,
}

impl Record for Hold {
    const NAME: &'static str = "hold";
    const VERSION: u16 = 1;
}

fn below<T: key::TuplePack>(project: &ProjectId, rest: T) -> Subspace {
    Subspace::from(("budget", project.as_str())).subspace(&rest)
}

pub(super) fn prices(project: &ProjectId) -> Vec<u8> {
    below(project, "prices").bytes().to_vec()
}

pub(super) fn level(project: &ProjectId) -> Vec<u8> {
    below(project, "level").bytes().to_vec()
}

pub(super) fn agents(project: &ProjectId) -> Subspace {
    below(project, "agent")
}

pub(super) fn agent_level(project: &ProjectId, agent: &AgentId) -> Vec<u8> {
    agents(project).pack(&agent.as_str())
}

pub(super) fn accounts(project: &ProjectId) -> Subspace {
    below(project, "account")
}

pub(super) fn account(project: &ProjectId, owner: &Owner) -> Vec<u8> {
    accounts(project).pack(&owner.to_string())
}

pub(super) fn holds(project: &ProjectId) -> Subspace {
    below(project, "hold")
}

pub(super) fn holds_of(project: &ProjectId, owner: &Owner) -> Subspace {
    below(project, ("hold", owner.to_string()))
}

pub(super) fn hold(project: &ProjectId, owner: &Owner, hold: HoldId) -> Vec<u8> {
    holds_of(project, owner).pack(&hold.as_bytes().as_slice())
}

pub(super) fn leases(project: &ProjectId) -> Subspace {
    below(project, "lease")
}

pub(super) fn lease(project: &ProjectId, until: Timestamp, owner: &Owner) -> Vec<u8> {
    leases(project).pack(&(until.as_millis(), owner.to_string()))
}

pub(super) fn expiries(project: &ProjectId) -> Subspace {
    below(project, "expiry")
}

pub(super) fn expiry(project: &ProjectId, at: Timestamp, owner: &Owner, hold: HoldId) -> Vec<u8> {
    expiries(project).pack(&(at.as_millis(), owner.to_string(), hold.as_bytes().as_slice()))
}

fn corrupt(key: &[u8]) -> StoreError {
    StoreError::Corrupt(format!("budget key {}", key.escape_ascii()))
}

fn hold_id(bytes: &[u8], key: &[u8]) -> Result<HoldId, StoreError> {
    Ok(HoldId::from_bytes(bytes.try_into().map_err(|_| corrupt(key))?))
}

/// The owner and id in the key of a hold.
pub(super) fn unpack_hold(project: &ProjectId, key: &[u8]) -> Result<(Owner, HoldId), StoreError> {
    let (owner, hold): (String, Vec<u8>) = key::unpack_below(&holds(project), key)?;
    Ok((owner.parse().map_err(|_| corrupt(key))?, hold_id(&hold, key)?))
}

/// The owner in the key of an account.
pub(super) fn unpack_account(project: &ProjectId, key: &[u8]) -> Result<Owner, StoreError> {
    let (owner,): (String,) = key::unpack_below(&accounts(project), key)?;
    owner.parse().map_err(|_| corrupt(key))
}

/// The agent in the key of an agent's level.
pub(super) fn unpack_agent(project: &ProjectId, key: &[u8]) -> Result<AgentId, StoreError> {
    let (agent,): (String,) = key::unpack_below(&agents(project), key)?;
    agent.parse().map_err(|_| corrupt(key))
}

/// The time and owner in the key of a lease.
pub(super) fn unpack_lease(project: &ProjectId, key: &[u8]) -> Result<(Timestamp, Owner), StoreError> {
    let (millis, owner): (u64, String) = key::unpack_below(&leases(project), key)?;
    Ok((Timestamp::from_millis(millis), owner.parse().map_err(|_| corrupt(key))?))
}

/// The owner and hold in the key of an expiry.
pub(super) fn unpack_expiry(project: &ProjectId, key: &[u8]) -> Result<(Owner, HoldId), StoreError> {
    let (_, owner, hold): (u64, String, Vec<u8>) = key::unpack_below(&expiries(project), key)?;
    Ok((owner.parse().map_err(|_| corrupt(key))?, hold_id(&hold, key)?))
}
