//! How a chain is, for operators.

use serde::{Deserialize, Serialize};
use steward_adapters::breaker::{BreakerState, Forced};
use steward_adapters::endpoint::EndpointStatus;
use steward_adapters::outbox::Stall;
use steward_adapters::signer::SignerKind;
use steward_types::Timestamp;

use super::entity::ChainActor;
use crate::pause::Pause;

/// How a chain is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainStatus {
    /// The chain's CAIP-2 identifier.
    pub chain: String,
    /// The account that sends.
    pub account: String,
    /// The contract's address; empty before one is known.
    pub contract: String,
    /// Where its breaker stands.
    pub breaker: BreakerState,
    /// What an operator ordered the breaker to be.
    pub forced: Option<Forced>,
    /// What went wrong last; empty when nothing did.
    pub last_failure: String,
    /// Why nothing is sent; nothing when that is not so.
    #[serde(default)]
    pub stall: Option<Stall>,
    /// That it is paused.
    pub paused: Option<Pause>,
    /// Transactions that are to be sent or are not final.
    pub intents: u64,
    /// When the oldest of them was recorded.
    pub oldest: Option<Timestamp>,
    /// Logs that are to be anchored once there is room.
    pub wanted: u64,
    /// Its endpoints, as configured.
    #[serde(default)]
    pub endpoints: Vec<EndpointStatus>,
    /// How many of them must say the same.
    #[serde(default)]
    pub quorum: usize,
    /// Where the key of its account lies.
    #[serde(default)]
    pub signer: Option<SignerKind>,
}

impl ChainActor {
    pub(super) fn status(&self) -> ChainStatus {
        let outbox = &self.desk.outbox;
        ChainStatus {
            chain: self.id.as_str().to_owned(),
            account: self.settings.chain.account().to_string(),
            contract: self.desk.contract.clone().unwrap_or_default(),
            breaker: self.breaker.state().clone(),
            forced: self.breaker.forced(),
            last_failure: self.breaker.last_failure().unwrap_or_default().to_owned(),
            stall: outbox.head().stall.clone(),
            paused: self.paused.clone(),
            intents: outbox.intents().len() as u64,
            oldest: outbox.intents().values().map(|intent| intent.submitted).min(),
            wanted: self.desk.wanted.len() as u64,
            endpoints: self.endpoints(),
            quorum: self.settings.pool.as_ref().map_or(1, |pool| pool.quorum()),
            signer: self.settings.signer,
        }
    }

    /// How each endpoint is.
    pub(super) fn endpoints(&self) -> Vec<EndpointStatus> {
        self.settings.pool.as_ref().map(|pool| pool.status()).unwrap_or_default()
    }
}
