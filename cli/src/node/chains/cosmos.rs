//! Cosmos chains: `id = "cosmos:…"`.

use std::sync::Arc;

use anyhow::{Context as _, bail};
use steward_actors::chain::ChainSettings;
use steward_adapters::chain::ChainId;
use steward_adapters::fee::FeePolicy;
use steward_adapters::signer::SecretKey;
use steward_adapters_cosmos::{CosmosChain, CosmosConfig, LocalSigner};

use super::variable;
use crate::config::ChainConfig;

/// The most gas that one transaction may need: that of ten payments.
const GAS_MAX: u64 = 1_000_000;

pub(super) fn open(chain: ChainId, config: &ChainConfig) -> anyhow::Result<ChainSettings> {
    let said = "say of a Cosmos chain: cosmos = { prefix, denom, gas_price, gas_price_max }";
    let settings = config.cosmos.as_ref().context(said)?;
    let driver = CosmosConfig {
        chain,
        endpoint: config.endpoint.parse().with_context(|| format!("endpoint {:?}", config.endpoint))?,
        prefix: settings.prefix.clone(),
        denom: settings.denom.clone(),
        gas_price: settings.gas_price,
        gas_max: GAS_MAX,
        pruned: settings.pruned,
    };
    let chain = Arc::new(CosmosChain::new(driver, Arc::new(signer(config, &settings.prefix)?))?);
    // What is offered is paid, whatever the block's other transactions offer: there is no margin to give.
    let fees = FeePolicy { price_max: settings.gas_price_max.millionths(), base_multiple: 1, ..FeePolicy::default() };
    Ok(ChainSettings { fees, ..ChainSettings::new(chain) })
}

fn signer(config: &ChainConfig, prefix: &str) -> anyhow::Result<LocalSigner> {
    match (&config.key_env, &config.keystore, &config.keystore_password_env) {
        (Some(name), None, None) => {
            let key: SecretKey = variable(name)?.parse().with_context(|| format!("the key in {name}"))?;
            Ok(LocalSigner::new(&key, prefix)?)
        }
        (None, Some(file), Some(name)) => {
            let opened = LocalSigner::open_keystore(file, &variable(name)?, prefix);
            opened.with_context(|| format!("the keystore {}", file.display()))
        }
        _ => bail!("give either key_env, or keystore and keystore_password_env"),
    }
}
