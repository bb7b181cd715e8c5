//! A node whose agent follows a contract on a real chain: killed at random points while events come and are reorganised
//! out, it starts one session for each event that stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alloy::primitives::{hex, keccak256};
use alloy::providers::Provider;
use serde_json::{Value, json};
use steward::client::Client;
use steward::process::{NodeProcess, until};
use steward_adapters::chain::Action;
use steward_adapters::conformance;
use steward_adapters_evm::{Anvil, EvmChain, EvmConfig, LocalSigner, Mining};
use steward_api::proto::v1;
use steward_types::{Clock, Entropy, Micros, SeededEntropy, SystemClock};

use crate::parts;
use crate::tenant::{self, Tenant};

/// How many blocks make one final: more than any reorganisation here is deep.
pub const CONFIRMATIONS: u64 = 4;
/// Events of one round.
const EVENTS: u64 = 3;
/// The longest life of a node between two kills.
const LIFE_MS_MAX: u64 = 1_500;
const SCRIPT: &str = "fn on_message(msg) { reply(chat(`log ${msg.arguments.logId}`).text); }";

/// A chain with a contract whose events trigger an agent.
pub struct World {
    /// The chain's process.
    pub anvil: Anvil,
    chain: EvmChain,
    contract: String,
    next: u64,
}

impl World {
    /// Starts the chain and puts the contract on it.
    pub async fn start() -> Self {
        let anvil = Anvil::start(&parts::anvil(), Mining::Automatic).await.unwrap();
        let signer = Arc::new(LocalSigner::new(&Anvil::development_key()).unwrap());
        let id = "eip155:31337".parse().unwrap();
        let config = EvmConfig { chain: id, endpoint: anvil.url().clone(), confirmations: 1, gas_max: 3_000_000 };
        let chain = EvmChain::new(config, signer).unwrap();
        let deployed = conformance::send(&chain, "deploy", Action::DeployReceiptLog).await;
        let mut world = Self { anvil, chain, contract: deployed.creates.unwrap(), next: 1 };
        world.mine(CONFIRMATIONS).await;
        world
    }

    async fn rpc(&self, method: &'static str, parameters: Value) -> Value {
        self.chain.provider().raw_request(method.into(), parameters).await.unwrap()
    }

    /// Makes so many blocks.
    pub async fn mine(&mut self, blocks: u64) {
        for _ in 0..blocks {
            self.rpc("evm_mine", json!([])).await;
        }
    }

    /// Emits an event that tells its number, and waits until it is in a block.
    pub async fn emit(&mut self) {
        let number = self.next;
        self.next += 1;
        let from = self.chain.provider().get_accounts().await.unwrap()[usize::try_from(number % 8).unwrap() + 1];
        let selector = &keccak256("anchor(bytes32,uint64,bytes32)")[..4];
        let words = [format!("{number:064x}"), format!("{:064x}", 1), "11".repeat(32)].concat();
        let data = format!("0x{}{words}", hex::encode(selector));
        let sent = json!([{ "from": from, "to": self.contract, "data": data }]);
        let hash = self.rpc("eth_sendTransaction", sent).await;
        let clock = SystemClock::new();
        while self.rpc("eth_getTransactionReceipt", json!([hash])).await.is_null() {
            clock.sleep(Duration::from_millis(1)).await;
        }
    }

    /// The log ids of all events that the chain has now, in its order.
    async fn log_ids(&self) -> Vec<String> {
        let logs = self.rpc("eth_getLogs", json!([{ "address": self.contract, "fromBlock": "0x0" }])).await;
        logs.as_array().unwrap().iter().map(|log| log["topics"][2].as_str().unwrap().to_owned()).collect()
    }

    /// What stands in the manifest of an agent that follows the contract.
    pub fn trigger(&self) -> String {
        format!(
            "[[triggers]]\nname = \"anchors\"\nchain = \"eip155:31337\"\naddress = {:?}\nfrom = 0\n\
             event = \"Anchored(address indexed anchorer, bytes32 indexed logId, uint64 treeSize, bytes32 root)\"\n",
            self.contract
        )
    }
}

async fn start(world: &World) -> Tenant {
    let folder = tempfile::tempdir().unwrap();
    let mut setup = tenant::setup(&folder.path().join("node"));
    let endpoint = world.anvil.url().as_str();
    setup.config += &format!(
        "[[chains]]\nid = \"eip155:31337\"\nendpoint = {endpoint:?}\nkey_env = \"EVM_KEY\"\nconfirmations = {CONFIRMATIONS}\n"
    );
    let secret = Anvil::development_key().expose().map(|byte| format!("{byte:02x}")).concat();
    setup.environment.push(("EVM_KEY".to_owned(), secret));
    let node = NodeProcess::start(setup).await.unwrap();
    let (client, key) = tenant::create_project(&node, tenant::PROJECT, Micros::new(1_000_000_000)).await;
    Tenant { node, client, key, folder }
}

/// The project's one trigger.
pub async fn trigger(client: &Client) -> Option<v1::Trigger> {
    client.triggers().list(v1::ListTriggersRequest::default()).await.ok()?.into_inner().triggers.pop()
}

/// What one session was told and what it replied; nothing until its turn has ended.
async fn turn(client: &Client, session: &str) -> (Vec<Value>, Vec<String>) {
    let watch = v1::WatchSessionRequest { session: session.to_owned(), from_sequence: 1, ..Default::default() };
    let mut events = client.sessions().watch(watch).await.unwrap().into_inner();
    let (mut messages, mut replies) = (Vec::new(), Vec::new());
    while let Some(event) = events.message().await.unwrap() {
        match event.kind() {
            v1::SessionEventKind::Message => messages.push(serde_json::from_str(&event.data_json).unwrap()),
            v1::SessionEventKind::Reply => replies.push(event.text),
            v1::SessionEventKind::TurnFinished => break,
            v1::SessionEventKind::TurnFailed => panic!("{event:?}"),
            _ => {}
        }
    }
    (messages, replies)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_random_points_starts_one_session_for_each_event_that_stays() {
    let mut world = World::start().await;
    let mut tenant = start(&world).await;
    tenant.deploy("clerk", SCRIPT, &world.trigger()).await;
    let (clock, entropy) = (SystemClock::new(), SeededEntropy::new(17));
    let mut removed = 0;
    for round in 0..u64::from(parts::kills(12)) {
        for _ in 0..EVENTS {
            world.emit().await;
        }
        let depth = round % EVENTS + 1;
        if round % 2 == 1 {
            let before = world.log_ids().await.len();
            world.rpc("anvil_reorg", json!([depth, []])).await;
            removed += before - world.log_ids().await.len();
        }
        clock.sleep(Duration::from_millis(entropy.next_u64() % LIFE_MS_MAX)).await;
        tenant.node.kill().await.unwrap();
        tenant.node.start_again().await.unwrap();
        tenant.client = Client::new(tenant.node.server(), Some(&tenant.key)).unwrap();
    }
    assert!(removed > 0, "reorganisations took events out");
    world.mine(CONFIRMATIONS).await;
    let expected = world.log_ids().await;
    let done = until("every event", async || {
        let trigger = trigger(&tenant.client).await?;
        (trigger.started >= expected.len() as u64 && trigger.lag_blocks == Some(0)).then_some(trigger)
    });
    let done = done.await.unwrap();
    assert_eq!((done.state.as_str(), done.started, done.skipped), ("following", expected.len() as u64, 0), "{done:?}");

    let listed = v1::ListSessionsRequest { page_size: 1000, ..Default::default() };
    let sessions = tenant.client.sessions().list(listed).await.unwrap().into_inner().sessions;
    let mut told = BTreeMap::new();
    for session in sessions {
        let (messages, replies) = turn(&tenant.client, &session.id).await;
        let [message] = &messages[..] else { panic!("{}: {messages:?}", session.id) };
        assert_eq!(replies.len(), 1, "{}: {replies:?}", session.id);
        let place = (message["block"].as_u64().unwrap(), message["index"].as_u64().unwrap());
        let log_id = message["arguments"]["logId"].as_str().unwrap().to_owned();
        assert!(told.insert(place, log_id).is_none(), "two sessions of one event: {message}");
    }
    assert_eq!(told.into_values().collect::<Vec<_>>(), expected, "one session for each event that stayed");
    tenant.books_at_rest(expected.len() as u64).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_is_seen_in_the_shell_and_stops_when_its_chain_was_reset() {
    let mut world = World::start().await;
    let mut tenant = start(&world).await;
    tenant.deploy("clerk", SCRIPT, &world.trigger()).await;
    world.emit().await;
    world.mine(CONFIRMATIONS).await;
    until("its session", async || trigger(&tenant.client).await.filter(|trigger| trigger.started == 1)).await.unwrap();
    let steward = |arguments: &[&str]| {
        let mut steward = std::process::Command::new(parts::steward());
        steward.args(["--server", tenant.node.server(), "--key", &tenant.key]).args(arguments);
        let said = steward.output().unwrap();
        String::from_utf8([said.stdout, said.stderr].concat()).unwrap()
    };
    let shown = steward(&["triggers"]);
    assert!(shown.contains("anchors") && shown.contains("following") && shown.contains("eip155:31337"), "{shown}");
    let json: Value = serde_json::from_str(steward(&["triggers", "ls", "--json"]).trim()).unwrap();
    assert_eq!((&json["agent"], &json["state"]), (&json!("clerk"), &json!("following")), "{json}");
    let refused = steward(&["triggers", "resume", "clerk", "anchors", "--yes"]);
    assert!(refused.contains("INVALID_REQUEST") && refused.contains("has not stopped"), "{refused}");

    // Another chain at the same address, with another beginning.
    world.rpc("anvil_reset", json!([])).await;
    world.mine(1).await;
    tenant.node.kill().await.unwrap();
    tenant.node.start_again().await.unwrap();
    tenant.client = Client::new(tenant.node.server(), Some(&tenant.key)).unwrap();
    let stopped =
        until("that it stops", async || trigger(&tenant.client).await.filter(|trigger| trigger.state == "stopped"));
    let stopped = stopped.await.unwrap();
    assert!(stopped.reason.contains("was reset"), "{stopped:?}");
    let resume = v1::ResumeTriggerRequest {
        agent: "clerk".to_owned(),
        name: "anchors".to_owned(),
        ..v1::ResumeTriggerRequest::default()
    };
    tenant.client.triggers().resume(resume).await.unwrap();
    let goes_on = until("that it goes on", async || {
        trigger(&tenant.client).await.filter(|trigger| trigger.state == "following" && trigger.final_block.is_some())
    });
    assert_eq!(goes_on.await.unwrap().started, 1);
}
