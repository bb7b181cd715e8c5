//! Solana clusters: `id = "solana:…"`.

use std::sync::Arc;

use anyhow::Context as _;
use steward_actors::chain::ChainSettings;
use steward_adapters::chain::ChainId;
use steward_adapters::fee::FeePolicy;
use steward_adapters_solana::{SolanaChain, SolanaConfig};

use super::pool;
use super::signing::{Family, signer};
use crate::config::ChainConfig;

/// The most that may be offered for a compute unit unless configured, in millionths of a lamport: 0.005 SOL for a
/// transaction of 100,000.
const PRICE_MAX: u64 = 50_000_000;
/// The most compute units that one transaction may need unless configured.
const UNITS_MAX: u64 = 400_000;

pub(super) async fn open(chain: ChainId, config: &ChainConfig) -> anyhow::Result<ChainSettings> {
    let signer = signer(config, Family::Solana).await?;
    let units_max = u32::try_from(config.gas_max.unwrap_or(UNITS_MAX)).context("gas_max")?;
    let pool = pool(config, |endpoint| {
        let driver = SolanaConfig { chain: chain.clone(), endpoint, units_max };
        Ok(Arc::new(SolanaChain::new(driver, Arc::clone(&signer))?))
    })?;
    let fees = FeePolicy { price_max: config.fee_price_max.unwrap_or(PRICE_MAX), ..FeePolicy::default() };
    Ok(ChainSettings { fees, coin: "lamports".to_owned(), ..ChainSettings::pooled(pool) })
}
