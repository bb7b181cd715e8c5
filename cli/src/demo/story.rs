//! What the demo does with its parts, in the order that it tells them.

use std::num::NonZeroU32;
use std::path::Path;

use anyhow::{Context as _, ensure};
use futures::StreamExt as _;
use steward_actors::model::Replicas;
use steward_api::proto::v1;
use steward_api::proto::v1::SessionEventKind as Kind;
use steward_types::Micros;

use super::examples;
use super::parts::Treasury;
use crate::args::Demo;
use crate::commands::sessions::Printer;
use crate::commands::{Session, agents, approvals, budgets, models, projects, receipts};
use crate::output::{Output, Tone};
use crate::process::{NodeProcess, until};
use crate::sources::KNOWN;

/// The demo's project.
pub const PROJECT: &str = "acme";
const AGENT: &str = "treasury";
const CHAIN: &str = "eip155:31337";
/// What the project may spend: one unit.
const LIMIT: Micros = Micros::new(1_000_000);
const MESSAGE: &str = "We have 900 USDC idle. Should some of it go to the reserve?";

/// Loads the models, makes the project with its key, prices and budget, deploys the agent.
pub async fn set_up(node: &NodeProcess, cache: &Path, output: Output) -> anyhow::Result<Session> {
    let root = Session { client: node.root_client()?, project: String::new(), output };
    for known in KNOWN {
        let model = models::add(&root, known.name, "", None, Replicas::Count(NonZeroU32::MIN), cache).await?;
        let (memory, hash) = (model.memory_bytes >> 20, model.hash.get(..16).unwrap_or(&model.hash));
        output.line(format!("  model   {}: {memory} MB on the device, sha256 {hash}… as it should be", known.name));
    }
    let folder = examples().join(AGENT);
    let request = v1::CreateProjectRequest {
        name: PROJECT.into(),
        limit_micros: Some(LIMIT.get()),
        period: v1::Period::Unspecified.into(),
        prices: Some(projects::read_prices(&folder.join("prices.toml"))?),
        chains: vec![CHAIN.into()],
        idempotency_key: String::new(),
    };
    root.client.projects().create(request).await?;
    let request = v1::CreateKeyRequest {
        project: PROJECT.into(),
        label: "demo".into(),
        role: v1::KeyRole::Admin.into(),
        idempotency_key: String::new(),
    };
    let key = root.client.projects().create_key(request).await?.into_inner();
    let client = crate::client::Client::new(node.server(), Some(&key.secret))?;
    let session = Session { client, project: PROJECT.into(), output };
    output.line(format!("  project {PROJECT} may spend {LIMIT}"));
    let bundle = Some(agents::read_bundle(&folder)?);
    let request = v1::DeployAgentRequest { project: PROJECT.into(), bundle };
    let deployed = session.client.agents().deploy(request).await?.into_inner().agent.unwrap_or_default();
    output.line(format!("  agent   {AGENT} version {}", deployed.newest.map_or(0, |version| version.number)));
    Ok(session)
}

/// Opens a session and sends the message.
pub async fn open(session: &Session, outside: &str) -> anyhow::Result<(String, v1::SendResponse)> {
    let id = agents::open(session, AGENT, None).await?;
    let data = serde_json::json!({ "url": outside }).to_string();
    let sent = agents::send(session, &id, MESSAGE, &data).await?;
    session.output.line(format!("  session {id}\n"));
    Ok((id, sent))
}

/// Follows the turn and goes on where the stream broke. The node is killed twice: in the middle of the model's sentence,
/// and between the transfer's being done and its answer.
pub async fn turn_with_kills(
    session: &Session,
    id: &str,
    sent: &v1::SendResponse,
    node: &mut NodeProcess,
    treasury: &Treasury,
    demo: &Demo,
) -> anyhow::Result<()> {
    let output = session.output;
    let (mut next, mut kills) = (sent.watch_from, 0);
    let mut printer = Printer::new(output);
    loop {
        let mut events = watch(session, id, next).await?;
        loop {
            let event = tokio::select! {
                event = events.next() => event,
                () = treasury.first_done() => {
                    kills += 1;
                    kill(node, "the transfer is done, its answer not yet here", next, output).await?;
                    break;
                }
            };
            let Some(Ok(event)) = event else { break };
            ensure!(event.sequence == next, "event {} came where {next} was due", event.sequence);
            next += 1;
            printer.print(&event)?;
            match event.kind() {
                Kind::ApprovalRequested => answer(session, &event, node, demo).await?,
                Kind::Delta if kills == 0 => {
                    kills += 1;
                    output.line("");
                    kill(node, "the model is in the middle of its sentence", next, output).await?;
                    break;
                }
                Kind::TurnFinished => {
                    ensure!(kills == 2, "the node was killed {kills} times, not twice, before the turn ended");
                    return Ok(());
                }
                Kind::TurnFailed | Kind::TurnCancelled => {
                    anyhow::bail!("the turn failed: {}", event.failure.unwrap_or_default().message)
                }
                _ => {}
            }
        }
    }
}

async fn kill(node: &mut NodeProcess, when: &str, next: u64, output: Output) -> anyhow::Result<()> {
    node.kill().await?;
    output.line(output.paint(Tone::Bad, format!("  ✗ kill -9: {when}")));
    node.start_again().await?;
    let again = format!("  ✓ started again (process {}); events go on from number {next}", node.id());
    output.line(output.paint(Tone::Good, again));
    Ok(())
}

async fn watch(session: &Session, id: &str, from: u64) -> anyhow::Result<tonic::Streaming<v1::SessionEvent>> {
    until("the session", async || {
        let request = v1::WatchSessionRequest { session: id.to_owned(), from_sequence: from, ..Default::default() };
        match session.client.sessions().watch(request).await {
            Ok(events) => Some(Ok(events.into_inner())),
            Err(status) if status.code() == tonic::Code::Unavailable => None,
            Err(status) => Some(Err(status.into())),
        }
    })
    .await?
}

/// Answers with yes at once, or asks; a second terminal may be faster, and then its answer counts.
async fn answer(session: &Session, event: &v1::SessionEvent, node: &NodeProcess, demo: &Demo) -> anyhow::Result<()> {
    let output = session.output;
    if demo.yes {
        return approvals::decide(session, event.name.clone(), true, "answered by --yes".to_owned()).await;
    }
    output.line("  answer here, or in a second terminal with one of these lines:\n");
    for word in ["approve", "reject"] {
        output.line(second_terminal(node, word, &event.name)?);
    }
    output.part("\n  approve? [y/N] ");
    let elsewhere = async {
        let mut events = watch(session, &event.session, event.sequence + 1).await?;
        while let Some(next) = events.next().await {
            let next = next?;
            if next.kind() == Kind::ApprovalDecided && next.name == event.name {
                return anyhow::Ok(());
            }
        }
        anyhow::bail!("the session ended before it was answered")
    };
    tokio::select! {
        decided = elsewhere => { output.line(""); decided }
        typed = typed_line() => {
            let approved = matches!(typed?.trim(), "y" | "Y" | "yes");
            approvals::decide(session, event.name.clone(), approved, "answered in the demo".to_owned()).await
        }
    }
}

/// What is typed. It is read on a thread that nothing waits for, so that an answer from elsewhere ends the waiting.
async fn typed_line() -> anyhow::Result<String> {
    let (tell, typed) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let _ = tell.send(std::io::stdin().read_line(&mut line).map(|count| (count, line)));
    });
    let (count, line) = typed.await??;
    ensure!(count > 0, "nobody is there to answer: run the demo in a terminal, or with --yes");
    Ok(line)
}

/// The line that answers from any shell on this machine.
fn second_terminal(node: &NodeProcess, word: &str, approval: &str) -> anyhow::Result<String> {
    let (steward, key) = (std::env::current_exe()?, node.root_key_file());
    let (steward, key) = (quoted(&steward), quoted(&key));
    let server = node.server();
    Ok(format!("{steward} --server {server} --key \"$(cat {key})\" -p {PROJECT} approvals {word} {approval}"))
}

/// A path as a shell reads it back.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

/// Prints the statement and the receipts and checks that they agree.
pub async fn account(session: &Session, id: &str, output: Output) -> anyhow::Result<()> {
    let request = v1::StatementRequest { project: PROJECT.into(), page_size: 1000, ..Default::default() };
    let statement = session.client.budgets().statement(request).await?.into_inner();
    budgets::lines(output, &statement);
    output.line("");
    let listed = list_receipts(session, id).await?;
    receipts::table(output, &listed);
    let audit = session.client.budgets().audit(v1::AuditRequest { project: PROJECT.into() }).await?.into_inner();
    ensure!(audit.exact, "the books do not balance: {}", audit.differences.join("; "));
    let total = Micros::sum(listed.iter().map(|receipt| Micros::new(receipt.price_micros)))?;
    ensure!(total.get() == audit.settled_micros, "receipts say {total}, the books {}", audit.settled_micros);
    let tick = output.paint(Tone::Good, "✓");
    output.line(format!(
        "  {tick} {total} settled by steps = {total} on {} receipts = the project's balance",
        listed.len()
    ));
    Ok(())
}

async fn list_receipts(session: &Session, id: &str) -> anyhow::Result<Vec<v1::Receipt>> {
    let request = v1::ListReceiptsRequest {
        project: PROJECT.into(),
        session: id.to_owned(),
        page_size: 1000,
        page_token: String::new(),
    };
    until("the receipts in the log", async || {
        let listed = session.client.receipts().list(request.clone()).await;
        match listed.map(tonic::Response::into_inner) {
            Ok(listed) if listed.receipts.iter().all(|receipt| receipt.logged) => Some(Ok(listed.receipts)),
            Ok(_) => None,
            Err(status) => Some(Err(status.into())),
        }
    })
    .await?
}

/// Anchors the log, waits until the chain has it for good, proves one receipt, verifies offline and on chain.
pub async fn anchor_and_prove(
    session: &Session,
    id: &str,
    file: &Path,
    endpoint: &str,
    output: Output,
) -> anyhow::Result<()> {
    let receipts_listed = list_receipts(session, id).await?;
    let leaves = receipts_listed.len() as u64;
    let request = v1::AnchorRequest { project: PROJECT.into(), chain: String::new() };
    session.client.receipts().anchor(request).await?;
    let spinner = output.spinner("waiting until the chain has it for good");
    let anchor = until("the anchor", async || {
        let request = v1::ListAnchorsRequest {
            project: PROJECT.into(),
            chain: CHAIN.into(),
            page_size: 10,
            page_token: String::new(),
        };
        let listed = session.client.receipts().list_anchors(request).await;
        let mut anchors = match listed {
            Ok(listed) => listed.into_inner().anchors,
            Err(status) => return Some(Err(anyhow::Error::from(status))),
        };
        anchors.retain(|anchor| anchor.state == "confirmed" && anchor.tree_size >= leaves);
        anchors.pop().map(Ok)
    })
    .await??;
    spinner.finish_and_clear();
    output.line("");
    receipts::anchors(output, std::slice::from_ref(&anchor));
    let receipt = receipts_listed.into_iter().next().context("the session has no receipt")?;
    let proof = receipts::prove(session, &receipt.id, Some(CHAIN)).await?;
    std::fs::write(file, &proof.proof_json)?;
    let key = session
        .client
        .receipts()
        .checkpoint(v1::CheckpointRequest { project: PROJECT.into() })
        .await?
        .into_inner()
        .verifier_key;
    output.line(format!("\n  steward receipts verify {} --trust '{key}' --rpc {endpoint}", file.display()));
    receipts::verify(file, Some(&key), &[endpoint.to_owned()], output).await
}
