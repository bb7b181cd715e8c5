//! A node's configuration: one TOML file, read once, passed down. Flags win over the file.

mod costs;
mod devices;
mod signing;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use steward_actors::chain::SpendingTerms;
use steward_adapters::endpoint::Costs;
use steward_adapters_cosmos::GasPrice;
use steward_types::{Amount, limits};

pub use self::costs::Confirmations;
pub use self::devices::{DeviceChoice, DeviceName};
pub use self::signing::{KmsSettings, VaultSettings};

/// What a node needs to know.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// Where the node keeps its state.
    pub data: PathBuf,
    /// Where it listens.
    pub listen: SocketAddr,
    /// The store: `embedded` in the data folder, `served:HOST:PORT`, or `fdb:CLUSTER_FILE`.
    pub store: StoreChoice,
    /// How a FoundationDB store is used.
    pub foundationdb: Option<FoundationDbSettings>,
    /// The cluster that the node is a member of; without it the node is alone.
    pub cluster: Option<ClusterSettings>,
    /// Where models may be: `auto` (the CPU and every GPU that can be used), or devices such as `cpu,cuda:0`.
    pub devices: DeviceChoice,
    /// Memory that models may take on the CPU, in MiB.
    pub device_memory_mib: u64,
    /// Memory that models may take on each GPU, in MiB: what is free less a margin, unless this is less.
    pub gpu_memory_mib: Option<u64>,
    /// Messages that the node takes and turns that it works on at once, those left out that wait for a model or something
    /// else outside; without it, 32 for each processor.
    pub turns_at_work: Option<NonZeroUsize>,
    /// How long a message waits for a place among them before it is refused with `NODE_BUSY`.
    #[serde(with = "humantime_serde")]
    pub turn_wait: Duration,
    /// The receipt log's name in its checkpoints, such as a domain of the operator.
    pub log_name: String,
    /// How long a stop may take before what is left is cut off.
    #[serde(with = "humantime_serde")]
    pub drain_time: Duration,
    /// Serve TLS with this certificate.
    pub tls: Option<TlsConfig>,
    /// Serve plain HTTP beyond loopback: for a network, or behind a proxy, that encrypts by itself.
    pub plain_http: bool,
    /// The chains that receipts can be anchored on.
    pub chains: Vec<ChainConfig>,
    /// Load the deterministic model `scripted` too, for tests and trials without a model file.
    pub scripted_model: bool,
}

/// Which store a node keeps its state in.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreChoice {
    /// The node's own, in its data folder.
    #[default]
    Embedded,
    /// The store that `steward store serve` offers at this address.
    Served(String),
    /// FoundationDB, by its cluster file.
    FoundationDb(PathBuf),
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "embedded" => Ok(Self::Embedded),
            Some(("served", address)) if address.contains(':') => Ok(Self::Served(address.to_owned())),
            Some(("fdb", file)) if !file.is_empty() => Ok(Self::FoundationDb(file.into())),
            _ => Err(format!("store {text:?} is none of embedded, served:HOST:PORT, fdb:CLUSTER_FILE")),
        }
    }
}

impl TryFrom<String> for StoreChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// How a node uses FoundationDB; each has a default.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FoundationDbSettings {
    /// The name below which every key stands, `steward` unless given: several clusters of Steward's may share one
    /// database under different names.
    pub name: Option<String>,
    /// The client library; without it what `FDB_CLIENT_LIBRARY` names, or the system's.
    pub library: Option<PathBuf>,
    /// The tag of every transaction, by which FoundationDB counts and may throttle them.
    pub tag: Option<String>,
    /// The folder in which FoundationDB's client writes trace files.
    pub trace_folder: Option<PathBuf>,
    /// Log each transaction in the trace files under an identifier of its own: slow, for finding a fault.
    pub log_transactions: bool,
}

/// What a node needs to know of its cluster.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterSettings {
    /// The folder that `steward cluster issue` made for this node.
    pub identity: PathBuf,
    /// Members, as HOST:PORT of their links, of which the first that answers says where the cluster's state is. Not
    /// needed where `store` says so.
    #[serde(default)]
    pub join: Vec<String>,
    /// Where it listens for other nodes.
    #[serde(default = "any_loopback")]
    pub listen: SocketAddr,
    /// Where other nodes reach it, as HOST:PORT; without it, where it listens.
    #[serde(default)]
    pub advertise: String,
    /// What fails together with it, such as a rack or a data centre.
    #[serde(default)]
    pub zone: String,
    /// How many shards the cluster has: the first member decides, and it stays so. Without it, as many as there are.
    #[serde(default)]
    pub shards: Option<u32>,
    /// Its share of the work compared with other nodes'.
    #[serde(default = "weight_default")]
    pub weight: u32,
}

impl ClusterSettings {
    /// A member by the identity in this folder, on any port of the loopback interface.
    pub fn new(identity: PathBuf) -> Self {
        Self {
            identity,
            join: Vec::new(),
            listen: any_loopback(),
            advertise: String::new(),
            zone: String::new(),
            shards: None,
            weight: weight_default(),
        }
    }
}

const fn any_loopback() -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))
}

const fn weight_default() -> u32 {
    100
}

/// Certificate and key, as PEM files.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain of certificates, the node's own first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// One chain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// The CAIP-2 identifier, such as `eip155:31337`.
    pub id: String,
    /// The endpoint that speaks the chain's JSON-RPC.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// Several of them instead, the preferred one first.
    #[serde(default)]
    pub endpoints: Vec<String>,
    /// How many endpoints must say the same before it is believed what is final.
    #[serde(default = "quorum_default")]
    pub quorum: usize,
    /// Compute units, as the provider counts them, that may be spent at each endpoint in a second [default: no limit].
    #[serde(default)]
    pub units_per_second: Option<u32>,
    /// Compute units that may be spent at each endpoint at once, once they have gathered.
    #[serde(default = "units_burst_default")]
    pub units_burst: u32,
    /// Compute units of one request, by what it is for.
    #[serde(default)]
    pub costs: Option<Costs>,
    /// The most that is offered for a unit of gas, in wei; on Solana for a compute unit, in millionths of a lamport.
    #[serde(default)]
    pub fee_price_max: Option<u64>,
    /// The most gas that one transaction may need; on Solana compute units.
    #[serde(default)]
    pub gas_max: Option<u64>,
    /// The environment variable that holds the signing key in hexadecimal: for development.
    #[serde(default)]
    pub key_env: Option<String>,
    /// An encrypted keystore file.
    #[serde(default)]
    pub keystore: Option<PathBuf>,
    /// The environment variable with the keystore's password.
    #[serde(default)]
    pub keystore_password_env: Option<String>,
    /// The file with the keystore's password instead, of which the first line counts.
    #[serde(default)]
    pub keystore_password_file: Option<PathBuf>,
    /// A key in HashiCorp Vault instead.
    #[serde(default)]
    pub vault: Option<VaultSettings>,
    /// A key in AWS KMS, or in what speaks its protocol, instead.
    #[serde(default)]
    pub kms: Option<KmsSettings>,
    /// The receipt log contract's address; without it the node deploys one. Not on Cosmos chains.
    #[serde(default)]
    pub contract: Option<String>,
    /// A transaction is final when its block has so many blocks, its own among them, or when the chain says so. Not on
    /// Cosmos chains, whose blocks are final.
    #[serde(default)]
    pub confirmations: Confirmations,
    /// What projects may spend on it, from the wallet of its key; nothing without this.
    #[serde(default)]
    pub spending: Option<SpendingTerms>,
    /// What only chains with an id of `cosmos:…` have.
    #[serde(default)]
    pub cosmos: Option<CosmosSettings>,
}

/// What there is to say of a Cosmos chain.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CosmosSettings {
    /// What its addresses begin with, such as `cosmos`.
    pub prefix: String,
    /// The coin that fees are paid in, such as `uatom`.
    pub denom: String,
    /// The least that is offered for a unit of gas, in that coin: a decimal number in quotes, such as `"0.025"`.
    pub gas_price: GasPrice,
    /// The most that is offered, whatever the endpoint asks for.
    pub gas_price_max: GasPrice,
    /// Whether the endpoint may have forgotten the chain's first blocks.
    #[serde(default)]
    pub pruned: bool,
}

const fn quorum_default() -> usize {
    1
}

const fn units_burst_default() -> u32 {
    100
}

impl ChainConfig {
    /// Its endpoints, the preferred one first.
    pub fn all_endpoints(&self) -> Vec<&str> {
        self.endpoint.iter().chain(&self.endpoints).map(String::as_str).collect()
    }

    fn check(&self) -> anyhow::Result<()> {
        self.check_key()?;
        let is_either = self.endpoint.is_some() == self.endpoints.is_empty();
        ensure!(is_either, "chain {}: give either endpoint or endpoints", self.id);
        let count = self.all_endpoints().len();
        let most = limits::ENDPOINTS_MAX;
        ensure!(count <= most, "chain {}: it has {count} endpoints, and {most} are the most", self.id);
        ensure!(
            (1..=count).contains(&self.quorum),
            "chain {}: quorum is {}, and must be from 1 to {count}, the number of its endpoints",
            self.id,
            self.quorum
        );
        ensure!(self.units_per_second != Some(0), "chain {}: units_per_second must not be 0", self.id);
        let is_priced = self.spending.as_ref().is_none_or(|spending| spending.fee_price.per > Amount::ZERO);
        ensure!(is_priced, "chain {}: spending.fee_price.per must not be 0", self.id);
        self.check_costs().with_context(|| format!("chain {}", self.id))
    }
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            data: PathBuf::from("steward-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], 7700)),
            store: StoreChoice::Embedded,
            foundationdb: None,
            cluster: None,
            devices: DeviceChoice::Auto,
            device_memory_mib: 4096,
            gpu_memory_mib: None,
            turns_at_work: None,
            turn_wait: limits::PLACE_WAIT_TIME,
            log_name: "steward.local".to_owned(),
            drain_time: limits::DRAIN_TIME_MAX,
            tls: None,
            plain_http: false,
            chains: Vec::new(),
            scripted_model: false,
        }
    }
}

impl NodeConfig {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// Names the file, and line and field of what is wrong.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        Self::parse(&text).with_context(|| format!("{} is no configuration", file.display()))
    }

    /// Reads a configuration from TOML.
    ///
    /// # Errors
    /// Names line and field of what is wrong.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let config: Self = toml::from_str(text)?;
        config.check_store()?;
        config.chains.iter().try_for_each(ChainConfig::check)?;
        Ok(config)
    }

    /// Checks that keys cannot be read on their way: flags may have changed the address.
    ///
    /// # Errors
    /// Says what to configure.
    pub fn check_listen(&self) -> anyhow::Result<()> {
        let is_encrypted = self.tls.is_some() || self.listen.ip().is_loopback() || self.plain_http;
        ensure!(
            is_encrypted,
            "listen: {} is beyond loopback, where API keys in plain HTTP can be read on their way: give [tls] a \
             certificate and key, or plain_http = true (--plain-http) where a proxy or the network encrypts",
            self.listen
        );
        Ok(())
    }

    /// Checks that store and cluster fit each other: flags may have changed either.
    ///
    /// # Errors
    /// Says which setting is wrong, and why.
    pub fn check_store(&self) -> anyhow::Result<()> {
        let alone = self.store == StoreChoice::Embedded;
        let asks = self.cluster.as_ref().is_some_and(|cluster| !cluster.join.is_empty());
        ensure!(
            self.cluster.is_none() || !alone || asks,
            "cluster: several nodes share a store, so give store = 'served:HOST:PORT' or 'fdb:CLUSTER_FILE' too, or \
             cluster.join = ['HOST:PORT'] of a member"
        );
        let shards = self.cluster.as_ref().and_then(|cluster| cluster.shards).unwrap_or(limits::SHARDS);
        ensure!(
            (1..=limits::SHARDS_MAX).contains(&shards),
            "cluster.shards is {shards}, and must be from 1 to {}",
            limits::SHARDS_MAX
        );
        let served = matches!(self.store, StoreChoice::Served(_));
        ensure!(
            self.cluster.is_some() || !served,
            "store: a served store asks for the node's certificate, so give cluster.identity too"
        );
        let on_foundationdb = matches!(self.store, StoreChoice::FoundationDb(_));
        ensure!(
            self.foundationdb.is_none() || on_foundationdb,
            "foundationdb: the node's store is another, so give store = 'fdb:CLUSTER_FILE' too"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_read_or_refused_with_its_place() {
        let good = "data = 'd'\ndrain_time = '5s'\n[[chains]]\nid = 'eip155:1'\nendpoint = 'http://127.0.0.1:1'\nkey_env = 'K'";
        assert_eq!(NodeConfig::parse(good).unwrap().chains[0].confirmations, Confirmations::Blocks(12));
        let check = |text: &str, expected: &str| {
            let error = format!("{:#}", NodeConfig::parse(text).unwrap_err());
            assert!(error.contains(expected), "{error}");
        };
        check("datta = 'd'", "datta");
        check("listen = 'here'", "listen");
        let listens = |text: &str| NodeConfig::parse(text).unwrap().check_listen();
        for encrypted in ["listen = '[::1]:0'", "listen = '0.0.0.0:0'\nplain_http = true"] {
            listens(encrypted).unwrap();
        }
        listens("listen = '0.0.0.0:0'\n[tls]\ncertificate = 'c'\nkey = 'k'").unwrap();
        assert!(listens("listen = '10.0.0.1:7700'").unwrap_err().to_string().contains("plain_http = true"));
        let on_foundationdb = "store = 'fdb:f'\n[foundationdb]\nname = 'n'\ntag = 't'";
        assert_eq!(NodeConfig::parse(on_foundationdb).unwrap().foundationdb.unwrap().tag.as_deref(), Some("t"));
        check("[foundationdb]\nname = 'n'", "fdb:CLUSTER_FILE");
        check("store = 'fdb:f'\n[foundationdb]\nprefix = 'n'", "prefix");
        check("store = 'served:nowhere'", "served:HOST:PORT");
        check("store = 'served:h:1'\n[cluster]\nlisten = '127.0.0.1:0'", "identity");
        check("store = 'served:h:1'\n[cluster]\nidentity = 'i'\nshards = 0", "from 1 to 65536");
        check("[cluster]\nidentity = 'n'", "several nodes share a store");
        check(
            "[[chains]]\nid = 'eip155:1'\nendpoint = 'http://127.0.0.1:1'",
            "give one of key_env, keystore, vault and kms",
        );
        let chain = |fields: &str| format!("[[chains]]\nid = 'eip155:1'\nkey_env = 'K'\n{fields}");
        let both = NodeConfig::parse(&chain("endpoints = ['http://a', 'http://b', 'http://c']\nquorum = 2")).unwrap();
        assert_eq!(both.chains[0].all_endpoints(), ["http://a", "http://b", "http://c"]);
        check(&chain(""), "give either endpoint or endpoints");
        check(&chain("endpoint = 'http://a'\nendpoints = ['http://b']"), "give either endpoint or endpoints");
        check(&chain("endpoints = ['http://a', 'http://b']\nquorum = 3"), "quorum is 3, and must be from 1 to 2");
        check(&chain("endpoint = 'http://a'\nunits_per_second = 0"), "units_per_second");
        let spending = |per: u64| {
            let price = format!("{{ micros = 3, per = '{per}' }}");
            let acme = "{ pay = ['*'], coin = { max_per_transaction = '5', max_per_day = '9' } }";
            chain(&format!(
                "endpoint = 'http://a'\nspending = {{ fee_max = '7', fee_price = {price}, projects.acme = {acme} }}"
            ))
        };
        let terms = NodeConfig::parse(&spending(1_000)).unwrap().chains[0].spending.clone().unwrap();
        assert_eq!((terms.fee_max.units(), terms.projects["acme"].coin.max_per_day.units()), (7, 9));
        check(&spending(0), "fee_price.per must not be 0");
        check(&chain("endpoint = 'http://a'\nspending = { fee_max = '7' }"), "fee_price");
    }
}
