//! A node's assembly: the one place where drivers are chosen and parts are put together.
//!
//! Started in an order in which nothing is asked before it can answer, stopped in the reverse.

mod chains;
mod models;
mod secrets;

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use steward_actors::host::HostLimits;
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{NodeParts, Steward};
use steward_adapters_tools::HttpClient;
use steward_storage::Store;
use steward_storage_embedded::{EmbeddedConfig, EmbeddedStore};
use steward_types::{Clock, Entropy, SystemEntropy};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::chains::Chains;
use crate::config::NodeConfig;

/// The folder of the embedded store within a node's data folder.
pub const STORE_FOLDER: &str = "store";

/// A running node.
#[derive(Debug)]
pub struct Node {
    server: String,
    steward: Steward,
    store: Arc<dyn Store>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    /// Starts a node: opens its store, takes the lease, loads its models, recovers its sessions, and listens.
    ///
    /// # Errors
    /// When the store is in use or damaged, a chain or certificate is configured wrongly, or the address is taken.
    pub async fn start(config: NodeConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let tls = config.tls.as_ref().map(secrets::tls).transpose()?;
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.with_context(|| format!("{} cannot be listened on", config.listen))?;
        let address = listener.local_addr()?;
        let store = open_store(&config.data, &clock).await?;
        let models = models::open(&config, &store, &clock).await?;
        let secret = secrets::log_key(&config.data, entropy.as_ref())?;
        let log = Arc::new(LogIdentity::new(config.log_name.clone(), secret).context("log_name in the configuration")?);
        let http = Arc::new(HttpClient::new(Arc::clone(&clock)).context("the HTTP client")?);
        let chains = Chains::open(&config.chains, &store, &log)?;
        let mut parts = NodeParts::new(Arc::clone(&store), clock, Arc::clone(&entropy), models, http, log);
        parts.limits = HostLimits { drain_time_max: config.drain_time, ..HostLimits::default() };
        let registered = chains.clone();
        parts.register = Box::new(move |builder| registered.register(builder));
        parts.anchoring = Box::new(move |host| chains.anchoring(host));
        let steward = parts.start().await?;
        let root = secrets::root_key(&config.data, entropy.as_ref())?;
        steward.bootstrap_key(Some(&root)).await.context("the root key")?;
        let (stop, stopped) = oneshot::channel();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let api = steward_api::ApiConfig { tls, ..steward_api::ApiConfig::default() };
        let serve = steward_api::serve(listener, steward.clone(), api, async {
            let _ = stopped.await;
        });
        #[expect(clippy::disallowed_methods, reason = "owned by the node, which awaits it when it stops")]
        let serving = tokio::spawn(async move { serve.await.context("the API stopped") });
        Ok(Self { server: format!("{scheme}://{address}"), steward, store, stop, serving })
    }

    /// Where it listens.
    pub fn server(&self) -> String {
        self.server.clone()
    }

    /// What it serves.
    pub fn steward(&self) -> &Steward {
        &self.steward
    }

    /// Stops gracefully: takes no new work, finishes turns in hand, puts every entity away, closes the store.
    ///
    /// # Errors
    /// When a part could not be stopped cleanly; what was acknowledged is kept all the same.
    pub async fn stop(self) -> anyhow::Result<()> {
        let report = self.steward.host().drain().await;
        if !report.left.is_empty() {
            tracing::warn!(left = ?report.left, "some entities were cut off; they go on after the next start");
        }
        let _ = self.stop.send(());
        self.serving.await.context("the API crashed")??;
        self.steward.settle_direct_calls().await;
        self.store.close().await.context("the store did not close")
    }
}

async fn open_store(data: &Path, clock: &Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Store>> {
    let folder = data.join(STORE_FOLDER);
    std::fs::create_dir_all(data).with_context(|| format!("{} cannot be made", data.display()))?;
    let (config, clock) = (EmbeddedConfig::new(folder), Arc::clone(clock));
    let opened = tokio::task::spawn_blocking(move || EmbeddedStore::open(&config, clock)).await?;
    Ok(Arc::new(opened.with_context(|| format!("the store in {}", data.display()))?))
}
