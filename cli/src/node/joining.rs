//! Joining by a member's address: the store is where the member says, and a configured one must be the same.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use steward_cluster::{Introduction, Seat, StoreLocator, introduction};
use steward_types::{Clock, Entropy};

use super::membership::Identity;
use crate::config::{ClusterSettings, NodeConfig, StoreChoice};

/// The cluster file that a member told, in the data folder: FoundationDB's client writes it anew when coordinators move.
const CLUSTER_FILE: &str = "fdb.cluster";

/// The store of the configuration, or the one that the first member that answers tells.
///
/// # Errors
/// When no member introduces this node, with what each said; when the cluster is not the one that is configured.
pub(super) async fn store(
    config: &NodeConfig,
    cluster: &ClusterSettings,
    identity: &Identity,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> anyhow::Result<StoreChoice> {
    if cluster.join.is_empty() {
        return Ok(config.store.clone());
    }
    let mut refused = Vec::new();
    for member in &cluster.join {
        match introduction(member, identity.newest(), Arc::clone(clock), Arc::clone(entropy)).await {
            Ok(found) => {
                let taken = take(&config.store, cluster.shards, &found, &config.data);
                return taken.with_context(|| format!("member {member}"));
            }
            Err(error) => refused.push(format!("{:#}", anyhow::Error::new(error))),
        }
    }
    bail!("no member introduces this node:\n  {}", refused.join("\n  "))
}

/// Compares what a member told with what is configured here.
fn take(configured: &StoreChoice, asked: Option<u32>, told: &Introduction, data: &Path) -> anyhow::Result<StoreChoice> {
    let Introduction { shards, store, .. } = told;
    let asked = asked.unwrap_or(*shards);
    ensure!(asked == *shards, "its cluster has {shards} shards, but cluster.shards = {asked} here");
    match (configured, store) {
        (StoreChoice::Embedded, StoreLocator::Served { address }) => Ok(StoreChoice::Served(address.clone())),
        (StoreChoice::Served(own), StoreLocator::Served { address }) => {
            ensure!(own == address, "its store is served:{address}, but store = \"served:{own}\" here");
            Ok(configured.clone())
        }
        (StoreChoice::Embedded, StoreLocator::FoundationDb { cluster_file }) => {
            let file = data.join(CLUSTER_FILE);
            std::fs::write(&file, cluster_file).with_context(|| format!("{} cannot be written", file.display()))?;
            Ok(StoreChoice::FoundationDb(file))
        }
        (StoreChoice::FoundationDb(file), StoreLocator::FoundationDb { cluster_file }) => {
            let own = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
            let (own, its) = (database(&own), database(cluster_file));
            ensure!(own == its, "its FoundationDB is {its}, but {} names {own}", file.display());
            Ok(configured.clone())
        }
        (StoreChoice::Served(own), StoreLocator::FoundationDb { .. }) => {
            bail!("its store is FoundationDB, but store = \"served:{own}\" here")
        }
        (StoreChoice::FoundationDb(file), StoreLocator::Served { address }) => {
            bail!("its store is served:{address}, but store = \"fdb:{}\" here", file.display())
        }
    }
}

/// `description:id` of a cluster file: what stays the same when coordinators move.
fn database(cluster_file: &str) -> &str {
    let line = cluster_file.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    line.unwrap_or_default().split('@').next().unwrap_or_default()
}

/// Lets nodes that know only this one join.
pub(super) fn introduce_others(seat: &Seat, store: StoreChoice) {
    let (member, shards) = (seat.id(), seat.cluster().map().count());
    seat.introduce(Box::new(move || Introduction {
        member,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        shards,
        store: match &store {
            StoreChoice::Served(address) => StoreLocator::Served { address: address.clone() },
            StoreChoice::FoundationDb(file) => {
                StoreLocator::FoundationDb { cluster_file: std::fs::read_to_string(file).unwrap_or_default() }
            }
            // A member has no store of its own: the configuration is refused before.
            StoreChoice::Embedded => StoreLocator::Served { address: String::new() },
        },
    }));
}

#[cfg(test)]
mod tests {
    use steward_types::NodeId;
    use steward_types::limits::SHARDS;

    use super::*;

    fn told(store: StoreLocator) -> Introduction {
        let member = NodeId::from_bytes([1; 16]);
        Introduction { member, release: "0.1.0".to_owned(), shards: SHARDS, store }
    }

    #[test]
    fn the_store_is_where_the_member_says_and_another_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("own.cluster");
        std::fs::write(&file, "# ours\nours:abc@10.0.0.1:4500\n").unwrap();
        let served = || told(StoreLocator::Served { address: "10.0.0.1:7702".to_owned() });
        let fdb = |text: &str| told(StoreLocator::FoundationDb { cluster_file: text.to_owned() });
        let check = |configured: &StoreChoice, told: &Introduction, expected: &str| {
            let taken = match take(configured, Some(SHARDS), told, folder.path()) {
                Ok(choice) => format!("{choice:?}"),
                Err(error) => error.to_string(),
            };
            assert!(taken.contains(expected), "{taken}");
        };
        check(&StoreChoice::Embedded, &served(), "Served(\"10.0.0.1:7702\")");
        check(&StoreChoice::Served("10.0.0.1:7702".into()), &served(), "Served(\"10.0.0.1:7702\")");
        check(&StoreChoice::Served("10.0.0.2:7702".into()), &served(), "its store is served:10.0.0.1:7702");
        check(&StoreChoice::Embedded, &fdb("theirs:1@h:1"), "fdb.cluster");
        assert_eq!(std::fs::read_to_string(folder.path().join(CLUSTER_FILE)).unwrap(), "theirs:1@h:1");
        // Coordinators may have moved: the database is the same.
        check(&StoreChoice::FoundationDb(file.clone()), &fdb("ours:abc@10.0.0.9:4500"), "own.cluster");
        check(&StoreChoice::FoundationDb(file.clone()), &fdb("theirs:1@h:1"), "its FoundationDB is theirs:1");
        check(&StoreChoice::FoundationDb(file), &served(), "its store is served:10.0.0.1:7702");
        check(&StoreChoice::Served("h:1".into()), &fdb("theirs:1@h:1"), "its store is FoundationDB");
        check(&StoreChoice::Embedded, &Introduction { shards: 7, ..served() }, "7 shards");
    }
}
