//! One run: world, chain, node, load, nemesis, checks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use anyhow::{Context as _, ensure};
use rand::SeedableRng as _;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use steward::process::{NodeSetup, Role, until};
use steward_adapters_evm::devnet::{Anvil, Mining};
use steward_api::proto::v1;
use steward_types::{Clock as _, SystemClock};

use crate::check::{Books, DEPLOYMENTS, check};
use crate::fleet::Fleet;
use crate::healing;
use crate::nemesis::{self, Fault, Faults};
use crate::plan::Plan;
use crate::project;
use crate::report::Report;
use crate::workers::{Workers, roots};
use crate::workload::{Clients, Load, retry};
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
    /// The `fdbserver` binary, for plans that start FoundationDB.
    pub fdbserver: Option<PathBuf>,
}

/// Runs a plan in `folder`; `progress` hears of every blow.
///
/// # Errors
/// When a part does not start, or a session did not go as promised. What the checks find is in the report.
pub async fn run(
    plan: &Plan,
    programs: &Programs,
    folder: &Path,
    progress: impl FnMut(&Faults),
) -> anyhow::Result<Report> {
    let clock = SystemClock::new();
    let (world, anvil) = (World::start().await?, Anvil::start(&programs.anvil, Mining::Automatic).await?);
    let endpoint = anvil.url().to_string();
    let mut fleet =
        Fleet::start(&setup(programs, folder, &endpoint), plan.nodes, &plan.store, programs.fdbserver.as_deref())
            .await?;
    let clients = project::create(&fleet.nodes, PROJECT, "mixed", &[CHAIN]).await?;
    let load = Arc::new(Load {
        agent: "mixed".to_owned(),
        service: world.url().to_owned(),
        numbers: AtomicU64::new(0),
        in_flight: AtomicUsize::new(0),
        events: AtomicU64::new(0),
        pulse: Arc::default(),
    });
    let mut workers = Workers::start(plan, &fleet.nodes, &clients, &load).await?;
    let mut random = ChaCha8Rng::seed_from_u64(plan.seed);
    let faults = tokio::select! {
        faults = nemesis::strike(&mut fleet, plan, &load, &mut random, progress) => faults?,
        broken = workers.broken(), if plan.kills > 0 => return Err(broken),
    };
    workers.enough();
    let shards_answered = match plan.nodes {
        1 => None,
        _ => Some(healing::every_shard_answers(&roots(&fleet.nodes)?).await?),
    };
    let (histories, checked) = workers.finish().await?;
    let books = books(&Clients::new(clients, 0), &endpoint).await?;
    let seen = world.seen();
    let mut findings = check(&histories, &seen, &books);
    findings.extend(checked.violations.iter().cloned());
    findings.extend(healing::findings(&faults, shards_answered, plan.heals_within));
    findings.extend(unfelt(plan, &faults));
    let turns = || histories.iter().flat_map(|history| &history.turns);
    let told_unknown = |reply: &Value| reply["plain"] == "unknown";
    fleet.stop().await?;
    Ok(Report {
        faults,
        sessions: histories.len(),
        turns: turns().count(),
        events: load.events.load(Ordering::Relaxed),
        effects_asked: seen.asked.values().map(|&count| u64::from(count)).sum(),
        effects_done: seen.paid.len(),
        effects_unknown: turns().filter(|turn| turn.replies.iter().any(told_unknown)).count(),
        receipts: books.receipts.len(),
        settled_micros: books.audit.settled_micros,
        anchors: books.anchored.len(),
        anchor_transactions: books.sent.saturating_sub(DEPLOYMENTS),
        registers: checked,
        shards_answered,
        seconds: clock.monotonic().as_secs(),
        findings,
    })
}

/// Kinds of faults that were asked for and did not bite.
fn unfelt(plan: &Plan, faults: &Faults) -> Vec<String> {
    let fired = plan.kills as usize >= plan.faults.len();
    let kinds: BTreeSet<Fault> = plan.faults.iter().copied().filter(|_| fired).collect();
    let unfelt = kinds.into_iter().filter(|kind| faults.kinds.get(kind).is_none_or(|tally| tally.felt == 0));
    unfelt.map(|kind| format!("no fault of the kind {kind:?} bit")).collect()
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
    let sent = sent(endpoint).await?;
    let audit = v1::AuditRequest { project: PROJECT.to_owned() };
    let audit = retry(client, |client| {
        let audit = audit.clone();
        async move { client.budgets().audit(audit).await }
    })
    .await?;
    Ok(Books { audit, receipts, anchored, sent, tree_size })
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

/// How many transactions of the node's account the chain has, asked of the chain itself.
async fn sent(endpoint: &str) -> anyhow::Result<u64> {
    let of = json!([Anvil::DEVELOPMENT_ACCOUNT, "latest"]);
    let count = ask_chain(endpoint, "eth_getTransactionCount", of).await?;
    let digits =
        count.as_str().and_then(|count| count.strip_prefix("0x")).context("the chain counts no transactions")?;
    Ok(u64::from_str_radix(digits, 16)?)
}

/// The tree sizes of every `Anchored` event on the chain, oldest first, asked of the chain itself.
async fn anchored(endpoint: &str) -> anyhow::Result<Vec<u64>> {
    let filter = json!({ "fromBlock": "0x0", "toBlock": "latest" });
    let logs = ask_chain(endpoint, "eth_getLogs", json!([filter])).await?;
    let logs = logs.as_array().context("the chain gives no logs")?;
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

async fn ask_chain(endpoint: &str, method: &str, params: Value) -> anyhow::Result<Value> {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let mut answer: Value = reqwest::Client::new().post(endpoint).json(&request).send().await?.json().await?;
    ensure!(answer["error"].is_null(), "the chain answers {method} with {}", answer["error"]);
    Ok(answer["result"].take())
}
