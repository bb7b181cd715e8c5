//! `steward up`: runs a node until it is told to stop. SIGTERM and Ctrl-C drain it.

use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};
use steward_types::SystemClock;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::Up;
use crate::config::{ClusterSettings, NodeConfig};
use crate::credentials::write_private;
use crate::logging;
use crate::node::Node;
use crate::output::{Output, Tone};

/// The file in the data folder that tells where a ready node listens. Written once it can be asked.
pub const READY_FILE: &str = "ready.json";
/// The file in the data folder with the node's root key, readable by its owner only.
pub const ROOT_KEY_FILE: &str = "root.key";

/// What the ready file says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ready {
    /// Where the node listens, such as `http://127.0.0.1:7700`.
    pub server: String,
    /// The node's process.
    pub process: u32,
}

/// Runs `up`.
///
/// # Errors
/// When the configuration is wrong, the store is in use, or the address is taken.
pub async fn run(up: Up, output: Output) -> anyhow::Result<()> {
    logging::start(output);
    let mut config = match &up.config {
        Some(file) => NodeConfig::read(file)?,
        None => NodeConfig::default(),
    };
    config.data = up.data.unwrap_or(config.data);
    config.listen = up.listen.unwrap_or(config.listen);
    config.plain_http |= up.plain_http;
    config.store = up.store.unwrap_or(config.store);
    config.devices = up.devices.unwrap_or(config.devices);
    if let Some(identity) = up.join {
        config.cluster = Some(match config.cluster {
            Some(settings) => ClusterSettings { identity, ..settings },
            None => ClusterSettings::new(identity),
        });
    }
    if !up.member.is_empty() {
        let cluster = config.cluster.as_mut().context("--member goes with --join IDENTITY")?;
        cluster.join = up.member;
    }
    let data = config.data.clone();
    let mut terminate = signal(SignalKind::terminate())?;
    let node = Node::start(config, std::sync::Arc::new(SystemClock::new())).await?;
    let server = node.server();
    tokio::select! {
        () = node.ready() => {}
        _ = terminate.recv() => return node.stop().await,
    }
    announce(&data, &server, output)?;
    tokio::select! {
        _ = terminate.recv() => {}
        stopped = tokio::signal::ctrl_c() => stopped?,
    }
    if !output.is_json() {
        output.line("draining: turns in hand are finished, the rest goes on after the next start");
    }
    let _ = std::fs::remove_file(data.join(READY_FILE));
    node.stop().await
}

/// Writes the ready file, and returns what it says.
pub(super) fn write_ready(data: &Path, server: &str) -> anyhow::Result<String> {
    let ready = Ready { server: server.to_owned(), process: std::process::id() };
    let json = serde_json::to_string(&ready)?;
    write_private(&data.join(READY_FILE), json.as_bytes())?;
    Ok(json)
}

fn announce(data: &Path, server: &str, output: Output) -> anyhow::Result<()> {
    let json = write_ready(data, server)?;
    if output.is_json() {
        output.line(json);
        return Ok(());
    }
    output.line(format!("{} at {server}", output.paint(Tone::Good, "ready")));
    let key = data.join(ROOT_KEY_FILE);
    output.line(
        output.paint(Tone::Faint, format!("root key in {}: steward login --server {server} --key …", key.display())),
    );
    Ok(())
}
