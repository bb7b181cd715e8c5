//! `steward agents`: check and deploy a folder, list, run.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, bail};
use futures::StreamExt as _;
use steward_actors::agent::UploadedBundle;
use steward_api::proto::v1;
use steward_api::proto::v1::SessionEventKind as Kind;
use steward_scripting::Program;
use steward_scripting::bundle::PROJECT_PREFIX;
use steward_types::Micros;

use super::modules::read_modules;
use super::sessions::Printer;
use super::{Session, approvals};
use crate::args::Agents;
use crate::output::{Output, Tone};

/// Reads an agent's folder: `manifest.toml` and every `.rhai` file at or below it.
///
/// # Errors
/// Names the file that is missing or cannot be read.
pub fn read_bundle(folder: &Path) -> anyhow::Result<v1::Bundle> {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()));
    let manifest_toml = read(&folder.join("manifest.toml"))?;
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = std::fs::read_dir(&next).with_context(|| format!("{} cannot be read", next.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rhai") {
                let name = path.strip_prefix(folder)?.to_str().context("a script's name is not UTF-8")?.to_owned();
                files.insert(name, read(&path)?);
            }
        }
    }
    if files.is_empty() {
        bail!("{} holds no .rhai script", folder.display());
    }
    Ok(v1::Bundle { files, manifest_toml })
}

/// Checks an agent's folder on this machine, without a node; `modules` is a folder with the modules of the project.
///
/// # Errors
/// When the check found anything.
pub fn check(folder: &Path, modules: Option<&Path>, output: Output) -> anyhow::Result<()> {
    let bundle = read_bundle(folder)?;
    let scripts = bundle.files.len();
    let uploaded = UploadedBundle { files: bundle.files, manifest: bundle.manifest_toml };
    let uploaded = match modules {
        Some(folder) => with_imported(uploaded, read_modules(&[folder.to_owned()])?),
        None => uploaded,
    };
    let found = uploaded.check().err().map(|error| error.diagnostics).unwrap_or_default();
    for diagnostic in &found {
        if output.is_json() {
            output.line(serde_json::to_string(diagnostic)?);
        } else {
            let place = format!("{}:{}:{}", diagnostic.file, diagnostic.line, diagnostic.column);
            output.line(format!("{} {}", output.paint(Tone::Heading, place), diagnostic.message));
            if let Some(help) = &diagnostic.help {
                output.line(output.paint(Tone::Faint, format!("  help: {help}")));
            }
        }
    }
    if !found.is_empty() {
        bail!("{} found in {}", plural(found.len(), "problem"), folder.display());
    }
    if !output.is_json() {
        let good = output.paint(Tone::Good, "good");
        output.line(format!("{}: {good} ({})", folder.display(), plural(scripts, "script")));
    }
    Ok(())
}

/// The bundle with those of the project's modules that it imports, as a node would add them.
fn with_imported(mut bundle: UploadedBundle, mut modules: BTreeMap<String, String>) -> UploadedBundle {
    loop {
        let missing = Program::missing_modules(&bundle.bundle()).into_iter();
        let find = |name: String| {
            let source = modules.remove(name.strip_prefix(PROJECT_PREFIX)?)?;
            Some((name, source))
        };
        let found: BTreeMap<_, _> = missing.filter_map(find).collect();
        if found.is_empty() {
            return bundle;
        }
        bundle = bundle.with_modules(found);
    }
}

fn plural(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Runs one of `agents`.
///
/// # Errors
/// What the node refused; for `run`, that the turn failed.
pub async fn run(command: Agents, session: &Session) -> anyhow::Result<()> {
    let (output, mut agents) = (session.output, session.client.agents());
    match command {
        Agents::Check { folder, modules } => check(&folder, modules.as_deref(), output),
        Agents::Deploy { folder } => {
            let bundle = Some(read_bundle(&folder)?);
            let request = v1::DeployAgentRequest { project: session.project.clone(), bundle };
            let deployed = agents.deploy(request).await?.into_inner();
            if output.is_json() {
                return output.message("DeployAgentResponse", &deployed);
            }
            let agent = deployed.agent.unwrap_or_default();
            let number = agent.newest.map_or(0, |version| version.number);
            let what = if deployed.created { "deployed" } else { "unchanged" };
            output.line(format!("{} version {number}: {}", agent.name, output.paint(Tone::Good, what)));
            Ok(())
        }
        Agents::List => {
            let request = v1::ListAgentsRequest { project: session.project.clone(), ..Default::default() };
            let listed = agents.list(request).await?.into_inner();
            if output.is_json() {
                return listed.agents.iter().try_for_each(|agent| output.message("Agent", agent));
            }
            let rows = listed.agents.iter().map(|agent| {
                let number = agent.newest.as_ref().map_or(0, |version| version.number);
                vec![agent.name.clone(), number.to_string(), agent.description.clone()]
            });
            output.table(&["agent", "version", "what it does"], rows.collect(), "no agent yet");
            Ok(())
        }
        Agents::Run { agent, message, session: id, data, yes, limit } => {
            let data = data.unwrap_or_default();
            check_data(&data)?;
            let id = match id {
                Some(id) => id,
                None => open(session, &agent, limit).await?,
            };
            let sent = send(session, &id, &message, &data).await?;
            if !output.is_json() {
                output.line(output.paint(Tone::Faint, format!("session {id}")));
            }
            follow_turn(session, &id, &sent, yes).await
        }
    }
}

/// Refuses what no message can carry before a session is opened for it.
fn check_data(data: &str) -> anyhow::Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    let read = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(data);
    read.map(drop).context("--data is no JSON object, such as {\"amount\": 5}")
}

/// Opens a session.
///
/// # Errors
/// What the node refused.
pub async fn open(session: &Session, agent: &str, limit: Option<Micros>) -> anyhow::Result<String> {
    let request = v1::OpenSessionRequest {
        project: session.project.clone(),
        agent: agent.to_owned(),
        limit_micros: limit.map(Micros::get),
        ..Default::default()
    };
    Ok(session.client.sessions().open(request).await?.into_inner().id)
}

/// Sends a message to a session.
///
/// # Errors
/// What the node refused.
pub async fn send(session: &Session, id: &str, text: &str, data_json: &str) -> anyhow::Result<v1::SendResponse> {
    let message = Some(v1::Message { text: text.to_owned(), data_json: data_json.to_owned() });
    let request = v1::SendRequest { session: id.to_owned(), message, idempotency_key: String::new() };
    Ok(session.client.sessions().send(request).await?.into_inner())
}

/// Prints a turn's events until it ends; answers its questions with yes where `yes`.
///
/// # Errors
/// When the turn failed or was cancelled.
pub async fn follow_turn(session: &Session, id: &str, sent: &v1::SendResponse, yes: bool) -> anyhow::Result<()> {
    let request =
        v1::WatchSessionRequest { session: id.to_owned(), from_sequence: sent.watch_from, ..Default::default() };
    let mut events = session.client.sessions().watch(request).await?.into_inner();
    let mut printer = Printer::new(session.output);
    while let Some(event) = events.next().await {
        let event = event?;
        printer.print(&event)?;
        if yes && event.kind() == Kind::ApprovalRequested {
            approvals::decide(session, event.name.clone(), true, "answered by --yes".to_owned()).await?;
        }
        if event.turn == sent.turn {
            match event.kind() {
                Kind::TurnFinished => return Ok(()),
                Kind::TurnFailed => bail!("the turn failed: {}", event.failure.unwrap_or_default().message),
                Kind::TurnCancelled => bail!("the turn was cancelled"),
                _ => {}
            }
        }
    }
    bail!("the session ended before its turn did")
}
