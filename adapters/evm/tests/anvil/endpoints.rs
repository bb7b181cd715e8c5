//! Several endpoints of one real chain: dead, behind, lying. What is final is right, and who is well again is used again.

use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::Address;
use alloy::providers::Provider;
use serde_json::json;
use steward_adapters::SecretKey;
use steward_adapters::breaker::{BreakerPolicy, BreakerState, Forced};
use steward_adapters::chain::{Amount, Chain, ChainError, Consistency};
use steward_adapters::conformance;
use steward_adapters::endpoint::{Change, Class, EndpointPolicy};
use steward_adapters::pool::{Pool, PoolPolicy};
use steward_adapters_evm::{Anvil, EvmChain, Mining};
use steward_types::{Clock, SystemClock};

use super::proxy::{Fault, Proxy, Rules};
use super::{SOMEBODY, anvil, chain, chain_of, rpc};

/// Times that a test can wait for.
pub fn policy(quorum: usize) -> PoolPolicy {
    let endpoint = EndpointPolicy {
        breaker: BreakerPolicy { failures_max: 3, open_ms_min: 20, open_ms_max: 100 },
        throttled_ms_min: 10,
        throttled_ms_max: 50,
        punished_ms_min: 100,
        punished_ms_max: 200,
        ..EndpointPolicy::default()
    };
    PoolPolicy { endpoint, quorum, ..PoolPolicy::default() }
}

/// A chain over so many proxies in front of one anvil.
pub async fn pooled(
    anvil: &Anvil,
    key: &SecretKey,
    count: u64,
    confirmations: u64,
    quorum: usize,
) -> (Pool, Vec<Proxy>) {
    let (mut proxies, mut drivers) = (Vec::new(), Vec::new());
    for number in 0..count {
        let proxy = Proxy::start(anvil.url(), number).await;
        let driver: Arc<dyn Chain> = Arc::new(chain_of(key, proxy.url(), confirmations));
        drivers.push((format!("endpoint {number}"), driver));
        proxies.push(proxy);
    }
    let pool = Pool::new(drivers, policy(quorum), Arc::new(SystemClock::new())).unwrap();
    (pool, proxies)
}

#[tokio::test]
async fn a_pool_of_real_endpoints_conforms() {
    let anvil = anvil(Mining::Automatic).await;
    for quorum in [1, 2] {
        let (pool, _proxies) = pooled(&anvil, &Anvil::development_key(), 3, 1, quorum).await;
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
    let (pool, proxies) = pooled(&anvil, &Anvil::development_key(), 5, 3, 2).await;
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
    for fault in [Fault::Dropped, Fault::Failed, Fault::Truncated, Fault::Garbled, Fault::ReplyLost] {
        let (pool, proxies) = pooled(&anvil, &Anvil::development_key(), 2, 1, 1).await;
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
    let direct = Proxy::start(anvil.url(), 7).await;
    let chain = chain(direct.url(), 1);
    direct.always(Some(Fault::ThrottledFor));
    let error = chain.head().await.unwrap_err();
    let ChainError::Throttled { retry_after, .. } = error else { panic!("{error}") };
    assert_eq!(retry_after, Some(Duration::from_secs(1)));
    direct.always(Some(Fault::Throttled));
    let error = chain.head().await.unwrap_err();
    assert!(matches!(error, ChainError::Throttled { retry_after: None, .. }), "{error}");
    let (pool, proxies) = pooled(&anvil, &Anvil::development_key(), 2, 1, 1).await;
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
    let proxy = Proxy::start(anvil.url(), 1).await;
    let secret = proxy.url().join("/v3/the-providers-key").unwrap();
    let chain = chain(&secret, 1);
    for fault in Fault::ALL {
        proxy.rule(Rules { always: Some(fault), ..Rules::default() });
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
