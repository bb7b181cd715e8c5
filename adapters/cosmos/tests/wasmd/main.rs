//! The driver on a real Cosmos chain: conformance, anchors as memos, an outbox that is killed between any two steps, and
//! a node that is killed, forgets its pool and goes on.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod anchors;
mod contract;
mod exactly_once;
mod faults;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use steward_adapters::chain::{Action, Amount, Chain, ChainError, EventFilter};
use steward_adapters::conformance::{self, Emission, point};
use steward_adapters::outbox::OutboxPolicy;
use steward_adapters::{Fee, FeePolicy, SecretKey};
use steward_adapters_cosmos::{CosmosChain, CosmosConfig, GasPrice, LocalSigner, Pace, Wasmd};
use steward_chaos_chains::Sender;
use url::Url;

const POLICY: OutboxPolicy =
    OutboxPolicy { poll_ms: 10, retry_ms: 10, stuck_ms: 60_000, watch_ms: 60_000, in_flight_max: 16 };
/// How long real time passes between two drives of an outbox, whose own clock goes by itself.
const STEP_TIME: Duration = Duration::from_millis(10);

/// An address that nothing else pays, and nobody has the key of: 20 times `5a`.
const SOMEBODY: &str = "wasm1tfd95kj6tfd95kj6tfd95kj6tfd95kj65te63y";

fn program() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    Wasmd::program(workspace, std::env::var_os("STEWARD_WASMD").map(Into::into))
}

/// A fresh chain, or nothing, said loudly, where tests/setup.sh could not build one for want of a registry.
#[expect(clippy::print_stdout, reason = "who reads a test's output must see that it tested nothing")]
async fn wasmd(pace: Pace) -> Option<Wasmd> {
    let program = program();
    if !program.is_file() && program.with_file_name("left-out").is_file() {
        println!("SKIPPED: there was no Go module registry to build wasmd from");
        return None;
    }
    Some(Wasmd::start(&program, pace).await.unwrap_or_else(|error| panic!("{error}")))
}

fn chain(wasmd: &Wasmd) -> CosmosChain {
    chain_of(&Wasmd::development_key(), wasmd.config())
}

fn chain_of_second_account(wasmd: &Wasmd) -> CosmosChain {
    chain_of(&Wasmd::second_key(), wasmd.config())
}

fn chain_of(key: &SecretKey, config: CosmosConfig) -> CosmosChain {
    let signer = Arc::new(LocalSigner::new(key, &config.prefix).unwrap());
    CosmosChain::new(config, signer).unwrap()
}

fn sender(chain: &dyn Chain) -> Sender<'_> {
    Sender::new(chain, POLICY).with_step_time(STEP_TIME)
}

fn anchor(tree_size: u64) -> Action {
    Action::Anchor { contract: String::new(), point: point(tree_size, tree_size as u8) }
}

async fn fee(chain: &dyn Chain) -> Fee {
    FeePolicy::default().choose(chain.market_fee().await.unwrap(), None).unwrap()
}

#[tokio::test]
async fn the_driver_conforms() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    conformance::check(&chain(&wasmd), SOMEBODY).await;
}

#[tokio::test]
async fn a_node_of_another_chain_or_of_none_is_told() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let other = CosmosConfig { chain: "cosmos:another-1".parse().unwrap(), ..wasmd.config() };
    let error = chain_of(&Wasmd::development_key(), other).genesis().await.unwrap_err();
    assert!(matches!(error, ChainError::WrongChain { .. }), "{error}");
    let chain = chain(&wasmd);
    chain.genesis().await.unwrap();
    wasmd.stop().await.unwrap();
    let error = chain.genesis().await.unwrap_err();
    assert!(matches!(error, ChainError::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_without_end_is_given_up_and_held_against_its_endpoint() {
    let config = |url: &Url| CosmosConfig {
        chain: "cosmos:endless-1".parse().unwrap(),
        endpoint: url.clone(),
        prefix: "wasm".to_owned(),
        denom: "ustake".to_owned(),
        gas_price: GasPrice::from_millionths(1),
        gas_max: 1,
        pruned: false,
    };
    let driver = |url: &Url| Arc::new(chain_of(&Wasmd::development_key(), config(url))) as _;
    steward_chaos_chains::check_endless(driver).await;
}

#[tokio::test]
async fn an_account_without_coins_is_told_to_be_funded() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let chain = chain_of(&SecretKey::from_bytes([0xee; 32]), wasmd.config());
    let error = chain.sign(&anchor(1), 0, fee(&chain).await).await.unwrap_err();
    assert!(error.to_string().contains("fund it"), "{error}");
}

#[tokio::test]
async fn events_conform() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let (chain, second) = (chain(&wasmd), chain_of_second_account(&wasmd));
    let filter = |address: &str, event: &str| EventFilter { address: address.to_owned(), event: event.to_owned() };
    let pay = |number: u64| {
        let amount = Amount::new(u128::from(number) + 1);
        Action::Transfer { to: SOMEBODY.to_owned(), amount, asset: None }
    };
    let emission = Emission {
        action: &pay,
        filter: filter(SOMEBODY, "transfer.recipient"),
        silent: filter(second.account(), "transfer.recipient"),
        wrong: filter(SOMEBODY, "transfer"),
    };
    conformance::check_events(&chain, &emission).await;
    let block = conformance::send(&chain, "told", pay(9)).await.block;
    let events = chain.events(&emission.filter, block, block).await.unwrap();
    assert_eq!(events[0].arguments.as_ref().unwrap()["sender"], chain.account(), "who paid is told");
}
