//! What a node gives its chains, and how each is used.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steward_adapters::breaker::BreakerPolicy;
use steward_adapters::chain::Chain;
use steward_adapters::fee::FeePolicy;
use steward_adapters::outbox::OutboxPolicy;
use steward_adapters::pool::Pool;
use steward_adapters::signer::SignerKind;
use steward_storage::Store;

use super::gauges::OutboxGauge;
use super::spending::SpendingTerms;
use crate::receipt_log::LogIdentity;

/// Chains by their CAIP-2 identifiers, which are also their entities' ids.
pub type Chains = Arc<BTreeMap<String, ChainSettings>>;

/// What the node gives its chains.
#[derive(Debug, Clone)]
pub struct ChainEnvironment {
    /// Where logs and outboxes lie.
    pub store: Arc<dyn Store>,
    /// Who signs the logs, which tells their names.
    pub identity: Arc<LogIdentity>,
    /// The chains.
    pub chains: Chains,
}

/// One chain and how it is used.
#[derive(Debug, Clone)]
pub struct ChainSettings {
    /// The driver with its account.
    pub chain: Arc<dyn Chain>,
    /// The same, where it is a pool of endpoints: what operators see and set of them.
    pub pool: Option<Arc<Pool>>,
    /// Where the key of its account lies, for operators.
    pub signer: Option<SignerKind>,
    /// The smallest unit of its coin, for operators.
    pub coin: String,
    /// The contract's address; without it the first anchor deploys one, where the chain needs one.
    pub contract: Option<String>,
    /// What may be paid.
    pub fees: FeePolicy,
    /// When to ask again and when to replace.
    pub outbox: OutboxPolicy,
    /// When to leave the chain alone.
    pub breaker: BreakerPolicy,
    /// What projects may spend; nothing without it.
    pub spending: Option<SpendingTerms>,
    /// How its outbox is, where this node has it, for metrics.
    pub outbox_gauge: OutboxGauge,
}

impl ChainSettings {
    /// A chain with the default policies, which deploys its contract.
    pub fn new(chain: Arc<dyn Chain>) -> Self {
        Self {
            chain,
            pool: None,
            signer: None,
            coin: String::new(),
            contract: None,
            fees: FeePolicy::default(),
            outbox: OutboxPolicy::default(),
            breaker: BreakerPolicy::default(),
            spending: None,
            outbox_gauge: OutboxGauge::default(),
        }
    }

    /// The same over a pool of endpoints.
    pub fn pooled(pool: Arc<Pool>) -> Self {
        Self { pool: Some(Arc::clone(&pool)), ..Self::new(pool) }
    }

    /// The contract that is known beforehand; the empty one where the chain needs none.
    pub(super) fn contract(&self) -> Option<String> {
        if self.chain.needs_contract() { self.contract.clone() } else { Some(String::new()) }
    }
}

/// When a log is anchored by itself: when one of the two is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follow {
    /// How long receipts may wait, in milliseconds; at least a second.
    pub interval_ms: u64,
    /// How many receipts may wait; nothing: the time alone counts.
    #[serde(default)]
    pub receipts: Option<u64>,
}
