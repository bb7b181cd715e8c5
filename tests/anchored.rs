//! Nodes that anchor on real chains through endpoints that break in every way, and are killed at random while they do:
//! what the node says it anchored is on the chain, and nothing else.

use std::time::Duration;

use serde_json::{Value, json};
use steward::process::until;
use steward_api::proto::v1;

use crate::real_chain::RealChain;
use crate::stand::Stand;
use crate::tenant::{self, PROJECT, Tenant};

/// A node is killed within so long of being asked for an anchor.
const KILL_TIME_MAX: Duration = Duration::from_millis(2_500);

/// How often each node is killed: short by default, as often as `STEWARD_ANCHOR_KILLS` says.
fn kills() -> u64 {
    std::env::var("STEWARD_ANCHOR_KILLS").map_or(2, |kills| kills.parse().unwrap())
}

/// A node of which the project anchors on this chain, with an agent that makes a receipt a message.
async fn start(chain: &RealChain) -> Stand {
    let stand = Stand::start(chain, "").await;
    tenant::anchor_on(&stand.tenant.node, PROJECT, &chain.id).await;
    stand.tenant.deploy("counter", "fn on_message(msg) { reply(chat(msg.text).text); }", "").await;
    stand
}

/// What the node says it anchored, or is about to.
async fn anchors(tenant: &Tenant) -> Vec<v1::Anchor> {
    let listed = tenant.client.receipts().list_anchors(v1::ListAnchorsRequest::default()).await;
    listed.unwrap().into_inner().anchors
}

/// Makes receipts, asks for anchors and kills the node meanwhile; returns the anchors once all are final.
async fn anchor_through_kills(chain: &RealChain) -> Vec<v1::Anchor> {
    let mut stand = start(chain).await;
    stand.break_calls();
    let session = stand.tenant.open("counter").await;
    let request = || v1::AnchorRequest { project: String::new(), chain: chain.id.clone() };
    for kill in 1..=kills() {
        stand.tenant.run(&session, "hello").await;
        stand.tenant.books_at_rest(kill).await;
        let mut receipts = stand.tenant.client.receipts();
        stand.kill_within(KILL_TIME_MAX, receipts.anchor(request())).await;
    }
    // Refused or not, the wish is kept: where its breaker is open, the chain is only not waited for.
    let _ = stand.tenant.client.receipts().anchor(request()).await;
    let anchors = stand.until(async |tenant| {
        let anchors = anchors(tenant).await;
        let is_done = anchors.iter().any(|anchor| anchor.tree_size >= kills())
            && anchors.iter().all(|anchor| anchor.state == "confirmed");
        is_done.then_some(anchors)
    });
    let anchors = anchors.await;
    check(chain, &anchors, stand.broken());
    anchors
}

/// Every anchor has a tree and a transaction of its own, and something broke on the way.
#[expect(clippy::print_stdout, reason = "a long run says what it went through")]
fn check(chain: &RealChain, anchors: &[v1::Anchor], broken: u64) {
    for (number, anchor) in anchors.iter().enumerate() {
        let others = &anchors[number + 1..];
        assert!(others.iter().all(|other| other.transaction != anchor.transaction), "{anchors:?}");
        assert!(others.iter().all(|other| other.tree_size != anchor.tree_size), "{anchors:?}");
    }
    assert!(broken > 0);
    println!("{}: {} anchors through {} kills and {broken} broken calls", chain.id, anchors.len(), kills());
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
    let landed = chain.ask("getSignaturesForAddress", json!([chain.account])).await;
    let is_memo = |transaction: &&Value| transaction["err"].is_null() && transaction["memo"].is_string();
    assert_eq!(landed.as_array().unwrap().iter().filter(is_memo).count(), anchors.len(), "{landed}");
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
            assert_eq!(anchors(&stand.tenant).await.len(), expected.len(), "anchored before there are enough");
            stand.tenant.run(&session, "hello").await;
        }
        stand.kill_at_once().await;
        stand.tenant.books_at_rest(size).await;
        expected.insert(0, size);
        until("the anchor", async || {
            let anchors = anchors(&stand.tenant).await;
            anchors.iter().any(|anchor| anchor.tree_size == size && anchor.state == "confirmed").then_some(())
        })
        .await
        .unwrap();
        let sizes: Vec<u64> = anchors(&stand.tenant).await.iter().map(|anchor| anchor.tree_size).collect();
        assert_eq!(sizes, expected);
    }
    let sent = chain.ask("eth_getTransactionCount", json!([chain.account, "latest"])).await;
    assert_eq!(sent, json!(format!("0x{:x}", expected.len() + 1)), "the contract and the anchors");
}
