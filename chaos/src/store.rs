//! The store that several nodes share: which one a plan asks for, and its processes as something that can be hit.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Context as _;
use serde::Deserialize;
use steward::process::{NodeProcess, NodeSetup, Role};
use steward_storage_fdb::devcluster::{DevCluster, SERVER_VARIABLE};
use steward_types::{Clock as _, SystemClock};

/// The store that a plan's nodes share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum StoreChoice {
    /// Steward's served store.
    #[default]
    Served,
    /// A FoundationDB cluster that the run starts, with so many processes.
    FoundationDb {
        /// How many; three or more survive one of them.
        processes: usize,
    },
    /// A FoundationDB cluster that others run, by its cluster file. The nemesis leaves it alone.
    Foreign(PathBuf),
}

impl StoreChoice {
    /// Whether the nemesis may hit it.
    pub fn is_ours(&self) -> bool {
        !matches!(self, Self::Foreign(_))
    }
}

impl FromStr for StoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("store {text:?} is none of served, foundationdb, foundationdb:PROCESSES, fdb:FILE");
        match text.split_once(':') {
            None if text == "served" => Ok(Self::Served),
            None if text == "foundationdb" => Ok(Self::FoundationDb { processes: 1 }),
            Some(("foundationdb", number)) => match number.parse() {
                Ok(processes) if processes > 0 => Ok(Self::FoundationDb { processes }),
                _ => Err(refused()),
            },
            Some(("fdb", file)) if !file.is_empty() => Ok(Self::Foreign(file.into())),
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for StoreChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

/// A shared store that serves.
#[derive(Debug)]
pub enum SharedStore {
    /// Steward's served store, in a process of its own.
    Served(Box<NodeProcess>),
    /// A FoundationDB cluster of the run's own.
    FoundationDb(DevCluster),
    /// A FoundationDB cluster that others run.
    Foreign(PathBuf),
}

impl SharedStore {
    /// Starts Steward's served store, with the certificates in the folder `identity`.
    ///
    /// # Errors
    /// When it does not get ready.
    pub async fn serve(base: &NodeSetup, identity: PathBuf) -> anyhow::Result<Self> {
        let setup = NodeSetup { folder: base.folder.join("store"), role: Role::Store { identity }, ..base.clone() };
        Ok(Self::Served(Box::new(NodeProcess::start(setup).await.context("the store")?)))
    }

    /// Starts a FoundationDB cluster of the program `fdbserver`, with its files in `folder`.
    ///
    /// # Errors
    /// When it does not get ready, or there is no such program.
    pub async fn foundationdb(fdbserver: Option<&Path>, folder: &Path, processes: usize) -> anyhow::Result<Self> {
        let binary = fdbserver
            .with_context(|| format!("the plan starts FoundationDB: give --fdbserver FILE or set {SERVER_VARIABLE}"))?;
        Ok(Self::FoundationDb(DevCluster::start(binary, folder, processes).await?))
    }

    /// Where it listens, when that is one place.
    ///
    /// # Errors
    /// When it said something else than an address.
    pub fn address(&self) -> anyhow::Result<Option<SocketAddr>> {
        let Self::Served(process) = self else { return Ok(None) };
        let address = process.server().trim_start_matches("served:").parse();
        address.map(Some).context("the store's address")
    }

    /// What stands first in the configuration of a node that reaches it `through` a proxy, or as it is.
    pub fn setting(&self, through: Option<SocketAddr>) -> String {
        let store = match self {
            Self::Served(process) => through.map_or_else(|| process.server().to_owned(), |at| format!("served:{at}")),
            Self::FoundationDb(cluster) => format!("fdb:{}", cluster.cluster_file().display()),
            Self::Foreign(file) => format!("fdb:{}", file.display()),
        };
        format!("store = {store:?}\n")
    }

    /// What stands last in the configuration of a node that uses it: a name of the run's own in a database of others.
    pub fn section(&self) -> String {
        match self {
            Self::Foreign(_) => {
                let (process, now) = (std::process::id(), SystemClock::new().now().as_millis());
                format!("\n[foundationdb]\nname = \"chaos/{process}/{now}\"\n")
            }
            Self::Served(_) | Self::FoundationDb(_) => String::new(),
        }
    }

    /// How many processes it has that can be hit.
    pub fn size(&self) -> usize {
        match self {
            Self::Served(_) => 1,
            Self::FoundationDb(cluster) => cluster.size(),
            Self::Foreign(_) => 0,
        }
    }

    /// Kills a process and starts it again.
    ///
    /// # Errors
    /// When it had ended by itself, or does not start again.
    pub async fn kill_and_start_again(&mut self, process: usize) -> anyhow::Result<()> {
        match self {
            Self::Served(store) => {
                store.kill().await?;
                store.start_again().await
            }
            Self::FoundationDb(cluster) => {
                cluster.kill(process).await?;
                Ok(cluster.start_again(process)?)
            }
            Self::Foreign(_) => Ok(()),
        }
    }

    /// Stops a process where it stands.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub async fn pause(&mut self, process: usize) -> anyhow::Result<()> {
        match self {
            Self::Served(store) => store.pause().await,
            Self::FoundationDb(cluster) => Ok(cluster.pause(process)?),
            Self::Foreign(_) => Ok(()),
        }
    }

    /// Lets a paused process go on.
    ///
    /// # Errors
    /// When it had ended by itself.
    pub async fn resume(&mut self, process: usize) -> anyhow::Result<()> {
        match self {
            Self::Served(store) => store.resume().await,
            Self::FoundationDb(cluster) => Ok(cluster.resume(process)?),
            Self::Foreign(_) => Ok(()),
        }
    }

    /// Stops what the run started.
    ///
    /// # Errors
    /// When a process had ended by itself, or ends badly.
    pub async fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Served(store) => store.stop().await,
            Self::FoundationDb(cluster) => Ok(cluster.stop().await?),
            Self::Foreign(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_chosen_by_name() {
        let check = |text: &str, expected: Option<StoreChoice>| assert_eq!(text.parse().ok(), expected, "{text}");
        check("served", Some(StoreChoice::Served));
        check("foundationdb", Some(StoreChoice::FoundationDb { processes: 1 }));
        check("foundationdb:3", Some(StoreChoice::FoundationDb { processes: 3 }));
        check("fdb:/etc/f", Some(StoreChoice::Foreign("/etc/f".into())));
        check("foundationdb:0", None);
        check("fdb:", None);
        check("embedded", None);
    }
}
