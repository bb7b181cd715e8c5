//! Nodes that anchor on real chains through endpoints that break in every way, and are killed at random while they do:
//! what the node says it anchored is on the chain, and nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::future::join_all;
use serde_json::{Value, json};
use steward::client::Client;
use steward::process::until;
use steward_api::proto::v1;
use steward_types::Micros;

use crate::real_chain::RealChain;
use crate::stand::Stand;
use crate::tenant::{self, PROJECT, Tenant};

/// A node is killed within so long of being asked for an anchor.
const KILL_TIME_MAX: Duration = Duration::from_millis(2_500);

/// How often each node is killed: short by default, as often as `STEWARD_ANCHOR_KILLS` says.
fn kills() -> u64 {
    std::env::var("STEWARD_ANCHOR_KILLS").map_or(2, |kills| kills.parse().unwrap())
}

/// Projects that anchor at once, each a log of its own.
const LOGS: u64 = 8;

/// A project that anchors, with a session that makes a receipt a message.
struct Log {
    key: String,
    session: String,
}

impl Log {
    async fn open(stand: &Stand, chain: &RealChain, project: &str) -> Self {
        let (client, key) = stand.tenant.second_project(project, Micros::new(1_000_000_000)).await;
        tenant::anchor_on(&stand.tenant.node, project, &chain.id).await;
        tenant::deploy(&client, "counter", COUNTER, "").await;
        let request = v1::OpenSessionRequest { agent: "counter".to_owned(), ..Default::default() };
        Self { key, session: client.sessions().open(request).await.unwrap().into_inner().id }
    }

    /// Its client, for the node as it runs now.
    fn client(&self, tenant: &Tenant) -> Client {
        Client::new(tenant.node.server(), Some(&self.key)).unwrap()
    }
}

const COUNTER: &str = "fn on_message(msg) { reply(chat(msg.text).text); }";

/// A node of which the project anchors on this chain, with an agent that makes a receipt a message.
async fn start(chain: &RealChain) -> Stand {
    let stand = Stand::start(chain, "").await;
    tenant::anchor_on(&stand.tenant.node, PROJECT, &chain.id).await;
    stand.tenant.deploy("counter", COUNTER, "").await;
    stand
}

/// What the node says it anchored of a client's project, or is about to.
async fn anchors(client: &Client) -> Vec<v1::Anchor> {
    let listed = client.receipts().list_anchors(v1::ListAnchorsRequest { page_size: 1000, ..Default::default() }).await;
    listed.unwrap().into_inner().anchors
}

/// Makes receipts in each log, asks for anchors and kills the node meanwhile; returns the anchors once all are final.
async fn anchor_through_kills(chain: &RealChain) -> Vec<v1::Anchor> {
    let mut stand = Stand::start(chain, "").await;
    let mut logs = Vec::new();
    for number in 0..LOGS {
        logs.push(Log::open(&stand, chain, &format!("log-{number}")).await);
    }
    stand.break_calls();
    let (mut rounds, mut killed) = (0, 0);
    while killed < kills() {
        rounds += 1;
        let clients: Vec<Client> = logs.iter().map(|log| log.client(&stand.tenant)).collect();
        join_all(logs.iter().zip(&clients).map(|(log, client)| tenant::run(client, &log.session, "hello"))).await;
        let wishes = join_all(clients.iter().map(|client| ask_for_anchor(client, chain)));
        // A kill counts when not every anchor was final.
        killed += u64::from(stand.kill_within(KILL_TIME_MAX, wishes).await);
    }
    let mut found = Vec::new();
    for log in &logs {
        let whole = stand.until(async |tenant| {
            let client = log.client(tenant);
            ask_for_anchor(&client, chain).await;
            let anchors = anchors(&client).await;
            let is_done = anchors.iter().any(|anchor| anchor.tree_size == rounds)
                && anchors.iter().all(|anchor| anchor.state == "confirmed");
            is_done.then_some(anchors)
        });
        let whole = whole.await;
        let audit = log.client(&stand.tenant).budgets().audit(v1::AuditRequest::default()).await.unwrap().into_inner();
        assert!(audit.exact && audit.receipts == rounds, "{audit:?}");
        assert!(is_distinct(whole.iter().map(|anchor| anchor.tree_size)), "{whole:?}");
        found.extend(whole);
    }
    assert!(is_distinct(found.iter().map(|anchor| &anchor.transaction)), "{found:?}");
    tell(chain, found.len(), killed, stand.broken());
    found
}

/// Refused or not, the wish is kept: where its breaker is open, the chain is only not waited for.
async fn ask_for_anchor(client: &Client, chain: &RealChain) {
    let request = v1::AnchorRequest { project: String::new(), chain: chain.id.clone() };
    let _ = client.receipts().anchor(request).await;
}

fn is_distinct<T: Ord>(values: impl Iterator<Item = T> + Clone) -> bool {
    values.clone().collect::<BTreeSet<T>>().len() == values.count()
}

#[expect(clippy::print_stdout, reason = "a long run says what it went through")]
fn tell(chain: &RealChain, anchors: usize, killed: u64, broken: u64) {
    assert!(broken > 0);
    println!(
        "{}: {anchors} anchors, each once, through {killed} kills in their middle and {broken} broken calls",
        chain.id
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_anchors_on_an_evm_chain_anchors_once() {
    let chain = RealChain::evm().await;
    let anchors = anchor_through_kills(&chain).await;
    let contract = &anchors[0].contract;
    let events = chain.ask("eth_getLogs", json!([{ "address": contract, "fromBlock": "0x0" }])).await;
    assert_eq!(events.as_array().unwrap().len(), anchors.len(), "{events}");
    let sent = chain.ask("eth_getTransactionCount", json!([chain.account, "latest"])).await;
    assert_eq!(sent, json!(format!("0x{:x}", anchors.len() + 1)), "the contract and the anchors");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_anchors_on_a_cosmos_chain_anchors_once() {
    let Some(chain) = RealChain::cosmos().await else { return };
    let anchors = anchor_through_kills(&chain).await;
    let query = format!("transfer.sender='{}'", chain.account);
    let sent = chain.ask("tx_search", json!({ "query": query })).await;
    assert_eq!(sent["total_count"], json!(anchors.len().to_string()), "{anchors:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_while_it_anchors_on_solana_anchors_once() {
    let chain = RealChain::solana().await;
    let anchors = anchor_through_kills(&chain).await;
    let landed = signatures(&chain).await;
    let is_memo = |transaction: &&Value| transaction["err"].is_null() && transaction["memo"].is_string();
    assert_eq!(landed.iter().filter(is_memo).count(), anchors.len(), "{landed:?}");
}

/// Every transaction of the node's account on Solana, the newest first.
async fn signatures(chain: &RealChain) -> Vec<Value> {
    let mut found: Vec<Value> = Vec::new();
    loop {
        let before = found.last().map(|oldest| oldest["signature"].clone());
        let page = chain.ask("getSignaturesForAddress", json!([chain.account, { "before": before }])).await;
        let page = page.as_array().unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend_from_slice(page);
    }
}

/// How many receipts may wait in the test of size; the time is a day.
const RECEIPTS: u64 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_killed_when_enough_receipts_wait_anchors_them_once() {
    let chain = RealChain::evm().await;
    let mut stand = start(&chain).await;
    let receipts = RECEIPTS.to_string();
    let said = stand.tenant.told(&["projects", "anchoring", PROJECT, "--within", "86400", "--receipts", &receipts]);
    assert!(said.contains("3 receipts wait, or receipts have waited for 86400 s"), "{said}");
    let session = stand.tenant.open("counter").await;
    stand.tenant.run(&session, "hello").await;
    stand.tenant.books_at_rest(1).await;
    let request = v1::AnchorRequest { project: String::new(), chain: chain.id.clone() };
    stand.tenant.client.receipts().anchor(request).await.unwrap();
    let mut expected = vec![1];
    for _ in 0..kills() {
        let size = expected[0] + RECEIPTS;
        for _ in 0..RECEIPTS {
            assert_eq!(anchors(&stand.tenant.client).await.len(), expected.len(), "anchored before there are enough");
            stand.tenant.run(&session, "hello").await;
        }
        stand.kill_at_once().await;
        stand.tenant.books_at_rest(size).await;
        expected.insert(0, size);
        until("the anchor", async || {
            let anchors = anchors(&stand.tenant.client).await;
            anchors.iter().any(|anchor| anchor.tree_size == size && anchor.state == "confirmed").then_some(())
        })
        .await
        .unwrap();
        let sizes: Vec<u64> = anchors(&stand.tenant.client).await.iter().map(|anchor| anchor.tree_size).collect();
        assert_eq!(sizes, expected);
    }
    let sent = chain.ask("eth_getTransactionCount", json!([chain.account, "latest"])).await;
    assert_eq!(sent, json!(format!("0x{:x}", expected.len() + 1)), "the contract and the anchors");
}
