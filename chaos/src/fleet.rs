//! The processes of a run: one node alone, or several nodes and the store that they share.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use steward::process::{NodeProcess, NodeSetup};
use tokio::process::Command;

use crate::plan::Plan;
use crate::store::{SharedStore, StoreChoice};

/// Everything that the nemesis can hit.
#[derive(Debug)]
pub struct Fleet {
    /// The store that the nodes share, where there are several.
    pub store: Option<SharedStore>,
    /// The nodes.
    pub nodes: Vec<NodeProcess>,
}

impl Fleet {
    /// Starts the plan's nodes; several share a store and are a cluster. FoundationDB is started from `fdbserver`.
    ///
    /// # Errors
    /// When a process does not get ready; with the last lines of its log.
    pub async fn start(base: &NodeSetup, plan: &Plan, fdbserver: Option<&Path>) -> anyhow::Result<Self> {
        if plan.nodes == 1 {
            return Ok(Self { store: None, nodes: vec![NodeProcess::start(base.clone()).await?] });
        }
        let authority = base.folder.join("authority");
        steward(&base.binary, &["cluster", "init"], &[&authority]).await?;
        let identity = |name: &str| base.folder.join(name).join("identity");
        let store = match &plan.store {
            StoreChoice::Served => {
                steward(&base.binary, &["cluster", "issue"], &[&authority, &identity("store")]).await?;
                SharedStore::serve(base, identity("store")).await?
            }
            StoreChoice::FoundationDb { processes } => {
                SharedStore::foundationdb(fdbserver, &base.folder.join("store"), *processes).await?
            }
            StoreChoice::Foreign(file) => SharedStore::Foreign(file.clone()),
        };
        let (first, last) = (store.setting(), store.section());
        let mut nodes = Vec::new();
        for number in 1..=plan.nodes {
            let name = format!("node-{number}");
            let identity = identity(&name);
            steward(&base.binary, &["cluster", "issue"], &[&authority, &identity]).await?;
            let identity = identity.to_str().context("the folder is not UTF-8")?;
            let config = format!("{first}{}\n[cluster]\nidentity = {identity:?}\n{last}", base.config);
            let setup = NodeSetup { folder: base.folder.join(&name), config, ..base.clone() };
            nodes.push(NodeProcess::start(setup).await.with_context(|| name.clone())?);
        }
        Ok(Self { store: Some(store), nodes })
    }

    /// Stops the nodes one after the other, then the store, each gracefully.
    ///
    /// # Errors
    /// When one does not end in time, or ends badly.
    pub async fn stop(self) -> anyhow::Result<()> {
        for node in self.nodes {
            node.stop().await?;
        }
        match self.store {
            Some(store) => store.stop().await,
            None => Ok(()),
        }
    }
}

/// Runs a command of the binary to its end.
async fn steward(binary: &Path, command: &[&str], paths: &[&Path]) -> anyhow::Result<()> {
    let mut process = Command::new(binary);
    process.args(command).args(paths).stdin(Stdio::null()).stdout(Stdio::null());
    let ended = process.status().await.with_context(|| format!("{} cannot be started", binary.display()))?;
    ensure!(ended.success(), "steward {} ended with {ended}", command.join(" "));
    Ok(())
}
