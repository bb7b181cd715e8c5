//! A seat of a test's cluster: a node with an identity of the test's authority, on loopback.

use std::sync::Arc;
use std::time::Duration;

use steward_cluster::link::{ClusterAuthority, LinkConfig, LinkIdentity};
use steward_cluster::{ClusterConfig, NodeIdentity, Seat};
use steward_storage::Store;
use steward_types::{Clock, NodeId, SystemEntropy};
use tokio::sync::watch;

/// Takes the seat of the node whose id is this number sixteen times.
pub async fn take(authority: &ClusterAuthority, number: u8, store: &Arc<dyn Store>, clock: &Arc<dyn Clock>) -> Seat {
    let id = NodeId::from_bytes([number; 16]);
    let issued = authority.issue(&id, Duration::from_secs(3_600), clock.now()).unwrap();
    let trusted = authority.certificate_pem();
    let identity = LinkIdentity::from_pem(trusted, &issued.certificate_pem, &issued.key_pem).unwrap();
    let links = LinkConfig::new(([127, 0, 0, 1], 0).into(), watch::channel(Arc::new(identity)).1);
    let config = ClusterConfig::new(NodeIdentity {
        id,
        link_address: String::new(),
        api_address: String::new(),
        zone: String::new(),
        weight: 100,
        version: "0.1.0".to_owned(),
    });
    Seat::take(config, links, Arc::clone(store), Arc::clone(clock), Arc::new(SystemEntropy)).await.unwrap()
}
