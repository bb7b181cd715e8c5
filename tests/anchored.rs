//! Nodes that anchor on real chains through endpoints that break in every way, and are killed at random while they do:
//! what the node says it anchored is on the chain, and nothing else.

use std::time::Duration;

use serde_json::{Value, json};
use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_adapters::Signer as _;
use steward_adapters_cosmos::{Pace, Wasmd};
use steward_adapters_evm::{Anvil, Mining};
use steward_adapters_solana::{Devnet, LocalSigner, SolanaChain};
use steward_api::proto::v1;
use steward_chaos_chains::{Dialect, Fault, Proxy, Rules, proxy};
use steward_types::{Clock as _, Entropy as _, Micros, SeededEntropy, SystemClock};
use url::Url;

use crate::parts;
use crate::tenant::{self, PROJECT, Tenant};

/// How many in a thousand calls are broken.
const PERMILLE: u64 = 100;
/// A node is killed within so many milliseconds of being asked for an anchor.
const KILL_MILLIS_MAX: u64 = 2_500;
/// How often it is looked whether an anchor is there.
const LOOK_TIME: Duration = Duration::from_millis(50);

/// How often each node is killed: short by default, as often as `STEWARD_ANCHOR_KILLS` says.
fn kills() -> u64 {
    std::env::var("STEWARD_ANCHOR_KILLS").map_or(2, |kills| kills.parse().unwrap())
}

/// A node in front of a chain, and what stands between them.
struct Stand {
    tenant: Tenant,
    chain: String,
    proxies: Vec<Proxy>,
    dice: SeededEntropy,
}

impl Stand {
    /// A node that anchors on this chain; `settings` is the rest of its configuration.
    async fn start(dialect: Dialect, chain: &str, endpoint: &Url, settings: &str, key: (&str, String)) -> Self {
        let mut proxies = Vec::new();
        for number in 0..3 {
            proxies.push(Proxy::start(dialect, endpoint, number).await);
        }
        let folder = tempfile::tempdir().unwrap();
        let mut setup = tenant::setup(&folder.path().join("node"));
        let endpoints: Vec<&str> = proxies.iter().map(|proxy| proxy.url().as_str()).collect();
        let key_env = key.0;
        setup.config += &format!(
            "[[chains]]\nid = {chain:?}\nendpoints = {endpoints:?}\nquorum = 2\nkey_env = {key_env:?}\n{settings}\n"
        );
        setup.environment.push((key_env.to_owned(), key.1));
        let node = NodeProcess::start(setup).await.unwrap();
        let (client, key) = tenant::create_project(&node, PROJECT, Micros::new(1_000_000_000)).await;
        tenant::anchor_on(&node, PROJECT, chain).await;
        let tenant = Tenant { node, client, key, folder };
        tenant.deploy("counter", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
        Self { tenant, chain: chain.to_owned(), proxies, dice: SeededEntropy::new(11) }
    }

    /// Makes receipts, asks for anchors and kills the node meanwhile; returns the anchors once all are final.
    async fn anchor_through_kills(&mut self) -> Vec<v1::Anchor> {
        for (number, proxy) in self.proxies.iter().enumerate() {
            let sometimes = if number == 0 { Fault::ALL.to_vec() } else { Fault::honest() };
            proxy.rule(Rules { always: None, sometimes, permille: PERMILLE });
        }
        let clock = SystemClock::new();
        let session = self.tenant.open("counter").await;
        for kill in 1..=kills() {
            self.tenant.run(&session, "hello").await;
            self.tenant.books_at_rest(kill).await;
            let request = v1::AnchorRequest { project: String::new(), chain: self.chain.clone() };
            let mut receipts = self.tenant.client.receipts();
            let wait = Duration::from_millis(self.dice.next_u64() % KILL_MILLIS_MAX);
            tokio::select! {
                _ = receipts.anchor(request) => {}
                () = clock.sleep(wait) => {}
            }
            self.tenant.node.kill().await.unwrap();
            self.tenant.node.start_again().await.unwrap();
            self.tenant.client = Client::new(self.tenant.node.server(), Some(&self.tenant.key)).unwrap();
        }
        let request = v1::AnchorRequest { project: String::new(), chain: self.chain.clone() };
        // Refused or not, the wish is kept: where its breaker is open, the chain is only not waited for.
        let _ = self.tenant.client.receipts().anchor(request).await;
        loop {
            let anchors = self.anchors().await;
            if anchors.iter().any(|anchor| anchor.tree_size >= kills())
                && anchors.iter().all(|anchor| anchor.state == "confirmed")
            {
                return anchors;
            }
            clock.sleep(LOOK_TIME).await;
        }
    }

    async fn anchors(&self) -> Vec<v1::Anchor> {
        let listed = self.tenant.client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await;
        listed.unwrap().into_inner().anchors
    }

    /// Every anchor has a tree and a transaction of its own, and something broke on the way.
    #[expect(clippy::print_stdout, reason = "a long run says what it went through")]
    fn check(&self, anchors: &[v1::Anchor]) {
        for (number, anchor) in anchors.iter().enumerate() {
            let others = &anchors[number + 1..];
            assert!(others.iter().all(|other| other.transaction != anchor.transaction), "{anchors:?}");
            assert!(others.iter().all(|other| other.tree_size != anchor.tree_size), "{anchors:?}");
        }
        let fired: u64 = self.proxies.iter().flat_map(Proxy::fired).map(|(_, count)| count).sum();
        assert!(fired > 0);
        println!("{}: {} anchors through {} kills and {fired} faults", self.chain, anchors.len(), kills());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_anchors_on_an_evm_chain_anchors_once() {
    let anvil = Anvil::start(&parts::anvil(), Mining::EverySeconds(1)).await.unwrap();
    let key = Anvil::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    let settings = "confirmations = 2";
    let mut stand = Stand::start(Dialect::Evm, "eip155:31337", anvil.url(), settings, ("EVM_KEY", key)).await;
    let anchors = stand.anchor_through_kills().await;
    stand.check(&anchors);
    let (account, contract) = (Anvil::DEVELOPMENT_ACCOUNT, &anchors[0].contract);
    let events = proxy::ask(anvil.url(), "eth_getLogs", json!([{ "address": contract, "fromBlock": "0x0" }])).await;
    assert_eq!(events.as_array().unwrap().len(), anchors.len(), "{events}");
    let sent = proxy::ask(anvil.url(), "eth_getTransactionCount", json!([account, "latest"])).await;
    assert_eq!(sent, json!(format!("0x{:x}", anchors.len() + 1)), "the contract and the anchors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_anchors_on_a_cosmos_chain_anchors_once() {
    let Some(program) = parts::wasmd() else {
        println!("SKIPPED: there was no Go module registry to build wasmd from");
        return;
    };
    let wasmd = Wasmd::start(&program, Pace::Quick).await.unwrap();
    let chain = wasmd.config();
    let key = Wasmd::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    let settings = format!(
        "cosmos = {{ prefix = {:?}, denom = {:?}, gas_price = \"0.025\", gas_price_max = \"1\" }}",
        chain.prefix, chain.denom
    );
    let id = chain.chain.as_str();
    let mut stand = Stand::start(Dialect::Cosmos, id, wasmd.url(), &settings, ("COSMOS_KEY", key)).await;
    let anchors = stand.anchor_through_kills().await;
    stand.check(&anchors);
    let signer = steward_adapters_cosmos::LocalSigner::new(&Wasmd::development_key(), &chain.prefix).unwrap();
    let query = format!("transfer.sender='{}'", signer.address());
    let sent = proxy::ask(wasmd.url(), "tx_search", json!({ "query": query })).await;
    assert_eq!(sent["total_count"], json!(anchors.len().to_string()), "{anchors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_anchors_on_solana_anchors_once() {
    let key = json!(vec![6; 32]).to_string();
    let signer = LocalSigner::from_text(&key).unwrap();
    let slot = Duration::from_millis(50);
    let devnet = Devnet::start(&parts::solana_devnet(), slot, &[signer.address()]).await.unwrap();
    let id = SolanaChain::identify(devnet.url()).await.unwrap().to_string();
    let mut stand = Stand::start(Dialect::Solana, &id, devnet.url(), "", ("SOLANA_KEY", key)).await;
    let anchors = stand.anchor_through_kills().await;
    stand.check(&anchors);
    let landed = proxy::ask(devnet.url(), "getSignaturesForAddress", json!([signer.address()])).await;
    let is_memo = |transaction: &&Value| transaction["err"].is_null() && transaction["memo"].is_string();
    assert_eq!(landed.as_array().unwrap().iter().filter(is_memo).count(), anchors.len(), "{landed}");
}

/// How many receipts may wait in the test of size; the time is a day.
const RECEIPTS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_when_enough_receipts_wait_anchors_them_once() {
    let anvil = Anvil::start(&parts::anvil(), Mining::EverySeconds(1)).await.unwrap();
    let key = Anvil::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    let settings = "confirmations = 1";
    let mut stand = Stand::start(Dialect::Evm, "eip155:31337", anvil.url(), settings, ("EVM_KEY", key)).await;
    let receipts = RECEIPTS.to_string();
    let said = stand.tenant.told(&["projects", "anchoring", PROJECT, "--within", "86400", "--receipts", &receipts]);
    assert!(said.contains("3 receipts wait, or receipts have waited for 86400 s"), "{said}");
    let session = stand.tenant.open("counter").await;
    stand.tenant.run(&session, "hello").await;
    stand.tenant.books_at_rest(1).await;
    let request = v1::AnchorRequest { project: String::new(), chain: stand.chain.clone() };
    stand.tenant.client.receipts().anchor(request).await.unwrap();
    let mut expected = vec![1];
    for _ in 0..kills() {
        let size = expected[0] + RECEIPTS;
        for _ in 0..RECEIPTS {
            assert_eq!(stand.anchors().await.len(), expected.len(), "anchored before there are enough");
            stand.tenant.run(&session, "hello").await;
        }
        stand.tenant.node.kill().await.unwrap();
        stand.tenant.node.start_again().await.unwrap();
        stand.tenant.client = Client::new(stand.tenant.node.server(), Some(&stand.tenant.key)).unwrap();
        stand.tenant.books_at_rest(size).await;
        expected.insert(0, size);
        until("the anchor", async || {
            let anchors = stand.anchors().await;
            anchors.iter().any(|anchor| anchor.tree_size == size && anchor.state == "confirmed").then_some(())
        })
        .await
        .unwrap();
        let sizes: Vec<u64> = stand.anchors().await.iter().map(|anchor| anchor.tree_size).collect();
        assert_eq!(sizes, expected);
    }
    let sent = proxy::ask(anvil.url(), "eth_getTransactionCount", json!([Anvil::DEVELOPMENT_ACCOUNT, "latest"])).await;
    assert_eq!(sent, json!(format!("0x{:x}", expected.len() + 1)), "the contract and the anchors");
}
