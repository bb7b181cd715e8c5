//! A real cluster, and accounts on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use steward_adapters::SecretKey;
use steward_adapters::chain::{Action, Amount, Chain, ChainError, Consistency, EventFilter};
use steward_adapters::conformance::{self, Emission};
use steward_adapters::outbox::OutboxPolicy;
use steward_adapters::signer::Signer as _;
use steward_adapters_solana::{Devnet, LocalSigner, SolanaChain, SolanaConfig};
use steward_chaos_chains::Sender;
use url::Url;

/// Twenty times as fast as a real cluster: final after 0.6 s, expired after 3.2 s.
const SLOT: Duration = Duration::from_millis(20);

pub const POLICY: OutboxPolicy =
    OutboxPolicy { poll_ms: 40, retry_ms: 40, stuck_ms: 2_000, watch_ms: 0, in_flight_max: 16 };

/// A running cluster on which two accounts are rich.
pub struct Cluster {
    pub devnet: Devnet,
    pub ours: SolanaChain,
    pub strangers: SolanaChain,
}

pub fn key(byte: u8) -> LocalSigner {
    LocalSigner::new(&SecretKey::from_bytes([byte; 32]))
}

pub async fn start() -> Cluster {
    start_with(SLOT).await
}

/// The same with slots of this length.
pub async fn start_with(slot: Duration) -> Cluster {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let named = std::env::var_os("STEWARD_SOLANA_DEVNET").map(Into::into);
    let program = Devnet::program(workspace, named);
    let (ours, strangers) = (key(1), key(2));
    let devnet = Devnet::start(&program, slot, &[ours.address(), strangers.address()]).await;
    let devnet = devnet.unwrap_or_else(|error| panic!("{error}"));
    let (ours, strangers) = (chain(devnet.url(), ours).await, chain(devnet.url(), strangers).await);
    Cluster { devnet, ours, strangers }
}

pub async fn chain(endpoint: &Url, signer: LocalSigner) -> SolanaChain {
    let id = SolanaChain::identify(endpoint).await.unwrap();
    let config = SolanaConfig { chain: id, endpoint: endpoint.clone(), units_max: 400_000 };
    SolanaChain::new(config, Arc::new(signer)).unwrap()
}

/// An outbox that is driven about every other block.
pub fn sender(chain: &dyn Chain) -> Sender<'_> {
    Sender::new(chain, POLICY).with_step_time(SLOT)
}

/// A payment of lamports, or of a token, to an address that nobody pays but this.
pub fn payment(to: &str, amount: u64, asset: Option<String>) -> Action {
    Action::Transfer { to: to.to_owned(), amount: Amount::from(amount), asset }
}

pub async fn balance(chain: &SolanaChain, account: &str, asset: Option<&str>) -> u128 {
    chain.balance(account, asset, Consistency::Final).await.unwrap().units()
}

#[tokio::test]
async fn the_driver_conforms() {
    let cluster = start().await;
    conformance::check(&cluster.ours, cluster.strangers.account()).await;
}

#[tokio::test]
async fn events_conform() {
    let cluster = start().await;
    let (ours, somebody, nobody) = (&cluster.ours, cluster.strangers.account(), key(9));
    let filter = |address: &str, event: &str| EventFilter { address: address.to_owned(), event: event.to_owned() };
    let emission = Emission {
        action: &|number| payment(somebody, 1_000_000 + number, None),
        filter: filter(somebody, "transaction"),
        silent: filter(nobody.address(), "transaction"),
        wrong: filter(somebody, "Transfer"),
    };
    let begin = ours.head().await.unwrap().final_block + 1;
    conformance::check_events(ours, &emission).await;
    let end = ours.head().await.unwrap().final_block;
    let events = ours.events(&emission.filter, begin, end).await.unwrap();
    let signers = |event: &steward_adapters::chain::EmittedEvent| event.arguments.as_ref().unwrap()["signers"].clone();
    assert!(events.iter().all(|event| signers(event) == serde_json::json!([ours.account()])), "{events:?}");
    let memos = ours.events(&filter(somebody, "memo"), begin, end).await.unwrap();
    assert!(memos.is_empty(), "no payment had a memo: {memos:?}");
}

#[tokio::test]
async fn an_endpoint_of_another_cluster_is_refused() {
    let Cluster { devnet, .. } = start().await;
    let mainnet = "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp".parse().unwrap();
    let config = SolanaConfig { chain: mainnet, endpoint: devnet.url().clone(), units_max: 1 };
    let chain = SolanaChain::new(config, Arc::new(key(1))).unwrap();
    let error = chain.genesis().await.unwrap_err();
    assert!(matches!(error, ChainError::WrongChain { .. }), "{error}");
    devnet.stop().await.unwrap();
    let error = chain.genesis().await.unwrap_err();
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
}

#[test]
fn what_is_no_cluster_or_no_key_for_one_is_refused_before_anything_is_asked() {
    let endpoint: Url = "http://127.0.0.1:1".parse().unwrap();
    for id in ["eip155:1", "solana:mainnet"] {
        let config = SolanaConfig { chain: id.parse().unwrap(), endpoint: endpoint.clone(), units_max: 1 };
        let error = SolanaChain::new(config, Arc::new(key(1))).unwrap_err();
        assert!(matches!(error, ChainError::Malformed { .. }), "{error}");
    }
}
