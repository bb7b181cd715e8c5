//! One run: world, chain, node, load, nemesis, checks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use steward::client::Client;
use steward::commands::agents::read_bundle;
use steward::process::{NodeProcess, NodeSetup, Role, until};
use steward_adapters_evm::devnet::{Anvil, Mining};
use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock};
use tokio::task::JoinSet;

use crate::check::{Books, check};
use crate::fleet::Fleet;
use crate::nemesis::{self, Faults};
use crate::plan::Plan;
use crate::report::Report;
use crate::workload::{self, Clients, History, Load, retry};
use crate::world::World;

const PROJECT: &str = "chaos";
const CHAIN: &str = "eip155:31337";
const KEY_VARIABLE: &str = "STEWARD_CHAOS_CHAIN_KEY";
/// Receipts asked for at a time.
const PAGE: u32 = 1000;

/// The programs that a run starts.
#[derive(Debug, Clone)]
pub struct Programs {
    /// The `steward` binary.
    pub steward: PathBuf,
    /// The `anvil` binary.
    pub anvil: PathBuf,
}

/// Runs a plan in `folder`; `progress` hears of every blow.
///
/// # Errors
/// When a part does not start, or a session did not go as promised. What the checks find is in the report.
pub async fn run(
    plan: &Plan,
    programs: &Programs,
    folder: &Path,
    progress: impl FnMut(Faults),
) -> anyhow::Result<Report> {
    let clock = SystemClock::new();
    let (world, anvil) = (World::start().await?, Anvil::start(&programs.anvil, Mining::Automatic).await?);
    let endpoint = anvil.url().to_string();
    let mut fleet = Fleet::start(&setup(programs, folder, &endpoint), plan.nodes).await?;
    let (client, key) = project(&fleet.nodes[0]).await?;
    let servers = fleet.nodes.iter().map(|node| Client::new(node.server(), Some(&key)));
    let clients = servers.collect::<anyhow::Result<Vec<_>>>()?;
    let load = Arc::new(Load {
        agent: "mixed".to_owned(),
        service: world.url().to_owned(),
        numbers: AtomicU64::new(0),
        in_flight: AtomicUsize::new(0),
        events: AtomicU64::new(0),
    });
    let enough = Arc::new(AtomicBool::new(plan.kills == 0));
    let mut sessions = JoinSet::new();
    for number in 0..plan.sessions {
        let (load, enough) = (Arc::clone(&load), Arc::clone(&enough));
        let clients = Clients::new(clients.clone(), number as usize);
        sessions.spawn(workload::session(clients, load, format!("session-{number}"), plan.messages, enough));
    }
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let faults = tokio::select! {
        faults = nemesis::strike(&mut fleet, plan, &load, &mut random, progress) => faults?,
        // While the node is being killed, only a session that broke can end.
        ended = sessions.join_next(), if plan.kills > 0 => {
            let ended = ended.context("there are sessions")?;
            ended??;
            anyhow::bail!("a session ended before the kills were done");
        }
    };
    enough.store(true, Ordering::SeqCst);
    let mut histories: Vec<History> = Vec::new();
    while let Some(ended) = sessions.join_next().await {
        histories.push(ended??);
    }
    let client = Clients::new(vec![client], 0);
    let books = books(&client, &endpoint).await?;
    let seen = world.seen();
    let findings = check(&histories, &seen, &books);
    let told_unknown = |reply: &Value| reply["plain"] == "unknown";
    let report = Report {
        faults,
        sessions: histories.len(),
        turns: histories.iter().map(|history| history.turns.len()).sum(),
        events: load.events.load(Ordering::Relaxed),
        effects_asked: seen.asked.values().map(|&count| u64::from(count)).sum(),
        effects_done: seen.paid.len(),
        effects_unknown: histories
            .iter()
            .flat_map(|history| &history.turns)
            .filter(|turn| turn.replies.iter().any(told_unknown))
            .count(),
        receipts: books.receipts.len(),
        settled_micros: books.audit.settled_micros,
        anchors: books.anchored.len(),
        seconds: clock.monotonic().as_secs(),
        findings,
    };
    fleet.stop().await?;
    Ok(report)
}

fn setup(programs: &Programs, folder: &Path, endpoint: &str) -> NodeSetup {
    let config = format!(
        "scripted_model = true\nlog_name = \"chaos.steward\"\n\n[[chains]]\nid = {CHAIN:?}\nendpoint = {endpoint:?}\n\
         key_env = {KEY_VARIABLE:?}\nconfirmations = 1\n"
    );
    NodeSetup {
        binary: programs.steward.clone(),
        folder: folder.to_owned(),
        role: Role::Node,
        config,
        environment: vec![(KEY_VARIABLE.to_owned(), hex::encode(Anvil::development_key().expose()))],
    }
}

/// Makes the project with its prices and agent, and gives a client with a key of its own, and the key.
async fn project(node: &NodeProcess) -> anyhow::Result<(Client, String)> {
    let root = node.root_client()?;
    let price = |tokens, call| v1::Price {
        per_million_input_tokens_micros: tokens,
        per_million_output_tokens_micros: 2 * tokens,
        per_call_micros: call,
        per_second_micros: 0,
    };
    let prices = v1::PriceList {
        model_default: Some(price(3_000_000, 1)),
        function_default: Some(price(0, 7)),
        ..Default::default()
    };
    let create = v1::CreateProjectRequest {
        name: PROJECT.to_owned(),
        limit_micros: Some(1_000_000_000_000),
        prices: Some(prices),
        chains: vec![CHAIN.to_owned()],
        ..Default::default()
    };
    root.projects().create(create).await?;
    let key = v1::CreateKeyRequest {
        project: PROJECT.to_owned(),
        label: "chaos".to_owned(),
        role: v1::KeyRole::Admin.into(),
        idempotency_key: String::new(),
    };
    let key = root.projects().create_key(key).await?.into_inner();
    let client = Client::new(node.server(), Some(&key.secret))?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("agents/mixed");
    let deploy = v1::DeployAgentRequest { project: PROJECT.to_owned(), bundle: Some(read_bundle(&folder)?) };
    client.agents().deploy(deploy).await?;
    Ok((client, key.secret))
}

/// Waits until every receipt is in the log and the log's newest root is on the chain for good, then takes stock.
async fn books(client: &Clients, endpoint: &str) -> anyhow::Result<Books> {
    let receipts = until("every receipt in the log", async || match receipts(client).await {
        Ok(receipts) if receipts.iter().all(|receipt| receipt.logged) => Some(Ok(receipts)),
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    let receipts = receipts.await??;
    let anchor = v1::AnchorRequest { project: PROJECT.to_owned(), chain: String::new() };
    retry(client, |client| {
        let anchor = anchor.clone();
        async move { client.receipts().anchor(anchor).await }
    })
    .await?;
    let request = v1::CheckpointRequest { project: PROJECT.to_owned() };
    let tree_size = retry(client, |client| {
        let request = request.clone();
        async move { client.receipts().checkpoint(request).await }
    })
    .await?
    .tree_size;
    let anchored = until("the newest root on the chain", async || {
        let anchored = anchored(endpoint).await.ok()?;
        (anchored.last() == Some(&tree_size)).then_some(anchored)
    });
    let anchored = anchored.await?;
    let audit = v1::AuditRequest { project: PROJECT.to_owned() };
    let audit = retry(client, |client| {
        let audit = audit.clone();
        async move { client.budgets().audit(audit).await }
    })
    .await?;
    Ok(Books { audit, receipts, anchored, tree_size })
}

async fn receipts(client: &Clients) -> anyhow::Result<Vec<v1::Receipt>> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let request = v1::ListReceiptsRequest {
            project: PROJECT.to_owned(),
            session: String::new(),
            page_size: PAGE,
            page_token: token,
        };
        let page = retry(client, |client| {
            let request = request.clone();
            async move { client.receipts().list(request).await }
        })
        .await?;
        all.extend(page.receipts);
        token = page.next_page_token;
        if token.is_empty() {
            return Ok(all);
        }
    }
}

/// The tree sizes of every `Anchored` event on the chain, oldest first, asked of the chain itself.
async fn anchored(endpoint: &str) -> anyhow::Result<Vec<u64>> {
    let filter = json!({ "fromBlock": "0x0", "toBlock": "latest" });
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [filter] });
    let answer: Value = reqwest::Client::new().post(endpoint).json(&request).send().await?.json().await?;
    let logs = answer["result"].as_array().context("the chain gives no logs")?;
    let mut by_log: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for log in logs {
        // Anchored(address indexed anchorer, bytes32 indexed logId, uint64 treeSize, bytes32 root): three topics, two words.
        let topics = log["topics"].as_array().context("an event has topics")?;
        if let [_, _, log_id] = topics.as_slice()
            && let Some(data) = log["data"].as_str().filter(|data| data.len() == 2 + 2 * 64)
        {
            let id = log_id.as_str().context("a topic is text")?.to_owned();
            by_log.entry(id).or_default().push(u64::from_str_radix(data.get(2..2 + 64).unwrap_or_default(), 16)?);
        }
    }
    ensure!(by_log.len() <= 1, "the chain knows {} logs", by_log.len());
    Ok(by_log.into_values().next().unwrap_or_default())
}
