//! The processes of a run: one node alone, or several nodes and the store that they share.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use steward::process::{NodeProcess, NodeSetup, Role};
use tokio::process::Command;

use crate::network::Network;

/// Everything that the nemesis can hit.
#[derive(Debug)]
pub struct Fleet {
    /// The store's process, where there is one.
    pub store: Option<NodeProcess>,
    /// The nodes.
    pub nodes: Vec<NodeProcess>,
    /// What lies between the nodes, and between them and the store, where there is one.
    pub network: Option<Network>,
}

impl Fleet {
    /// Starts one node for each of `configs`; several share a store and are a cluster.
    ///
    /// # Errors
    /// When a process does not get ready; with the last lines of its log.
    pub async fn start(base: &NodeSetup, count: u32) -> anyhow::Result<Self> {
        if count == 1 {
            return Ok(Self { store: None, nodes: vec![NodeProcess::start(base.clone()).await?], network: None });
        }
        let authority = base.folder.join("authority");
        steward(&base.binary, &["cluster", "init"], &[&authority]).await?;
        let identity = |name: &str| base.folder.join(name).join("identity");
        steward(&base.binary, &["cluster", "issue"], &[&authority, &identity("store")]).await?;
        let setup = NodeSetup {
            folder: base.folder.join("store"),
            role: Role::Store { identity: identity("store") },
            ..base.clone()
        };
        let store = NodeProcess::start(setup).await.context("the store")?;
        let names: Vec<String> = (1..=count).map(|number| format!("node-{number}")).collect();
        let setups = names.iter().map(|name| NodeSetup { folder: base.folder.join(name), ..base.clone() });
        let setups: Vec<NodeSetup> = setups.collect();
        let marks: Vec<PathBuf> = setups.iter().map(NodeSetup::config_file).collect();
        let address = store.server().trim_start_matches("served:").parse().context("the store's address")?;
        let network = Network::new(&marks, address).await?;
        let mut nodes = Vec::new();
        for (number, (mut setup, name)) in setups.into_iter().zip(&names).enumerate() {
            let identity = identity(name);
            steward(&base.binary, &["cluster", "issue"], &[&authority, &identity]).await?;
            let identity = identity.to_str().context("the folder is not UTF-8")?;
            let (store, listen, advertise) = (network.store(number), network.listen(number), network.advertise(number));
            setup.config = format!(
                "store = \"served:{store}\"\n{}\n[cluster]\nidentity = {identity:?}\nlisten = \"{listen}\"\n\
                 advertise = \"{advertise}\"\n",
                base.config
            );
            nodes.push(NodeProcess::start(setup).await.with_context(|| name.clone())?);
        }
        Ok(Self { store: Some(store), nodes, network: Some(network) })
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
