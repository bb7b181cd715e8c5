//! `steward store`: a stopped node's store into one file, and back; what a running node's store holds.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use steward_api::proto::v1;
use steward_storage::Store as _;
use steward_storage_embedded::{BackupProgress, EmbeddedConfig, EmbeddedStore};
use steward_storage_link::{ServerTls, StoreServer};
use steward_types::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::Session;
use crate::args::StoreCommand;
use crate::node::membership::Identity;
use crate::node::{STORE_FOLDER, stores};
use crate::output::{Output, Tone};

/// Runs one of `store`.
///
/// # Errors
/// When the store is in use, or a file cannot be read or written, or the backup is damaged.
pub async fn run(command: StoreCommand, output: Output) -> anyhow::Result<()> {
    match command {
        StoreCommand::Backup { data, file } => backup(&data, &file, output).await,
        StoreCommand::Restore { file, data } => restore(&file, &data, output),
        StoreCommand::Stats => anyhow::bail!("this asks a node"),
        StoreCommand::Serve { data, identity, listen } => serve(&data, identity, listen, output).await,
    }
}

/// Runs `store stats`: what the store of the node holds.
///
/// # Errors
/// What the node refused.
pub async fn stats(session: &Session) -> anyhow::Result<()> {
    let output = session.output;
    let stats = session.client.operations().store_stats(v1::StoreStatsRequest {}).await?.into_inner();
    if output.is_json() {
        return output.message("StoreStatsResponse", &stats);
    }
    output.line(format!("{} store, one read in {} ms", stats.store, stats.read_ms));
    if let Some(client) = &stats.client {
        let health = if client.healthy { "healthy" } else { "not healthy" };
        let v1::StoreClient { version, connections, connections_failed, busy_permille, .. } = client;
        let busy = format!("{}.{} % busy", busy_permille / 10, busy_permille % 10);
        output.line(format!(
            "client {version}: {health}, {connections} connections, {connections_failed} failed, {busy}"
        ));
    }
    let row = |part: &v1::StorePart| {
        let more = if part.at_least { "+" } else { "" };
        vec![part.name.clone(), format!("{}{more}", part.rows), format!("{}{more}", part.bytes)]
    };
    output.table(&["part", "rows", "bytes"], stats.parts.iter().map(row).collect(), "it is empty");
    Ok(())
}

async fn backup(data: &Path, file: &Path, output: Output) -> anyhow::Result<()> {
    let folder = data.join(STORE_FOLDER);
    // Opening would make one.
    ensure!(folder.is_dir(), "{} is not there: name the data folder of a stopped node", folder.display());
    let store = EmbeddedStore::open(&EmbeddedConfig::new(folder), Arc::new(SystemClock::new()))?;
    let spinner = output.spinner("backing up");
    let shown = spinner.clone();
    let written = store.backup(file, move |progress| shown.set_message(told("backing up", progress))).await;
    spinner.finish_and_clear();
    let summary = written.with_context(|| format!("{} was not backed up", data.display()))?;
    store.close().await?;
    report(output, &format!("backed up to {}", file.display()), summary.total);
    Ok(())
}

/// Serves the store until SIGTERM or Ctrl-C. The ready file tells where, for scripts that let it take a free port.
async fn serve(data: &Path, identity: PathBuf, listen: SocketAddr, output: Output) -> anyhow::Result<()> {
    crate::logging::start(output);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let newest = Identity::read(identity, Arc::clone(&clock))?;
    let certificates = newest.newest();
    let tls = ServerTls::from_source(move || certificates.borrow().server_config());
    let store = stores::embedded(data, &clock).await?;
    let listener = TcpListener::bind(listen).await.with_context(|| format!("{listen} cannot be listened on"))?;
    let address = listener.local_addr()?;
    let mut terminate = signal(SignalKind::terminate())?;
    let server = StoreServer::new(Arc::clone(&store), tls, clock);
    super::up::write_ready(data, &format!("served:{address}"))?;
    output.line(if output.is_json() {
        serde_json::json!({ "store": format!("served:{address}") }).to_string()
    } else {
        format!(
            "{} at {address}: steward up --store served:{address} --join IDENTITY",
            output.paint(Tone::Good, "serving")
        )
    });
    let stopped = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
    };
    let served = server.serve(listener, stopped).await;
    store.close().await?;
    Ok(served?)
}

fn restore(file: &Path, data: &Path, output: Output) -> anyhow::Result<()> {
    let folder = data.join(STORE_FOLDER);
    ensure!(!folder.exists(), "{} is there already: name another folder", folder.display());
    std::fs::create_dir_all(data).with_context(|| format!("{} cannot be made", data.display()))?;
    let spinner = output.spinner("restoring");
    let restored = EmbeddedStore::restore(file, &EmbeddedConfig::new(folder), |progress| {
        spinner.set_message(told("restoring", progress));
    });
    spinner.finish_and_clear();
    let summary = restored.with_context(|| format!("{} was not restored", file.display()))?;
    report(output, &format!("restored to {}", data.display()), summary.total);
    Ok(())
}

fn told(what: &str, progress: BackupProgress) -> String {
    format!("{what}: {} rows, {} KiB", progress.rows, progress.bytes >> 10)
}

fn report(output: Output, what: &str, total: BackupProgress) {
    if output.is_json() {
        output.line(serde_json::json!({ "rows": total.rows, "bytes": total.bytes }).to_string());
    } else {
        output.line(format!("{} ({} rows, {} bytes)", output.paint(Tone::Good, what), total.rows, total.bytes));
    }
}
