//! Cosmos chains: `id = "cosmos:…"`.

use std::sync::Arc;

use anyhow::Context as _;
use steward_actors::chain::ChainSettings;
use steward_adapters::chain::ChainId;
use steward_adapters::fee::FeePolicy;
use steward_adapters_cosmos::{CosmosChain, CosmosConfig};

use super::pool;
use super::signing::{Family, signer};
use crate::config::ChainConfig;

/// The most gas that one transaction may need unless configured: that of ten payments.
const GAS_MAX: u64 = 1_000_000;

pub(super) async fn open(chain: ChainId, config: &ChainConfig) -> anyhow::Result<ChainSettings> {
    let said = "say of a Cosmos chain: cosmos = { prefix, denom, gas_price, gas_price_max }";
    let settings = config.cosmos.as_ref().context(said)?;
    let prefix = &settings.prefix;
    let signer = signer(config, Family::Cosmos { prefix: prefix.clone() }).await?;
    let pool = pool(config, |endpoint| {
        let driver = CosmosConfig {
            chain: chain.clone(),
            endpoint,
            prefix: prefix.clone(),
            denom: settings.denom.clone(),
            gas_price: settings.gas_price,
            gas_max: config.gas_max.unwrap_or(GAS_MAX),
            pruned: settings.pruned,
        };
        Ok(Arc::new(CosmosChain::new(driver, Arc::clone(&signer))?))
    })?;
    // What is offered is paid, whatever the block's other transactions offer: there is no margin to give.
    let fees = FeePolicy { price_max: settings.gas_price_max.millionths(), base_multiple: 1, ..FeePolicy::default() };
    Ok(ChainSettings { fees, coin: settings.denom.clone(), ..ChainSettings::pooled(pool) })
}
