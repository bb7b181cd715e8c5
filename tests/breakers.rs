//! Endpoints of a real chain as an operator handles them: forced, shown, told to metrics, kept through a crash, and given
//! back.

use serde_json::Value;
use steward::process::{NodeProcess, until};
use steward_chaos_chains::Proxy;

use crate::real_chain::RealChain;
use crate::{operator, tenant};

/// The endpoint of this name, as `breakers show` has it.
fn endpoint(node: &NodeProcess, chain: &str, name: &str) -> Value {
    let shown: Value =
        serde_json::from_str(operator::told(node, &["breakers", "show", chain, "--json"]).trim()).unwrap();
    let endpoints = shown["endpoints"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["name"] == name).unwrap().clone()
}

/// The value of a metric that has each of these labels.
fn metric(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<String> {
    let has = |line: &&str| labels.iter().all(|(label, value)| line.contains(&format!("{label}=\"{value}\"")));
    let line = text.lines().filter(|line| line.starts_with(&format!("{name}{{"))).find(has)?;
    Some(line.rsplit(' ').next().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_is_forced_open_stays_so_through_a_crash_until_it_is_released() {
    let chain = RealChain::evm().await;
    let proxies = [Proxy::start(chain.dialect, &chain.url, 1).await, Proxy::start(chain.dialect, &chain.url, 2).await];
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    let endpoints = [proxies[0].url().as_str(), proxies[1].url().as_str()];
    chain.tell(&mut setup, &endpoints, "units_per_second = 1000\ncosts = { read = 2 }");
    let mut node = NodeProcess::start(setup).await.unwrap();
    let name = format!("127.0.0.1:{}", proxies[0].url().port().unwrap());
    let labels = [("chain", chain.id.as_str()), ("endpoint", name.as_str())];
    let read = [labels.as_slice(), &[("class", "read")]].concat();

    assert_eq!(endpoint(&node, &chain.id, &name)["state"], "serving");
    let text = operator::metrics(&node);
    assert_eq!(metric(&text, "steward_endpoint_state", &read).as_deref(), Some("0"), "{text}");
    for gauge in ["score", "lag_blocks", "final_lag_blocks", "throttled", "units_left"] {
        assert!(metric(&text, &format!("steward_endpoint_{gauge}"), &labels).is_some(), "{gauge}: {text}");
    }
    for gauge in ["intents", "oldest_seconds", "stalled"] {
        assert_eq!(metric(&text, &format!("steward_outbox_{gauge}"), &labels[..1]).as_deref(), Some("0"), "{text}");
    }

    let said = operator::told(&node, &["breakers", "open", &chain.id, &name, "--yes"]);
    assert!(said.contains("is open until it is released"), "{said}");
    assert_eq!(endpoint(&node, &chain.id, &name)["state"], "forced open");
    let text = operator::metrics(&node);
    assert_eq!(metric(&text, "steward_endpoint_state", &read).as_deref(), Some("6"), "{text}");
    let forced = [labels.as_slice(), &[("change", "forced_open")]].concat();
    assert_eq!(metric(&text, "steward_endpoint_transitions_total", &forced).as_deref(), Some("1"), "{text}");
    let audit = operator::told(&node, &["audit"]);
    assert!(audit.contains("force breaker") && audit.contains(&chain.id), "{audit}");
    let shown = operator::told(&node, &["breakers", "show", &chain.id]);
    assert!(shown.contains("units left") && shown.contains("forced open"), "{shown}");

    node.kill().await.unwrap();
    node.start_again().await.unwrap();
    let state = |expected: &'static str| {
        let (node, chain, name) = (&node, &chain.id, &name);
        until(expected, async move || (endpoint(node, chain, name)["state"] == expected).then_some(()))
    };
    state("forced open").await.unwrap();
    operator::told(&node, &["breakers", "release", &chain.id, &name]);
    state("serving").await.unwrap();
    let (is_done, said) = operator::asked(&node, &["breakers", "open", &chain.id, "nowhere:1", "--yes"]);
    assert!(!is_done && said.contains("nowhere:1") && said.contains(&name), "{said}");
}
