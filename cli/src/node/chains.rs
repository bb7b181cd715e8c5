//! The node's chains: each a driver with its signer, behind an entity with its outbox and breaker.

mod cosmos;
mod solana;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use steward_actors::chain::{ChainActor, ChainAnchoring, ChainEnvironment, ChainSettings};
use steward_actors::host::{Host, HostBuilder};
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{Anchoring, NoAnchoring};
use steward_adapters::chain::ChainId;
use steward_adapters::signer::{SecretKey, Signer};
use steward_adapters_evm::{EvmChain, EvmConfig, LocalSigner};
use steward_storage::Store;

use crate::config::ChainConfig;

/// The most gas that one transaction may need: a deployment of the contract with room to spare.
const GAS_MAX: u64 = 3_000_000;

/// The chains of a node.
#[derive(Debug, Clone)]
pub(super) struct Chains {
    environment: ChainEnvironment,
}

impl Chains {
    /// Opens every configured chain. None is connected to: a chain that is down delays anchoring, nothing else.
    pub(super) fn open(
        configs: &[ChainConfig],
        store: &Arc<dyn Store>,
        identity: &Arc<LogIdentity>,
    ) -> anyhow::Result<Self> {
        let mut chains = BTreeMap::new();
        for config in configs {
            let opened = open(config).with_context(|| format!("chain {}", config.id))?;
            ensure!(chains.insert(config.id.clone(), opened).is_none(), "chain {} is configured twice", config.id);
        }
        let (store, identity) = (Arc::clone(store), Arc::clone(identity));
        Ok(Self { environment: ChainEnvironment { store, identity, chains: Arc::new(chains) } })
    }

    /// Adds the chains' kind to a host.
    pub(super) fn register(&self, builder: HostBuilder) -> HostBuilder {
        builder.register::<ChainActor>(self.environment.clone())
    }

    /// The chains as the façade sees them, awake.
    pub(super) fn anchoring(&self, host: &Host) -> Arc<dyn Anchoring> {
        let names: Vec<String> = self.environment.chains.keys().cloned().collect();
        if names.is_empty() {
            return Arc::new(NoAnchoring);
        }
        let anchoring = ChainAnchoring::new(host.clone(), Arc::clone(&self.environment.store), names);
        if let Err(error) = anchoring.wake_all() {
            tracing::error!(%error, "the chains could not be woken; the next anchoring wakes them");
        }
        Arc::new(anchoring)
    }
}

fn open(config: &ChainConfig) -> anyhow::Result<ChainSettings> {
    let chain: ChainId = config.id.parse()?;
    match chain.namespace() {
        "eip155" => open_evm(chain, config),
        "cosmos" => cosmos::open(chain, config),
        "solana" => solana::open(chain, config),
        other => bail!("there is no driver for chains of {other}: an id begins with eip155, cosmos or solana"),
    }
}

fn open_evm(chain: ChainId, config: &ChainConfig) -> anyhow::Result<ChainSettings> {
    let signer = signer(config)?;
    let driver = EvmConfig {
        chain,
        endpoint: config.endpoint.parse().with_context(|| format!("endpoint {:?}", config.endpoint))?,
        confirmations: config.confirmations,
        gas_max: GAS_MAX,
    };
    let chain = Arc::new(EvmChain::new(driver, signer)?);
    Ok(ChainSettings { contract: config.contract.clone(), ..ChainSettings::new(chain) })
}

fn signer(config: &ChainConfig) -> anyhow::Result<Arc<dyn Signer>> {
    match (&config.key_env, &config.keystore, &config.keystore_password_env) {
        (Some(name), None, None) => {
            let key: SecretKey = variable(name)?.parse().with_context(|| format!("the key in {name}"))?;
            Ok(Arc::new(LocalSigner::new(&key)?))
        }
        (None, Some(file), Some(name)) => {
            let opened = LocalSigner::open_keystore(file, &variable(name)?);
            Ok(Arc::new(opened.with_context(|| format!("the keystore {}", file.display()))?))
        }
        _ => bail!("give either key_env, or keystore and keystore_password_env"),
    }
}

fn variable(name: &str) -> anyhow::Result<String> {
    std::env::var(name).with_context(|| format!("the environment has no {name}"))
}
