//! Breakers that an operator forced, durably: the pools of every node follow these rows, and so does the chain's entity.
//!
//! | key | holds |
//! |---|---|
//! | `("breaker", chain)` | what the chain's own breaker was last ordered to be |
//! | `("breaker", chain, endpoint)` | what one of its endpoints was last ordered to be |
//! | `("breaker_signal")` | changes with each order; every node watches it |
//!
//! That an endpoint decides for itself again is an order too, which forgives it on every node. So a row stays: there are
//! as many as chains and endpoints that were ever forced.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use steward_adapters::breaker::Forced;
use steward_storage::{RangeRead, Record, Store, StoreError, StoreExt, Txn, Watch, key};
use steward_types::limits::{FORCED_BREAKERS_LOOKED_TIME, FORCED_BREAKERS_RETRY_TIME};
use steward_types::{Clock, Timestamp};
use tokio::task::JoinSet;

use super::settings::Chains;

/// An order of an operator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForcedBreaker {
    /// The chain's CAIP-2 identifier.
    pub chain: String,
    /// The endpoint; none: the chain's own breaker.
    pub endpoint: Option<String>,
    /// What it shall be; none: as it decides for itself.
    pub forced: Option<Forced>,
    /// When.
    pub since: Timestamp,
    /// The id of the operator's key.
    pub by: String,
}

impl Record for ForcedBreaker {
    const NAME: &'static str = "forced breaker";
    const VERSION: u16 = 1;
}

fn row(chain: &str, endpoint: Option<&str>) -> Vec<u8> {
    match endpoint {
        Some(endpoint) => key::pack(&("breaker", chain, endpoint)),
        None => key::pack(&("breaker", chain)),
    }
}

fn signal() -> Vec<u8> {
    key::pack(&("breaker_signal",))
}

/// Writes an order within a transaction, in the place of the one before; `unique` differs from that of every other.
pub(crate) fn order(txn: &Txn, order: &ForcedBreaker, unique: &[u8]) -> Result<(), StoreError> {
    txn.save(&row(&order.chain, order.endpoint.as_deref()), order)?;
    txn.set(&signal(), unique)
}

/// What a chain's own breaker was ordered to be.
pub(super) async fn of_chain(txn: &Txn, chain: &str) -> Result<Option<Forced>, StoreError> {
    Ok(txn.load::<ForcedBreaker>(&row(chain, None)).await?.and_then(|order| order.forced))
}

/// Every order that stands.
async fn all(store: &Arc<dyn Store>) -> Result<Vec<ForcedBreaker>, StoreError> {
    let (mut found, mut rest) = (Vec::new(), Some(RangeRead::prefix(&key::pack(&("breaker",))).snapshot()));
    while let Some(range) = rest.take() {
        let range = &range;
        let page = store.run(|txn| async move { txn.scan::<ForcedBreaker>(range.clone()).await }).await?;
        found.extend(page.rows.into_iter().map(|(_, order)| order));
        rest = page.rest;
    }
    Ok(found)
}

/// Sets the endpoint that an order is about, on this node. Carrying the same out again changes nothing; a node whose
/// configuration has no such endpoint passes it over.
pub(crate) fn carry_out(chains: &Chains, order: &ForcedBreaker) {
    let pool = chains.get(&order.chain).and_then(|settings| settings.pool.as_ref());
    if let (Some(pool), Some(endpoint)) = (pool, &order.endpoint) {
        pool.force(endpoint, order.forced);
    }
}

/// Carries out the orders that stand, and each that comes, on this node's pools until the task is dropped.
pub(crate) fn follow(store: Arc<dyn Store>, chains: Chains, clock: Arc<dyn Clock>) -> JoinSet<()> {
    let mut following = JoinSet::new();
    if chains.values().any(|settings| settings.pool.is_some()) {
        following.spawn(async move {
            let mut last = Vec::new();
            loop {
                match look(&store, &chains, &mut last).await {
                    // A watch may be lost with the connection: it is looked again after a while in any case.
                    Ok(changed) => tokio::select! {
                        _ = changed => {}
                        () = clock.sleep(FORCED_BREAKERS_LOOKED_TIME) => {}
                    },
                    Err(error) => {
                        tracing::debug!(%error, "the forced breakers could not be read; they are tried again");
                        clock.sleep(FORCED_BREAKERS_RETRY_TIME).await;
                    }
                }
            }
        });
    }
    following
}

/// Carries out what was not carried out before.
async fn look(store: &Arc<dyn Store>, chains: &Chains, last: &mut Vec<ForcedBreaker>) -> Result<Watch, StoreError> {
    // The watch is active before the rows are read, so that no order is missed.
    let txn = store.begin();
    let changed = txn.watch(&signal())?;
    txn.commit().await?;
    let orders = all(store).await?;
    for order in orders.iter().filter(|order| !last.contains(order)) {
        carry_out(chains, order);
    }
    *last = orders;
    Ok(changed)
}
