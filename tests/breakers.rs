//! Endpoints of a real chain as an operator handles them: forced, shown, told to metrics, kept through a crash, and given
//! back.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use serde_json::Value;
use steward::process::{NodeProcess, until};
use steward_chaos_chains::Proxy;

use crate::parts;
use crate::real_chain::RealChain;
use crate::tenant;

/// What the command line tells the node's operator.
fn steward(node: &NodeProcess, arguments: &[&str]) -> String {
    let key = std::fs::read_to_string(node.root_key_file()).unwrap();
    let mut steward = Command::new(parts::steward());
    let output = steward.args(["--server", node.server(), "--key", key.trim()]).args(arguments).output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{arguments:?}: {said}");
    said
}

/// The endpoint of this name, as `breakers show` has it.
fn endpoint(node: &NodeProcess, chain: &str, name: &str) -> Value {
    let shown: Value = serde_json::from_str(steward(node, &["breakers", "show", chain, "--json"]).trim()).unwrap();
    let endpoints = shown["endpoints"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["name"] == name).unwrap().clone()
}

/// What the node's metrics say; they are for whoever asks from this machine.
fn metrics(node: &NodeProcess) -> String {
    let mut stream = TcpStream::connect(node.server().trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
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
    let text = metrics(&node);
    assert_eq!(metric(&text, "steward_endpoint_state", &read).as_deref(), Some("0"), "{text}");
    for gauge in ["score", "lag_blocks", "final_lag_blocks", "throttled", "units_left"] {
        assert!(metric(&text, &format!("steward_endpoint_{gauge}"), &labels).is_some(), "{gauge}: {text}");
    }
    for gauge in ["intents", "oldest_seconds", "stalled"] {
        assert_eq!(metric(&text, &format!("steward_outbox_{gauge}"), &labels[..1]).as_deref(), Some("0"), "{text}");
    }

    let said = steward(&node, &["breakers", "open", &chain.id, &name, "--yes"]);
    assert!(said.contains("is open until it is released"), "{said}");
    assert_eq!(endpoint(&node, &chain.id, &name)["state"], "forced open");
    let text = metrics(&node);
    assert_eq!(metric(&text, "steward_endpoint_state", &read).as_deref(), Some("6"), "{text}");
    let forced = [labels.as_slice(), &[("change", "forced_open")]].concat();
    assert_eq!(metric(&text, "steward_endpoint_transitions_total", &forced).as_deref(), Some("1"), "{text}");
    let audit = steward(&node, &["audit"]);
    assert!(audit.contains("force breaker") && audit.contains(&chain.id), "{audit}");
    let shown = steward(&node, &["breakers", "show", &chain.id]);
    assert!(shown.contains("units left") && shown.contains("forced open"), "{shown}");

    node.kill().await.unwrap();
    node.start_again().await.unwrap();
    let state = |expected: &'static str| {
        let (node, chain, name) = (&node, &chain.id, &name);
        until(expected, async move || (endpoint(node, chain, name)["state"] == expected).then_some(()))
    };
    state("forced open").await.unwrap();
    steward(&node, &["breakers", "release", &chain.id, &name]);
    state("serving").await.unwrap();
    let wrong = Command::new(parts::steward())
        .args(["--server", node.server(), "--key", std::fs::read_to_string(node.root_key_file()).unwrap().trim()])
        .args(["breakers", "open", &chain.id, "nowhere:1", "--yes"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && said.contains("nowhere:1") && said.contains(&name), "{said}");
}
