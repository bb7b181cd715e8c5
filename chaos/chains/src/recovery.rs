//! How many blocks an outbox needs once its endpoints are back.

use std::fmt;

use steward_adapters::breaker::BreakerState;
use steward_adapters::chain::{Action, Chain};
use steward_adapters::endpoint::Class;
use steward_adapters::pool::Pool;

use crate::fault::Fault;
use crate::proxy::Proxy;
use crate::sender::Sender;

/// How an outbox came back after every endpoint was dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// How many intents waited.
    pub waiting: usize,
    /// The last of them landed so many blocks after the newest one of when the endpoints came back.
    pub blocks: u64,
}

/// Kills every endpoint, submits, waits until each of them is left alone, and brings them back. `direct` is the chain
/// itself. `block` does what is done in about a block's time.
///
/// # Panics
/// When the chain itself does not answer.
pub async fn recover(
    sender: &mut Sender<'_>,
    (pool, proxies): (&Pool, &[Proxy]),
    direct: &dyn Chain,
    actions: Vec<Action>,
    mut block: impl AsyncFnMut(&mut Sender<'_>),
) -> Recovery {
    for proxy in proxies {
        proxy.always(Some(Fault::Dropped));
    }
    let keys: Vec<String> = (0..actions.len()).map(|number| format!("after the outage {number}")).collect();
    for (key, action) in keys.iter().zip(actions) {
        sender.submit(key, action);
    }
    while !is_left_alone(pool) {
        sender.step().await;
    }
    let newest = direct.head().await.expect("the chain itself answers").block;
    for proxy in proxies {
        proxy.always(None);
    }
    loop {
        let landed = keys.iter().map(|key| sender.intent(key).landing.as_ref().map(|landing| landing.inclusion.block));
        if let Some(landed) = landed.collect::<Option<Vec<u64>>>() {
            let last = landed.into_iter().max().unwrap_or(newest);
            return Recovery { waiting: keys.len(), blocks: last.saturating_sub(newest) };
        }
        block(sender).await;
    }
}

fn is_left_alone(pool: &Pool) -> bool {
    let is_open = |state: &BreakerState| !matches!(state, BreakerState::Closed { .. });
    let reads = pool.status().into_iter().flat_map(|endpoint| endpoint.breakers);
    reads.filter(|breaker| breaker.class == Class::Read).all(|breaker| is_open(&breaker.state))
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} intents that waited while no endpoint answered landed within {} blocks",
            self.waiting, self.blocks
        )
    }
}
