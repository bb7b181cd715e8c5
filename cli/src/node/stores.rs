//! The stores that a node can keep its state in.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use steward_cluster::link::authority::SERVER_NAME;
use steward_storage::Store;
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_storage_fdb::{FdbConfig, FdbStore};
use steward_storage_link::{ClientTls, ServedConfig, ServedStore};
use steward_types::Clock;

use super::STORE_FOLDER;
use super::membership::Identity;
use crate::config::{FoundationDbSettings, NodeConfig, StoreChoice};

/// Opens the store of the node's configuration.
pub(super) async fn open(
    config: &NodeConfig,
    identity: Option<&Identity>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn Store>> {
    match &config.store {
        StoreChoice::Embedded => embedded(&config.data, clock).await,
        StoreChoice::Served(address) => {
            let newest = identity.context("a served store asks for the node's certificate")?.newest();
            let tls = ClientTls::from_source(move || newest.borrow().client_config());
            let store = ServedStore::connect(ServedConfig::new(address, SERVER_NAME, tls), Arc::clone(clock)).await;
            Ok(Arc::new(store.with_context(|| format!("the store served at {address}"))?))
        }
        StoreChoice::FoundationDb(file) => {
            let settings = config.foundationdb.clone().unwrap_or_default();
            let (config, clock) = (foundationdb(file, settings), Arc::clone(clock));
            let opened = tokio::task::spawn_blocking(move || FdbStore::open(&config, clock)).await?;
            Ok(Arc::new(opened.with_context(|| format!("FoundationDB by {}", file.display()))?))
        }
    }
}

fn foundationdb(cluster_file: &Path, settings: FoundationDbSettings) -> FdbConfig {
    let FoundationDbSettings { name, library, tag, trace_folder, log_transactions } = settings;
    let config = FdbConfig { library, tag, trace_folder, log_transactions, ..FdbConfig::new(cluster_file) };
    match name {
        Some(name) => config.named(&name),
        None => config,
    }
}

/// Opens the embedded store of a data folder, which is made if need be.
pub(crate) async fn embedded(data: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Store>> {
    let folder = data.join(STORE_FOLDER);
    std::fs::create_dir_all(data).with_context(|| format!("{} cannot be made", data.display()))?;
    let (config, clock) = (EmbeddedConfig::new(folder), Arc::clone(clock));
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&config, clock)).await?;
    Ok(Arc::new(opened.with_context(|| format!("the store in {}", data.display()))?))
}
