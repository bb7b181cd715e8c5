//! A chain is one entity of its cluster: the node that has it is killed in the middle of its outbox, payments and
//! triggers go on at another node, and the chain itself says that each payment was made once.

use alloy::providers::Provider as _;
use serde_json::{Value, json};
use steward::client::Client;
use steward::process::{NodeSetup, until};
use steward_adapters::chain::{Chain as _, Consistency};
use steward_adapters_evm::{Anvil, EvmChain, EvmConfig, LocalSigner, Mining};
use steward_api::proto::v1;
use steward_chaos::fleet::Fleet;
use steward_chaos::store::StoreChoice;
use steward_types::Micros;

use crate::parts;
use crate::tenant::{self, PROJECT};
use crate::triggers;

const CHAIN: &str = "eip155:31337";
/// An account that has nothing in the beginning.
const BOB: &str = "0x00000000000000000000000000000000000b0b02";
const PAYMENTS: u64 = 40;
/// How often the chain's node is killed.
const KILLS: usize = 2;

async fn rpc(chain: &EvmChain, method: &'static str, parameters: Value) -> Value {
    chain.provider().raw_request(method.into(), parameters).await.unwrap()
}

/// The chain as it says itself, past every node.
fn outside(anvil: &Anvil) -> EvmChain {
    let config = EvmConfig {
        chain: CHAIN.parse().unwrap(),
        endpoint: anvil.url().clone(),
        confirmations: 1,
        gas_max: 3_000_000,
    };
    EvmChain::new(config, std::sync::Arc::new(LocalSigner::new(&Anvil::development_key()).unwrap())).unwrap()
}

async fn mine(chain: &EvmChain) {
    rpc(chain, "evm_mine", json!([])).await;
}

/// How many transactions wait for a block.
async fn waiting(chain: &EvmChain) -> u64 {
    let status = rpc(chain, "txpool_status", json!([])).await;
    u64::from_str_radix(status["pending"].as_str().unwrap().trim_start_matches("0x"), 16).unwrap()
}

async fn made(chain: &EvmChain) -> u64 {
    chain.sequence(Consistency::Latest).await.unwrap().unwrap()
}

/// Three nodes that share the chain, whose project may pay Bob.
async fn start(folder: &std::path::Path, anvil: &Anvil) -> Fleet {
    let mut setup = NodeSetup { folder: folder.to_owned(), ..tenant::setup(&folder.join("unused")) };
    // A fleet puts its own tables behind this one, so that the chain stands inline.
    let coin = "coin = { max_per_transaction = \"1000\", max_per_day = \"100000\" }";
    let spending = format!(
        "{{ fee_max = \"1000000000000000\", fee_price = {{ micros = 3, per = \"1000000000\" }}, \
         projects.{PROJECT} = {{ pay = [{BOB:?}], {coin} }} }}"
    );
    setup.config += &format!(
        "chains = [{{ id = {CHAIN:?}, endpoint = {:?}, key_env = \"EVM_KEY\", confirmations = 1, spending = {spending} }}]\n",
        anvil.url().as_str()
    );
    let secret = Anvil::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    setup.environment.push(("EVM_KEY".to_owned(), secret));
    Fleet::start(&setup, 3, &StoreChoice::Served, None).await.unwrap()
}

/// The node whose chain entity is in memory: the one that sends.
async fn sender(fleet: &Fleet) -> usize {
    let found = until("the node that has the chain", async || {
        for (number, node) in fleet.nodes.iter().enumerate() {
            let request = v1::InspectActorRequest { kind: "chain".to_owned(), id: CHAIN.to_owned() };
            let inspected = node.root_client().ok()?.actors().inspect(request).await.ok()?.into_inner().summary?;
            let members = node.root_client().ok()?.operations().nodes(v1::NodesRequest {}).await.ok()?.into_inner();
            let its = members.nodes.iter().find(|member| member.id == inspected.node)?;
            if inspected.state == "active" && its.is_this {
                return Some(number);
            }
        }
        None
    });
    found.await.unwrap()
}

/// The books of the project, once every payment has its settled step.
async fn books(client: &Client, steps: u64) -> v1::AuditResponse {
    let settled = until("books at rest", async || {
        let audit = client.budgets().audit(v1::AuditRequest::default()).await.ok()?.into_inner();
        (audit.steps_settled == steps && audit.steps_open == 0).then_some(audit)
    });
    settled.await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_whose_node_is_killed_pays_each_once_from_another_node() {
    let (folder, anvil) = (tempfile::tempdir().unwrap(), Anvil::start(&parts::anvil(), Mining::Manual).await.unwrap());
    let (chain, mut fleet) = (outside(&anvil), start(folder.path(), &anvil).await);
    let (_, key) = tenant::create_project(&fleet.nodes[0], PROJECT, Micros::new(10_000_000_000)).await;
    let client_of = |fleet: &Fleet, node: usize| Client::new(fleet.nodes[node].server(), Some(&key)).unwrap();
    let client = client_of(&fleet, 0);
    let script = format!(
        "fn on_message(msg) {{
            let evm = chain({CHAIN:?});
            let ids = [];
            for amount in 1..={PAYMENTS} {{ ids.push(evm.send({BOB:?}, amount)); }}
            ids.filter(|id| evm.wait(id).succeeded).len()
        }}"
    );
    let rules = format!(
        "[chains.\"{CHAIN}\"]\npay = [{BOB:?}]\n\
         coin = {{ max_per_transaction = \"900\", max_per_day = \"900000\", approve_above = \"900\" }}\n"
    );
    tenant::deploy(&client, "payer", &script, &rules).await;
    let before = made(&chain).await;
    let open = v1::OpenSessionRequest { agent: "payer".to_owned(), ..Default::default() };
    let session = client.sessions().open(open).await.unwrap().into_inner().id;
    let message = Some(v1::Message { text: "go".to_owned(), data_json: String::new() });
    let send = v1::SendRequest { session: session.clone(), message, idempotency_key: "go".to_owned() };
    client.sessions().send(send).await.unwrap();

    // Each kill comes while transactions wait for a block, which only the test makes.
    let mut killed = Vec::new();
    for kill in 0..KILLS {
        until("a transaction that waits", async || (waiting(&chain).await > 0).then_some(())).await.unwrap();
        assert!(made(&chain).await < before + PAYMENTS, "kill {kill} came after the last payment");
        let victim = sender(&fleet).await;
        fleet.nodes[victim].kill().await.unwrap();
        mine(&chain).await;
        let heir = until("another node that has the chain", async || {
            let mut others = (0..3).filter(|node| *node != victim);
            let root = fleet.nodes[others.next()?].root_client().ok()?;
            let request = v1::InspectActorRequest { kind: "chain".to_owned(), id: CHAIN.to_owned() };
            let summary = root.actors().inspect(request).await.ok()?.into_inner().summary?;
            (summary.state == "active").then_some(summary.node)
        });
        killed.push((victim, heir.await.unwrap()));
        fleet.nodes[victim].start_again().await.unwrap();
    }
    until("every payment", async || {
        mine(&chain).await;
        (made(&chain).await >= before + PAYMENTS).then_some(())
    })
    .await
    .unwrap();
    mine(&chain).await;
    let client = client_of(&fleet, killed[0].0);
    let audit = books(&client, PAYMENTS).await;
    assert!(audit.exact, "{audit:?}");
    assert_eq!(made(&chain).await, before + PAYMENTS, "a transaction for each payment, and no more");
    let paid = chain.balance(BOB, None, Consistency::Latest).await.unwrap().units();
    assert_eq!(paid, u128::from(PAYMENTS * (PAYMENTS + 1) / 2), "each payment once");
    assert_eq!(killed.len(), KILLS);
    fleet.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_whose_node_is_killed_starts_a_session_for_each_event_from_another_node() {
    let (folder, mut world) = (tempfile::tempdir().unwrap(), triggers::World::start().await);
    let mut setup = NodeSetup { folder: folder.path().to_owned(), ..tenant::setup(&folder.path().join("unused")) };
    let (endpoint, confirmations) = (world.anvil.url().as_str().to_owned(), triggers::CONFIRMATIONS);
    setup.config += &format!(
        "chains = [{{ id = {CHAIN:?}, endpoint = {endpoint:?}, key_env = \"EVM_KEY\", confirmations = {confirmations} }}]\n"
    );
    let secret = Anvil::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    setup.environment.push(("EVM_KEY".to_owned(), secret));
    let mut fleet = Fleet::start(&setup, 3, &StoreChoice::Served, None).await.unwrap();
    let (client, key) = tenant::create_project(&fleet.nodes[0], PROJECT, Micros::new(1_000_000_000)).await;
    let script = "fn on_message(msg) { reply(`log ${msg.arguments.logId}`); }";
    tenant::deploy(&client, "follower", script, &world.trigger()).await;
    // Each node is away once, so that the one that follows the chain is, and an event comes meanwhile.
    for away in 0..3 {
        fleet.nodes[away].kill().await.unwrap();
        world.emit().await;
        world.mine(confirmations).await;
        let client = Client::new(fleet.nodes[(away + 1) % 3].server(), Some(&key)).unwrap();
        let expected = u64::try_from(away).unwrap() + 1;
        let started = until("a session for the event", async || {
            triggers::trigger(&client).await.filter(|trigger| trigger.started >= expected)
        });
        assert_eq!(started.await.unwrap().started, expected, "one session for each event");
        fleet.nodes[away].start_again().await.unwrap();
    }
    let client = Client::new(fleet.nodes[0].server(), Some(&key)).unwrap();
    let listed = client.sessions().list(v1::ListSessionsRequest::default()).await.unwrap().into_inner().sessions;
    assert_eq!(listed.len(), 3, "{listed:?}");
    fleet.stop().await.unwrap();
}
