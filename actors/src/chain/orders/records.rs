//! The rows of orders.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use steward_adapters::chain::Action;
use steward_storage::key::{pack, unpack};
use steward_storage::{Record, StoreError};
use steward_types::{AgentId, Amount, HoldId, Micros, ProjectId, SessionId, StepPath, Timestamp};

use super::id::OrderId;
use super::place::Waiter;
use crate::chain::spending::{FeePrice, Tally};

/// A transaction that a step wants, on its way through the outbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The step that wants it.
    pub id: OrderId,
    /// Its project.
    pub project: ProjectId,
    /// Its agent.
    pub agent: AgentId,
    /// What the transaction does.
    pub action: Action,
    /// The step's host function, for the receipt.
    pub function: String,
    /// SHA-256 of the step's function and arguments, for the receipt.
    pub arguments_hash: [u8; 32],
    /// When it was recorded.
    pub recorded: Timestamp,
    /// The hold that pays for it.
    pub hold: HoldId,
    /// How much is held: the price can be no more.
    pub held: Micros,
    /// What the step costs besides the fee.
    pub call_price: Micros,
    /// The most that the chain may take as its fee.
    pub fee_max: Amount,
    /// What the fee costs.
    pub fee_price: FeePrice,
}

/// An order as its session sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRecord {
    /// The chain.
    pub chain: String,
    /// Its project.
    pub project: ProjectId,
    /// What came of it; nothing while it is on its way.
    pub outcome: Option<OrderOutcome>,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderOutcome {
    /// Whether the transaction did what it was to do.
    pub succeeded: bool,
    /// The one transaction that landed; none when the chain refused it beforehand.
    pub transaction: Option<String>,
    /// Its block.
    pub block: Option<u64>,
    /// What the chain took as its fee.
    pub fee: Amount,
    /// What the session's budget paid.
    pub price: Micros,
    /// Why it did not succeed.
    pub reason: Option<String>,
    /// When that was known.
    pub at: Timestamp,
}

impl Record for Order {
    const NAME: &'static str = "chain order";
    const VERSION: u16 = 1;
}

impl Record for OrderRecord {
    const NAME: &'static str = "session order";
    const VERSION: u16 = 1;
}

impl Record for Tally {
    const NAME: &'static str = "chain tally";
    const VERSION: u16 = 1;
}

impl OrderOutcome {
    /// What `wait` answers. The receipt's hash of the result is over this, so that whoever has the answer can show which
    /// transaction the receipt is of.
    pub fn to_script(&self) -> Value {
        json!({
            "succeeded": self.succeeded,
            "transaction": self.transaction,
            "block": self.block,
            "fee": self.fee,
            "price": self.price.get(),
            "reason": self.reason,
        })
    }
}

pub(super) fn record(id: &OrderId) -> Vec<u8> {
    pack(&("session", &id.session.as_bytes()[..], "order", id.turn, &step_bytes(&id.step)[..]))
}

pub(super) fn queued(chain: &str, order: &Order) -> Vec<u8> {
    let id = &order.id;
    let recorded = order.recorded.as_millis();
    let project = order.project.as_str();
    pack(&("chain_order", chain, project, recorded, &id.session.as_bytes()[..], id.turn, &step_bytes(&id.step)[..]))
}

pub(super) fn queue_of(chain: &str, project: &ProjectId) -> Vec<u8> {
    pack(&("chain_order", chain, project.as_str()))
}

pub(super) fn queue(chain: &str) -> Vec<u8> {
    pack(&("chain_order", chain))
}

pub(super) fn waiter(chain: &str, order: &OrderId, session: SessionId, turn: u64, step: &StepPath) -> Vec<u8> {
    pack(&("chain_waiter", chain, order.to_string(), &session.as_bytes()[..], turn, step.to_string()))
}

pub(super) fn waiters(chain: &str, order: &OrderId) -> Vec<u8> {
    pack(&("chain_waiter", chain, order.to_string()))
}

pub(super) fn owed(chain: &str, waiter: &Waiter) -> Vec<u8> {
    pack(&("chain_owed", chain, &waiter.session.as_bytes()[..], waiter.turn, waiter.step.to_string()))
}

pub(super) fn all_owed(chain: &str) -> Vec<u8> {
    pack(&("chain_owed", chain))
}

pub(super) fn project_tally(chain: &str, project: &ProjectId) -> Vec<u8> {
    pack(&("chain_tally", chain, project.as_str()))
}

pub(super) fn agent_tally(chain: &str, project: &ProjectId, agent: &AgentId) -> Vec<u8> {
    pack(&("chain_tally", chain, project.as_str(), agent.as_str()))
}

/// The numbers of a path as big-endian words, so that bytes sort as paths do.
fn step_bytes(step: &StepPath) -> Vec<u8> {
    step.numbers().iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The step that waits, of its row's key.
pub(super) fn read_waiter(row: &[u8]) -> Result<Waiter, StoreError> {
    type Key = (String, String, String, Vec<u8>, u64, String);
    let (_, _, _, session, turn, step): Key = unpack(row)?;
    waiter_of(row, session, turn, &step)
}

/// The step that is to be told, of its row's key.
pub(super) fn read_owed(row: &[u8]) -> Result<Waiter, StoreError> {
    let (_, _, session, turn, step): (String, String, Vec<u8>, u64, String) = unpack(row)?;
    waiter_of(row, session, turn, &step)
}

fn waiter_of(row: &[u8], session: Vec<u8>, turn: u64, step: &str) -> Result<Waiter, StoreError> {
    let corrupt = || StoreError::Corrupt(format!("row {} of a waiting step", row.escape_ascii()));
    let session = SessionId::from_bytes(session.try_into().map_err(|_| corrupt())?);
    Ok(Waiter { session, turn, step: step.parse().map_err(|_| corrupt())? })
}
