//! The node's chains: each a driver with its signer, behind an entity with its outbox and breaker.

mod cosmos;
#[cfg(test)]
mod rules;
pub(crate) mod signing;
mod solana;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, anyhow, bail, ensure};
use steward_actors::chain::{ChainActor, ChainAnchoring, ChainEnvironment, ChainSettings, canonical_terms};
use steward_actors::host::{Host, HostBuilder};
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{Anchoring, NoAnchoring};
use steward_adapters::chain::{Chain, ChainError, ChainId, local_address};
use steward_adapters::endpoint::EndpointPolicy;
use steward_adapters::fee::FeePolicy;
use steward_adapters::pool::{Pool, PoolPolicy};
use steward_adapters_evm::{EvmChain, EvmConfig, Finality};
use steward_storage::Store;
use steward_types::SystemClock;
use url::Url;

use self::signing::{Family, signer};
use crate::config::{ChainConfig, Confirmations};

/// The most gas that one transaction may need unless configured: a deployment of the contract with room to spare.
const GAS_MAX: u64 = 3_000_000;
/// The blocks that would be counted; not used where the chain says itself what is final.
const CONFIRMATIONS_UNUSED: u64 = 1;

/// The chains of a node.
#[derive(Debug, Clone)]
pub(super) struct Chains {
    environment: ChainEnvironment,
}

impl Chains {
    /// Opens every configured chain. None is connected to: a chain that is down delays anchoring, nothing else. A service
    /// that signs is asked for its account where the configuration does not say it.
    pub(super) async fn open(
        configs: &[ChainConfig],
        store: &Arc<dyn Store>,
        identity: &Arc<LogIdentity>,
    ) -> anyhow::Result<Self> {
        let mut chains = BTreeMap::new();
        for config in configs {
            let mut opened = open(config).await.with_context(|| format!("chain {}", config.id))?;
            let terms = config.spending.as_ref().map(|terms| canonical_terms(terms, &*opened.chain));
            opened.spending = terms.transpose().with_context(|| format!("chain {}", config.id))?;
            ensure!(chains.insert(config.id.clone(), opened).is_none(), "chain {} is configured twice", config.id);
        }
        let (store, identity) = (Arc::clone(store), Arc::clone(identity));
        Ok(Self { environment: ChainEnvironment { store, identity, chains: Arc::new(chains) } })
    }

    /// The chains as sessions and triggers see them.
    pub(super) fn all(&self) -> steward_actors::chain::Chains {
        Arc::clone(&self.environment.chains)
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

/// Opens one chain: its signer, and a driver for each of its endpoints.
pub(crate) async fn open(config: &ChainConfig) -> anyhow::Result<ChainSettings> {
    let chain: ChainId = config.id.parse()?;
    let settings = match chain.namespace() {
        "eip155" => open_evm(chain, config).await?,
        "cosmos" => cosmos::open(chain, config).await?,
        "solana" => solana::open(chain, config).await?,
        other => bail!("there is no driver for chains of {other}: an id begins with eip155, cosmos or solana"),
    };
    Ok(ChainSettings { signer: Some(config.signer_kind()), ..settings })
}

async fn open_evm(chain: ChainId, config: &ChainConfig) -> anyhow::Result<ChainSettings> {
    let signer = signer(config, Family::Evm).await?;
    let gas_max = config.gas_max.unwrap_or(GAS_MAX);
    let (confirmations, finality) = match config.confirmations {
        Confirmations::Blocks(blocks) => (blocks, Finality::Counted),
        Confirmations::Finalized => (CONFIRMATIONS_UNUSED, Finality::Tagged),
    };
    let pool = pool(config, |endpoint| {
        let driver = EvmConfig { chain: chain.clone(), endpoint, confirmations, gas_max };
        Ok(Arc::new(EvmChain::new(driver, Arc::clone(&signer))?.with_finality(finality)))
    })?;
    let fees = FeePolicy::default();
    let fees = FeePolicy { price_max: config.fee_price_max.unwrap_or(fees.price_max), ..fees };
    let contract = config.contract.as_deref().map(|contract| configured_contract(&*pool, contract)).transpose()?;
    Ok(ChainSettings { fees, contract, coin: "wei".to_owned(), ..ChainSettings::pooled(pool) })
}

/// The contract's address, as it was written: alone, or with its chain.
fn configured_contract(chain: &dyn Chain, contract: &str) -> anyhow::Result<String> {
    let address = local_address(chain.id(), contract).map_err(refused).context("contract")?;
    chain.canonical_address(address).map_err(refused).context("contract")?;
    Ok(address.to_owned())
}

fn refused(error: ChainError) -> anyhow::Error {
    anyhow!("{}", error.in_full())
}

/// One driver for each of the chain's endpoints, as one chain.
fn pool(config: &ChainConfig, driver: impl Fn(Url) -> anyhow::Result<Arc<dyn Chain>>) -> anyhow::Result<Arc<Pool>> {
    let mut drivers: Vec<(String, Arc<dyn Chain>)> = Vec::new();
    for endpoint in config.all_endpoints() {
        let endpoint = address(endpoint)?;
        let name = unused_name(&endpoint, &drivers);
        drivers.push((name, driver(endpoint)?));
    }
    Ok(Arc::new(Pool::new(drivers, policy(config), Arc::new(SystemClock::new()))?))
}

fn policy(config: &ChainConfig) -> PoolPolicy {
    let endpoint = EndpointPolicy {
        units_per_second: config.units_per_second,
        units_burst: config.units_burst,
        costs: config.unit_costs(),
        ..EndpointPolicy::default()
    };
    PoolPolicy { endpoint, quorum: config.quorum, ..PoolPolicy::default() }
}

/// Names the field, not the address: that may hold a provider's key.
fn address(endpoint: &str) -> anyhow::Result<Url> {
    let read = Url::parse(endpoint).ok().filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    read.context("an endpoint is no address: write http://HOST:PORT or https://HOST/PATH")
}

/// Host and port. Two at one host are told apart by their number.
fn unused_name(endpoint: &Url, drivers: &[(String, Arc<dyn Chain>)]) -> String {
    let host = endpoint.host_str().unwrap_or_default();
    let name = endpoint.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let is_free = |name: &String| drivers.iter().all(|(taken, _)| taken != name);
    let numbered = (2..).map(|number| format!("{name}#{number}"));
    std::iter::once(name.clone()).chain(numbered).find(is_free).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use steward_adapters::signer::SecretKey;
    use steward_adapters_evm::LocalSigner;

    use super::*;

    fn config(fields: &str) -> ChainConfig {
        let text = format!("[[chains]]\nid = 'eip155:31337'\nkey_env = 'PATH_TO_NOWHERE'\n{fields}");
        crate::config::NodeConfig::parse(&text).unwrap().chains.remove(0)
    }

    #[test]
    fn endpoints_are_named_by_host_and_port_and_no_error_shows_their_keys() {
        let mut drivers: Vec<(String, Arc<dyn Chain>)> = Vec::new();
        let key = SecretKey::from_bytes([1; 32]);
        for (endpoint, expected) in [
            ("https://one.example/v2/secret", "one.example"),
            ("http://127.0.0.1:8545", "127.0.0.1:8545"),
            ("https://one.example/v2/another", "one.example#2"),
        ] {
            let endpoint = address(endpoint).unwrap();
            let name = unused_name(&endpoint, &drivers);
            assert_eq!(name, expected);
            let driver = EvmConfig { chain: "eip155:1".parse().unwrap(), endpoint, confirmations: 1, gas_max: 1 };
            drivers.push((name, Arc::new(EvmChain::new(driver, Arc::new(LocalSigner::new(&key).unwrap())).unwrap())));
        }
        for wrong in ["one.example/secret", "ftp://one.example/secret", "secret"] {
            let error = format!("{:#}", address(wrong).unwrap_err());
            assert!(error.contains("https://HOST") && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn limits_and_quorum_come_from_the_configuration() {
        let policy = policy(&config(
            "endpoints = ['http://a', 'http://b']\nquorum = 2\nunits_per_second = 330\ncosts = { history = 75 }",
        ));
        assert_eq!((policy.quorum, policy.endpoint.units_per_second), (2, Some(330)));
        assert_eq!((policy.endpoint.costs.read, policy.endpoint.costs.history), (1, 75));
    }
}
