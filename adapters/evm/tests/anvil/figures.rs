//! How long reads take with bad endpoints, beside alloy's own fallback layer in the same run. Measures, asserts no time.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::providers::{Provider, RootProvider};
use alloy::rpc::client::RpcClient;
use alloy::transports::http::Http;
use alloy::transports::layers::FallbackLayer;
use serde_json::json;
use steward_adapters::breaker::BreakerState;
use steward_adapters::chain::{Amount, Chain, Consistency};
use steward_adapters::endpoint::Class;
use steward_adapters::pool::PoolPolicy;
use steward_adapters_evm::Mining;
use steward_chaos_chains::{Dialect, Fault, Proxy};
use steward_types::{Clock, SystemClock};
use tower::Layer as _;
use url::Url;

use super::endpoints::pooled;
use super::{SOMEBODY, anvil, chain, rpc};

/// Reads of each kind.
const READS: usize = 500;
/// Blocks that make one final.
const CONFIRMATIONS: u64 = 3;

struct Figures {
    wrong: usize,
    failed: usize,
    times: Vec<Duration>,
}

impl Figures {
    const fn new() -> Self {
        Self { wrong: 0, failed: 0, times: Vec::new() }
    }

    fn take(&mut self, took: Duration, read: Option<Amount>, truth: Amount) {
        self.times.push(took);
        self.failed += usize::from(read.is_none());
        self.wrong += usize::from(read.is_some_and(|read| read != truth));
    }

    fn line(&mut self, name: &str) -> String {
        self.times.sort_unstable();
        let at = |percent: usize| self.times[(self.times.len() * percent / 100).min(self.times.len() - 1)];
        format!(
            "| {name} | {} | {} | {} | {:.1} | {:.1} |",
            self.times.len(),
            self.wrong,
            self.failed,
            at(50).as_secs_f64() * 1e3,
            at(99).as_secs_f64() * 1e3
        )
    }
}

/// alloy's fallback layer as it comes, over the same endpoints, the three best asked at once.
fn fallback(proxies: &[Proxy]) -> RootProvider {
    let transports: Vec<_> = proxies.iter().map(|proxy| Http::new(proxy.url().clone())).collect();
    let layer = FallbackLayer::default().with_active_transport_count(NonZeroUsize::new(3).unwrap());
    RootProvider::new(RpcClient::builder().transport(layer.layer(transports), false))
}

async fn balance_by(provider: &RootProvider, account: Address) -> Option<Amount> {
    let head = provider.get_block_number().await.ok()?;
    let balance = provider.get_balance(account).number(head.saturating_sub(CONFIRMATIONS - 1)).await.ok()?;
    u128::try_from(balance).ok().map(Amount::new)
}

#[tokio::test]
#[ignore = "measures: cargo test --workspace --test anvil -- --ignored --nocapture figures"]
async fn reads_at_final_with_bad_endpoints_beside_alloys_fallback() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), CONFIRMATIONS);
    let payer = direct.provider().get_accounts().await.unwrap()[5];
    let account: Address = SOMEBODY.parse().unwrap();
    for _ in 0..40 {
        rpc(&direct, "eth_sendTransaction", json!([{ "from": payer, "to": account, "value": "0x1" }])).await;
    }
    let truth = direct.balance(SOMEBODY, None, Consistency::Final).await.unwrap();
    let clock = SystemClock::new();
    println!("| reads at final | reads | wrong | failed | p50, ms | p99, ms |\n|---|---|---|---|---|---|");
    for is_bad in [false, true] {
        let (pool, proxies) = pooled(&anvil, 5, CONFIRMATIONS, 2).await;
        if is_bad {
            proxies[0].always(Some(Fault::Dropped));
            proxies[1].always(Some(Fault::Behind));
            proxies[2].always(Some(Fault::Lies));
        }
        let alloys = fallback(&proxies);
        let (mut ours, mut theirs) = (Figures::new(), Figures::new());
        for _ in 0..READS {
            let begun = clock.monotonic();
            let read = pool.balance(SOMEBODY, None, Consistency::Final).await.ok();
            ours.take(clock.monotonic() - begun, read, truth);
            let begun = clock.monotonic();
            let read = balance_by(&alloys, account).await;
            theirs.take(clock.monotonic() - begun, read, truth);
        }
        let endpoints = if is_bad { "one dead, one behind, one lying, two well" } else { "five well" };
        println!("{}", ours.line(&format!("pool, quorum 2: {endpoints}")));
        println!("{}", theirs.line(&format!("alloy's fallback: {endpoints}")));
    }
}

/// How long each state takes, with the usual policy and a read every twentieth of a second until it is left alone. Once
/// the endpoint is well again nothing is read: the pool finds out by itself.
#[tokio::test]
#[ignore = "measures: cargo test --workspace --test anvil -- --ignored --nocapture figures"]
async fn how_long_a_breaker_takes_to_open_and_to_close_again() {
    let anvil = anvil(Mining::Automatic).await;
    let clock = SystemClock::new();
    println!("| endpoint | breaker open after, ms | dead for, s | closed again after, ms |\n|---|---|---|---|");
    for (dead_for, fault) in [(1, Fault::Dropped), (10, Fault::Dropped), (30, Fault::Failed)] {
        let driver = |endpoint: &Url| Arc::new(chain(endpoint, CONFIRMATIONS)) as Arc<dyn Chain>;
        let policy = PoolPolicy { quorum: 2, ..PoolPolicy::default() };
        let (pool, proxies) = steward_chaos_chains::pooled(Dialect::Evm, anvil.url(), (3, policy), driver).await;
        let is_closed = || {
            let breakers = pool.status().swap_remove(0).breakers;
            breakers.iter().any(|it| it.class == Class::Read && matches!(it.state, BreakerState::Closed { .. }))
        };
        let tend = async || {
            if pool.tend_at().is_some_and(|at| at <= clock.now()) {
                pool.tend().await;
            }
            clock.sleep(Duration::from_millis(10)).await;
        };
        proxies[0].always(Some(fault));
        let died = clock.monotonic();
        while is_closed() {
            pool.balance(SOMEBODY, None, Consistency::Final).await.unwrap();
            tend().await;
            clock.sleep(Duration::from_millis(40)).await;
        }
        let opened = clock.monotonic() - died;
        while clock.monotonic() - died < Duration::from_secs(dead_for) {
            tend().await;
        }
        proxies[0].always(None);
        let healed = clock.monotonic();
        while !is_closed() {
            tend().await;
        }
        let closed = clock.monotonic() - healed;
        println!("| {fault:?} | {} | {dead_for} | {} |", opened.as_millis(), closed.as_millis());
    }
}
