//! A cluster to measure on: nodes, their store, and one project whose agent is a register.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::json;
use steward::client::Client;
use steward::process::{NodeProcess, NodeSetup, Role};
use steward_api::proto::v1;

use crate::fleet::Fleet;
use crate::project;
use crate::registers::AGENT;
use crate::store::StoreChoice;

/// Nodes of a measured cluster.
pub(super) const NODES: u32 = 3;

/// The cluster.
pub struct Stage {
    /// Its processes.
    pub fleet: Fleet,
    /// Clients of each node with the project's key.
    pub clients: Vec<Client>,
    /// Clients of each node with the root key.
    pub roots: Vec<Client>,
}

impl Stage {
    /// Starts three nodes and their store in `folder`.
    ///
    /// # Errors
    /// When one does not get ready.
    pub async fn start(steward: &Path, folder: &Path) -> anyhow::Result<Self> {
        Self::start_with(steward, folder, AGENT, "").await
    }

    /// The same with another agent of `agents/`, and with `more` in the nodes' configuration.
    ///
    /// # Errors
    /// When one does not get ready.
    pub async fn start_with(steward: &Path, folder: &Path, agent: &str, more: &str) -> anyhow::Result<Self> {
        let setup = NodeSetup {
            binary: steward.to_owned(),
            folder: folder.to_owned(),
            role: Role::Node,
            config: format!("scripted_model = true\nlog_name = \"chaos.steward\"\n{more}"),
            environment: Vec::new(),
        };
        let fleet = Fleet::start(&setup, NODES, &StoreChoice::Served, None).await?;
        let clients = project::create(&fleet.nodes, "measured", agent, &[]).await?;
        let roots = fleet.nodes.iter().map(NodeProcess::root_client).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self { fleet, clients, roots })
    }

    /// Opens a session through a node.
    ///
    /// # Errors
    /// What the node says.
    pub async fn open(&self, node: usize) -> anyhow::Result<String> {
        let open = v1::OpenSessionRequest { agent: AGENT.to_owned(), ..Default::default() };
        Ok(self.clients[node].sessions().open(open).await?.into_inner().id)
    }

    /// Which node has a session in its memory.
    ///
    /// # Errors
    /// When none has, or a node does not say.
    pub async fn owner(&self, session: &str) -> anyhow::Result<usize> {
        for (node, root) in self.roots.iter().enumerate() {
            let request = v1::InspectActorRequest { kind: "session".to_owned(), id: session.to_owned() };
            let summary = root.actors().inspect(request).await?.into_inner().summary.unwrap_or_default();
            if summary.state == "active" {
                return Ok(node);
            }
        }
        anyhow::bail!("no node has session {session} in its memory")
    }

    /// The sum of a counter over all nodes, as their `/metrics` show it.
    ///
    /// # Errors
    /// When a node does not show its metrics.
    pub async fn counted(&self, counter: &str) -> anyhow::Result<u64> {
        self.counted_from(0, counter).await
    }

    /// The same over the nodes from this one on.
    ///
    /// # Errors
    /// When a node does not show its metrics.
    pub async fn counted_from(&self, first: usize, counter: &str) -> anyhow::Result<u64> {
        let mut sum = 0;
        for node in self.fleet.nodes.iter().skip(first) {
            let text = reqwest::get(format!("{}/metrics", node.server())).await?.error_for_status()?.text().await?;
            sum += counter_in(&text, counter).with_context(|| format!("{counter} of {}", node.server()))?;
        }
        Ok(sum)
    }
}

/// A request to append a value to a register and see the list.
pub fn append(session: &str, value: &str, idempotency_key: String) -> v1::RunRequest {
    let message = v1::Message { text: String::new(), data_json: json!({ "value": value }).to_string() };
    v1::RunRequest { session: session.to_owned(), message: Some(message), idempotency_key }
}

/// A counter that has not been raised yet does not show.
fn counter_in(text: &str, counter: &str) -> anyhow::Result<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(counter)?.trim().parse::<u64>().into());
    line.transpose().map(Option::unwrap_or_default).context("a counter is a whole number")
}

/// Where the binaries of a measurement are.
#[derive(Debug, Clone)]
pub struct Binaries {
    /// The one that the cluster starts with.
    pub steward: PathBuf,
    /// The one that nodes are restarted with.
    pub next: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_read_and_zero_when_it_is_not_there() {
        let text = "# TYPE steward_cluster_evictions_total counter\nsteward_cluster_evictions_total 3\n";
        assert_eq!(counter_in(text, "steward_cluster_evictions_total").unwrap(), 3);
        assert_eq!(counter_in(text, "another_total").unwrap(), 0);
    }
}
