//! Events of a chain: what was emitted in final blocks, each under an identity that no other event has. What is not
//! final is never told, so that a reorganisation cannot undo or double what was.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Chain, ChainError};

/// Which events are meant. What the fields mean is the chain's: see `docs/chains.md`, "Events".
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFilter {
    /// The contract, program or account that they are about, as the chain writes addresses.
    pub address: String,
    /// The kind of event: a signature on EVM chains, `type` or `type.attribute` on Cosmos chains, `transaction` or
    /// `memo` on Solana.
    pub event: String,
}

/// What tells an event from every other one of its chain. In the order of the chain: by block, and within one as the
/// driver says, which is the same whichever endpoint is asked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EventId {
    /// The block's number, or the slot.
    pub block: u64,
    /// The transaction's hash or signature; empty for what the chain does by itself at a block's begin or end.
    pub transaction: String,
    /// The event's number: within the block on EVM chains, within the transaction elsewhere.
    pub index: u64,
}

/// An event that was emitted for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmittedEvent {
    /// What tells it from others.
    pub id: EventId,
    /// Its name, without arguments.
    pub name: String,
    /// Its arguments by name, or by place where they have none; or why they cannot be read, as when a contract emits
    /// another event under the same signature.
    pub arguments: Result<Map<String, Value>, String>,
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.block, self.transaction, self.index)
    }
}

/// Checks that an endpoint knows every block up to `to` as final, before it is asked for events: many answer about blocks
/// that they do not have with no events rather than an error.
///
/// # Errors
/// [`ChainError::Behind`], and what asking for the head gives.
pub async fn check_covers(chain: &dyn Chain, to: u64) -> Result<(), ChainError> {
    let head = chain.head().await?;
    if head.final_block < to {
        return Err(ChainError::Behind { chain: chain.id().clone(), block: to });
    }
    Ok(())
}
