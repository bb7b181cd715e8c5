//! A node as a member of a cluster: its identity, kept fresh, and its seat.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use steward_api::Readiness;
use steward_cluster::link::{LinkConfig, LinkIdentity};
use steward_cluster::{ClusterConfig, NodeIdentity, Seat};
use steward_storage::Store;
use steward_types::limits::CERTIFICATE_READ_TIME;
use steward_types::{Clock, Entropy, NodeId};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::config::ClusterSettings;

/// A member's certificates: each new connection uses the newest.
#[derive(Debug)]
pub struct Identity {
    newest: watch::Receiver<Arc<LinkIdentity>>,
    reading: JoinHandle<()>,
}

impl Identity {
    /// Reads the folder that `steward cluster issue` made, now and from time to time.
    ///
    /// # Errors
    /// Names the file that is missing or wrong.
    pub fn read(folder: PathBuf, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        let mut held = contents(&folder);
        let (sender, newest) = watch::channel(Arc::new(LinkIdentity::load(&folder)?));
        #[expect(clippy::disallowed_methods, reason = "owned by the identity, which ends it when dropped")]
        let reading = tokio::spawn(async move {
            loop {
                clock.sleep(CERTIFICATE_READ_TIME).await;
                let found = contents(&folder);
                if found.is_some() && found == held {
                    continue;
                }
                match LinkIdentity::load(&folder) {
                    Ok(identity) if identity.node() == sender.borrow().node() => {
                        tracing::info!(folder = %folder.display(), "the identity's files changed; new links use them");
                        sender.send_replace(Arc::new(identity));
                        held = found;
                    }
                    Ok(other) => tracing::error!(node = %other.node(), "the identity is another node's; kept the old"),
                    // Two of the three files may be replaced already: the next read has all.
                    Err(error) => tracing::warn!(%error, "the identity cannot be read again; kept the old"),
                }
            }
        });
        Ok(Self { newest, reading })
    }

    /// The node that the certificates name.
    pub fn node(&self) -> NodeId {
        *self.newest.borrow().node()
    }

    /// The newest certificates.
    pub fn newest(&self) -> watch::Receiver<Arc<LinkIdentity>> {
        self.newest.clone()
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// What the identity's files hold; nothing when one cannot be read.
fn contents(folder: &Path) -> Option<[Vec<u8>; 3]> {
    let read = |name: &str| std::fs::read(folder.join(name)).ok();
    Some([read("ca.pem")?, read("node.pem")?, read("node.key")?])
}

/// Tells whether the node is ready: not before it has shards, and not while it drains, whoever asked for that.
pub(super) fn tell_readiness(seat: &Arc<Seat>, readiness: &Arc<watch::Sender<Readiness>>) -> JoinSet<()> {
    readiness.send_replace(Readiness::Starting);
    let (seat, readiness) = (Arc::clone(seat), Arc::clone(readiness));
    let mut telling = JoinSet::new();
    telling.spawn(async move {
        let cluster = seat.cluster();
        loop {
            let generation = cluster.map().generation();
            let now = match cluster.is_ready() {
                _ if cluster.is_draining() => Readiness::Draining,
                true => Readiness::Ready,
                false => Readiness::Starting,
            };
            readiness.send_if_modified(|told| std::mem::replace(told, now) != now);
            cluster.map().changed_since(generation).await;
        }
    });
    telling
}

/// Takes the node's seat in the cluster whose state is in `store`.
pub(super) async fn join(
    settings: &ClusterSettings,
    identity: &Identity,
    api_address: String,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    entropy: &Arc<dyn Entropy>,
) -> anyhow::Result<Seat> {
    let member = NodeIdentity {
        id: identity.node(),
        link_address: settings.advertise.clone(),
        api_address,
        zone: settings.zone.clone(),
        weight: settings.weight,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let config = ClusterConfig { shards: settings.shards, ..ClusterConfig::new(member) };
    let links = LinkConfig::new(settings.listen, identity.newest());
    let (store, clock, entropy) = (Arc::clone(store), Arc::clone(clock), Arc::clone(entropy));
    let taken = Seat::take(config, links, store, clock, entropy).await;
    taken.with_context(|| format!("the node of {} has no seat in its cluster", settings.identity.display()))
}
