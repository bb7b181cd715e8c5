//! Several endpoints of one real chain: dead, behind, lying. What is final is right, and who is well again is used again.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::providers::Provider;
use serde_json::json;
use steward_adapters::breaker::{BreakerState, Forced};
use steward_adapters::chain::{Amount, Chain, ChainError, Consistency};
use steward_adapters::conformance;
use steward_adapters::endpoint::{Change, Class};
use steward_adapters::pool::Pool;
use steward_adapters_evm::{Anvil, EvmChain, Mining};
use steward_chaos_chains::proxy::RETRY_AFTER_SECONDS;
use steward_chaos_chains::{Dialect, Fault, Proxy, quick};
use steward_types::{Clock, SystemClock};
use url::Url;

use super::{SOMEBODY, anvil, chain, rpc};

/// A chain over so many proxies in front of one anvil, of which `quorum` must agree.
pub async fn pooled(anvil: &Anvil, count: u64, confirmations: u64, quorum: usize) -> (Pool, Vec<Proxy>) {
    let driver = |endpoint: &Url| Arc::new(chain(endpoint, confirmations)) as Arc<dyn Chain>;
    steward_chaos_chains::pooled(Dialect::Evm, anvil.url(), (count, quick(quorum)), driver).await
}

#[tokio::test]
async fn a_pool_of_real_endpoints_conforms() {
    let anvil = anvil(Mining::Automatic).await;
    for quorum in [1, 2] {
        let (pool, _proxies) = pooled(&anvil, 3, 1, quorum).await;
        conformance::check(&pool, SOMEBODY).await;
    }
}

/// What somebody has as of the newest final block, asked of the chain itself.
async fn truth(chain: &EvmChain) -> Amount {
    chain.balance(SOMEBODY, None, Consistency::Final).await.unwrap()
}

async fn pay_and_mine(chain: &EvmChain, from: Address) {
    let to: Address = SOMEBODY.parse().unwrap();
    rpc(chain, "eth_sendTransaction", json!([{ "from": from, "to": to, "value": "0x1" }])).await;
}

#[tokio::test]
async fn with_one_dead_one_behind_and_one_lying_every_final_read_is_right() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = chain(anvil.url(), 3);
    let payer = direct.provider().get_accounts().await.unwrap()[5];
    for _ in 0..40 {
        pay_and_mine(&direct, payer).await;
    }
    let (pool, proxies) = pooled(&anvil, 5, 3, 2).await;
    proxies[0].always(Some(Fault::Dropped));
    proxies[1].always(Some(Fault::Behind));
    proxies[2].always(Some(Fault::Lies));
    for number in 0..60 {
        let before = truth(&direct).await;
        let read = pool.balance(SOMEBODY, None, Consistency::Final).await.unwrap();
        let after = truth(&direct).await;
        assert!((before..=after).contains(&read), "read {number}: {read}, and it was {before} to {after}");
        pay_and_mine(&direct, payer).await;
    }
    for (proxy, fault) in proxies.iter().zip([Fault::Dropped, Fault::Behind, Fault::Lies]) {
        assert!(proxy.fired()[&fault] > 0, "{fault:?} fired");
    }
    let [dead, behind, liar, well, _] = &pool.status()[..] else { panic!() };
    let changed =
        |changes: &[steward_adapters::endpoint::Transition], change| changes.iter().any(|t| t.change == change);
    assert!(changed(&dead.transitions, Change::Opened(Class::Read)), "{dead:#?}");
    assert!(behind.lag_blocks >= 20 && behind.wrong_answers == 0, "{behind:#?}");
    assert!(changed(&liar.transitions, Change::Contradicted) && !liar.is_primary, "{liar:#?}");
    assert!(well.wrong_answers == 0 && well.score > liar.score, "{well:#?}");
}

#[tokio::test]
async fn a_breaker_opens_while_an_endpoint_fails_and_closes_when_it_is_well() {
    let anvil = anvil(Mining::Automatic).await;
    let clock = SystemClock::new();
    for fault in [Fault::Dropped, Fault::Failed, Fault::Truncated, Fault::Garbled, Fault::ReplyLost, Fault::Repeated] {
        let (pool, proxies) = pooled(&anvil, 2, 1, 1).await;
        let state = || pool.status()[0].breakers.iter().find(|b| b.class == Class::Read).unwrap().state.clone();
        proxies[0].always(Some(fault));
        while !matches!(state(), BreakerState::Open { .. }) {
            pool.look().await.unwrap();
        }
        assert!(pool.balance(SOMEBODY, None, Consistency::Final).await.is_ok(), "{fault:?}: the other serves");
        proxies[0].always(None);
        while !matches!(state(), BreakerState::Closed { .. }) {
            pool.look().await.unwrap();
            clock.sleep(Duration::from_millis(1)).await;
        }
        assert!(proxies[0].fired()[&fault] >= 3, "{fault:?} fired");
    }
}

#[tokio::test]
async fn one_that_throttles_is_left_alone_as_long_as_it_says() {
    let anvil = anvil(Mining::Automatic).await;
    let direct = Proxy::start(Dialect::Evm, anvil.url(), 7).await;
    let chain = chain(direct.url(), 1);
    direct.always(Some(Fault::ThrottledFor));
    let error = chain.head().await.unwrap_err();
    let ChainError::Throttled { retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(retry_after, Some(Duration::from_secs(RETRY_AFTER_SECONDS)), "though the body says it in JSON-RPC");
    direct.always(Some(Fault::Throttled));
    let error = chain.head().await.unwrap_err();
    assert!(matches!(error, ChainError::Throttled { retry_after: None, .. }), "{error}");
    let (pool, proxies) = pooled(&anvil, 2, 1, 1).await;
    proxies[0].always(Some(Fault::ThrottledFor));
    for _ in 0..5 {
        pool.head().await.unwrap();
    }
    assert!(pool.status()[0].transitions.iter().any(|transition| transition.change == Change::Throttled));
    pool.force("endpoint 1", Some(Forced::Open));
    pool.force("endpoint 0", Some(Forced::Open));
    let error = pool.head().await.unwrap_err().in_full();
    assert!(error.contains("an operator forced it open"), "{error}");
}

#[tokio::test]
async fn an_endpoints_address_is_in_no_error() {
    let anvil = anvil(Mining::Automatic).await;
    let proxy = Proxy::start(Dialect::Evm, anvil.url(), 1).await;
    let secret = proxy.url().join("/v3/the-providers-key").unwrap();
    let chain = chain(&secret, 1);
    for fault in Fault::ALL {
        proxy.always(Some(fault));
        if let Err(error) = chain.genesis().await {
            let shown = format!("{error:?} {}", error.in_full());
            assert!(!shown.contains("the-providers-key"), "{fault:?}: {shown}");
        }
    }
    anvil.stop().await.unwrap();
    drop(proxy);
    let error = chain.genesis().await.unwrap_err();
    let shown = format!("{error:?} {}", error.in_full());
    assert!(!shown.contains("the-providers-key"), "{shown}");
}
