//! A node's assembly: the one place where drivers are chosen and parts are put together.
//!
//! Started in an order in which nothing is asked before it can answer, stopped in the reverse.

pub(crate) mod chains;
mod devices;
mod joining;
pub(crate) mod membership;
mod models;
pub(crate) mod secrets;
pub(crate) mod stores;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use steward_actors::crowd::CrowdLimits;
use steward_actors::host::HostLimits;
use steward_actors::receipt_log::LogIdentity;
use steward_actors::service::{NodeParts, Steward};
use steward_adapters_tools::HttpClient;
use steward_api::{ApiConfig, Readiness};
use steward_cluster::Seat;
use steward_storage::Store;
use steward_types::{Clock, Entropy, SystemEntropy};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use self::chains::Chains;
use self::membership::Identity;
use self::models::Catalog;
use crate::commands::up::ROOT_KEY_FILE;
use crate::config::{ClusterSettings, NodeConfig};
use crate::credentials::write_private;

/// The folder of the embedded store within a node's data folder.
pub const STORE_FOLDER: &str = "store";

/// A running node.
#[derive(Debug)]
pub struct Node {
    server: String,
    steward: Steward,
    store: Arc<dyn Store>,
    seat: Option<Arc<Seat>>,
    models: Catalog,
    readiness: Arc<watch::Sender<Readiness>>,
    /// Tells whether a member is ready, for as long as the node runs.
    telling: Option<JoinSet<()>>,
    /// Keeps the certificates fresh for as long as the node runs.
    _identity: Option<Identity>,
    drain_time: Duration,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    /// Starts a node: opens its store, takes the lease or its seat in the cluster, loads its models, recovers its
    /// sessions, and listens.
    ///
    /// # Errors
    /// When the store is in use or damaged, a chain or certificate is configured wrongly, or the address is taken.
    pub async fn start(mut config: NodeConfig, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        config.check_listen()?;
        config.check_store()?;
        let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
        let tls = config.tls.as_ref().map(secrets::tls).transpose()?;
        let listener = TcpListener::bind(config.listen).await;
        let listener = listener.with_context(|| format!("{} cannot be listened on", config.listen))?;
        let address = listener.local_addr()?;
        std::fs::create_dir_all(&config.data).with_context(|| format!("{} cannot be made", config.data.display()))?;
        let read = |cluster: &ClusterSettings| Identity::read(cluster.identity.clone(), Arc::clone(&clock));
        let identity = config.cluster.as_ref().map(read).transpose()?;
        if let (Some(cluster), Some(identity)) = (&config.cluster, &identity) {
            config.store = joining::store(&config, cluster, identity, &clock, &entropy).await?;
        }
        let store = stores::open(&config, identity.as_ref(), &clock).await?;
        // A cluster's nodes share their secrets.
        let secrets_folder = config.cluster.as_ref().map_or(&config.data, |cluster| &cluster.identity);
        let secret = secrets::log_key(secrets_folder, entropy.as_ref())?;
        let log = Arc::new(
            LogIdentity::new(config.log_name.clone(), secret)
                .with_context(|| format!("log_name = {:?} in the configuration", config.log_name))?,
        );
        let http = Arc::new(
            HttpClient::new(Arc::clone(&clock)).context("the HTTP client of the agents' `http` cannot be made")?,
        );
        let chains = Chains::open(&config.chains, &store, &log).await?;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let server = format!("{scheme}://{address}");
        let seat = match (&config.cluster, &identity) {
            (Some(cluster), Some(identity)) => {
                Some(Arc::new(membership::join(cluster, identity, server.clone(), &store, &clock, &entropy).await?))
            }
            _ => None,
        };
        let models = models::open(&config, seat.as_deref(), &store, &clock, &entropy).await?;
        let mut parts = NodeParts::new(Arc::clone(&store), clock, Arc::clone(&entropy), models.port(), http, log);
        parts.lease = seat.as_ref().map(|seat| seat.lease());
        parts.router = seat.as_ref().map(|seat| seat.router());
        parts.members = seat.as_ref().map(|seat| seat.members());
        parts.limits = HostLimits { drain_time_max: config.drain_time, ..HostLimits::default() };
        let crowd = CrowdLimits::default();
        parts.crowd =
            CrowdLimits { at_work_max: config.turns_at_work.unwrap_or(crowd.at_work_max), wait_time: config.turn_wait };
        parts.chains = chains.all();
        let registered = chains.clone();
        parts.register = Box::new(move |builder| registered.register(builder));
        parts.anchoring = Box::new(move |host| chains.anchoring(host));
        let steward = parts.start().await?;
        if let Some(seat) = &seat {
            joining::introduce_others(seat, config.store.clone());
            seat.serve(&steward);
        }
        if let Some(models) = models.shared() {
            models.show_on(steward.host());
        }
        if config.scripted_model {
            models::add_scripted(&steward).await?;
        }
        let root = secrets::root_key(secrets_folder, entropy.as_ref())?;
        if config.cluster.is_some() {
            // Where the operator of one machine looks for it.
            write_private(&config.data.join(ROOT_KEY_FILE), format!("{root}\n").as_bytes())?;
        }
        let root_file = secrets_folder.join(ROOT_KEY_FILE);
        let made_good = steward.bootstrap_key(Some(&root)).await;
        made_good.with_context(|| format!("the operator's key in {} cannot be used", root_file.display()))?;
        let (stop, stopped) = oneshot::channel();
        let readiness = Arc::new(watch::Sender::new(Readiness::Ready));
        let telling = seat.as_ref().map(|seat| membership::tell_readiness(seat, &readiness));
        let api = ApiConfig { tls, readiness: readiness.subscribe(), ..ApiConfig::default() };
        let serve = steward_api::serve(listener, steward.clone(), api, async {
            let _ = stopped.await;
        });
        #[expect(clippy::disallowed_methods, reason = "owned by the node, which awaits it when it stops")]
        let serving = tokio::spawn(async move { serve.await.context("the API stopped") });
        let drain_time = config.drain_time;
        let _identity = identity;
        Ok(Self { server, steward, store, seat, models, readiness, telling, _identity, drain_time, stop, serving })
    }

    /// Where it listens.
    pub fn server(&self) -> String {
        self.server.clone()
    }

    /// What it serves.
    pub fn steward(&self) -> &Steward {
        &self.steward
    }

    /// Returns once the node serves its share of the shards; at once for a node that is alone.
    pub async fn ready(&self) {
        if let Some(seat) = &self.seat {
            seat.cluster().ready().await;
        }
    }

    /// The node's place in its cluster, if it is in one.
    pub fn seat(&self) -> Option<&Seat> {
        self.seat.as_deref()
    }

    /// Stops gracefully: says that it is not ready, hands its shards and models over where it is a member, takes no new
    /// work, finishes turns in hand, puts every entity away, closes the store.
    ///
    /// # Errors
    /// When a part could not be stopped cleanly; what was acknowledged is kept all the same.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        if let Some(mut telling) = self.telling.take() {
            telling.shutdown().await;
        }
        self.readiness.send_replace(Readiness::Draining);
        if let Some(seat) = &self.seat {
            self.hand_over(seat).await;
        }
        let report = self.steward.host().drain().await;
        if !report.left.is_empty() {
            tracing::warn!(left = ?report.left, "some entities were cut off; they go on after the next start");
        }
        let _ = self.stop.send(());
        self.serving.await.context("the API crashed")??;
        self.steward.settle_direct_calls().await;
        if let Some(models) = self.models.shared() {
            models.stop().await;
        }
        if let Some(seat) = &self.seat
            && let Err(error) = seat.leave().await
        {
            tracing::warn!(%error, "the node could not sign off; others notice that it is gone");
        }
        self.store.close().await.context("the store did not close")
    }

    /// Gives shards and models to other nodes, and finishes what their sessions generate here, all within the drain time.
    async fn hand_over(&self, seat: &Seat) {
        let clock = self.steward.clock();
        let began = clock.monotonic();
        if let Err(error) = seat.drain(self.drain_time).await {
            tracing::warn!(%error, "not every shard could be handed over; others take the rest");
        }
        let Some(models) = self.models.shared() else { return };
        let left = self.drain_time.saturating_sub(clock.monotonic().saturating_sub(began));
        tokio::select! {
            () = models.drained() => {}
            () = clock.sleep(left) => {
                tracing::warn!(generations = models.serving(), "not every model could be handed over; others load the rest");
            }
        }
    }
}
