//! A pool of endpoints, each behind a proxy of its own.

use std::sync::Arc;

use steward_adapters::breaker::BreakerPolicy;
use steward_adapters::chain::Chain;
use steward_adapters::endpoint::EndpointPolicy;
use steward_adapters::pool::{Pool, PoolPolicy};
use steward_types::SystemClock;
use url::Url;

use crate::falsehood::Dialect;
use crate::proxy::Proxy;

/// Times that a test can wait for: some hundredths of the usual ones.
pub fn quick(quorum: usize) -> PoolPolicy {
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

/// A chain over so many proxies in front of one endpoint, and the proxies. `driver` makes the driver for an address.
///
/// # Panics
/// When there is no free port, or the drivers do not fit together.
pub async fn pooled(
    dialect: Dialect,
    endpoint: &Url,
    (count, policy): (u64, PoolPolicy),
    driver: impl Fn(&Url) -> Arc<dyn Chain>,
) -> (Pool, Vec<Proxy>) {
    let (mut proxies, mut drivers) = (Vec::new(), Vec::new());
    for number in 0..count {
        let proxy = Proxy::start(dialect, endpoint, number).await;
        drivers.push((format!("endpoint {number}"), driver(proxy.url())));
        proxies.push(proxy);
    }
    let pool = Pool::new(drivers, policy, Arc::new(SystemClock::new()));
    (pool.expect("the drivers are of one account on one chain"), proxies)
}
