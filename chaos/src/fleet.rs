//! The processes of a run: one node alone, or several nodes and the store that they share.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, ensure};
use steward::process::{NodeProcess, NodeSetup};
use tokio::process::Command;

use crate::network::Network;
use crate::store::{SharedStore, StoreChoice};

/// Everything that the nemesis can hit.
#[derive(Debug)]
pub struct Fleet {
    /// The store that the nodes share, where there are several.
    pub store: Option<SharedStore>,
    /// The nodes.
    pub nodes: Vec<NodeProcess>,
    /// What lies between the nodes, and between them and the store, where there is one.
    pub network: Option<Network>,
}

impl Fleet {
    /// Starts the plan's nodes; several share a store and are a cluster. FoundationDB is started from `fdbserver`.
    ///
    /// # Errors
    /// When a process does not get ready; with the last lines of its log.
    pub async fn start(
        base: &NodeSetup,
        count: u32,
        choice: &StoreChoice,
        fdbserver: Option<&Path>,
    ) -> anyhow::Result<Self> {
        if count == 1 {
            return Ok(Self { store: None, nodes: vec![NodeProcess::start(base.clone()).await?], network: None });
        }
        let authority = base.folder.join("authority");
        steward(&base.binary, &["cluster", "init"], &[&authority]).await?;
        let identity = |name: &str| base.folder.join(name).join("identity");
        let store = match choice {
            StoreChoice::Served => {
                steward(&base.binary, &["cluster", "issue"], &[&authority, &identity("store")]).await?;
                SharedStore::serve(base, identity("store")).await?
            }
            StoreChoice::FoundationDb { processes } => {
                SharedStore::foundationdb(fdbserver, &base.folder.join("store"), *processes).await?
            }
            StoreChoice::Foreign(file) => SharedStore::Foreign(file.clone()),
        };
        let names: Vec<String> = (1..=count).map(|number| format!("node-{number}")).collect();
        let setups = names.iter().map(|name| NodeSetup { folder: base.folder.join(name), ..base.clone() });
        let setups: Vec<NodeSetup> = setups.collect();
        let marks: Vec<PathBuf> = setups.iter().map(NodeSetup::config_file).collect();
        let network = Network::new(&marks, store.address()?).await?;
        let mut nodes = Vec::new();
        for (number, (mut setup, name)) in setups.into_iter().zip(&names).enumerate() {
            let identity = identity(name);
            steward(&base.binary, &["cluster", "issue"], &[&authority, &identity]).await?;
            let identity = identity.to_str().context("the folder is not UTF-8")?;
            let (first, last) = (store.setting(network.store(number)), store.section());
            let (listen, advertise) = (network.listen(number), network.advertise(number));
            setup.config = format!(
                "{first}{}\n[cluster]\nidentity = {identity:?}\nlisten = \"{listen}\"\nadvertise = \"{advertise}\"\n{last}",
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
