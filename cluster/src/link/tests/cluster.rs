//! Nodes of a test: an authority, links, and a handler that records what it was called with.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use steward_types::{Clock, NodeId, SystemClock, SystemEntropy};
use tokio::sync::{Semaphore, watch};

use super::super::*;

pub const DAY: Duration = Duration::from_secs(24 * 3600);
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Answers with what it was sent.
pub const ECHO: u16 = 1;
/// Answers when `Recorder::gate` gives a permit.
pub const WAIT: u16 = 2;
/// Refuses.
pub const REFUSE: u16 = 3;
/// Panics.
pub const PANIC: u16 = 4;
/// Records its payload.
pub const RECORD: u16 = 5;

pub struct Recorder {
    pub calls: Mutex<Vec<(NodeId, Bytes)>>,
    pub gate: Semaphore,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { calls: Mutex::default(), gate: Semaphore::new(0) }
    }
}

#[async_trait]
impl Inbound for Recorder {
    async fn on_call(&self, from: &NodeId, kind: u16, payload: Bytes, _: Duration) -> Result<Bytes, Refusal> {
        match kind {
            ECHO => Ok(payload),
            WAIT => {
                self.calls.lock().push((*from, payload.clone()));
                self.gate.acquire().await.expect("the gate is never closed").forget();
                Ok(payload)
            }
            REFUSE => Err(Refusal::Refused { code: 404, message: payload }),
            PANIC => panic!("as the test asked for"),
            _ => {
                self.calls.lock().push((*from, payload));
                Ok(Bytes::new())
            }
        }
    }
}

pub struct Node {
    pub links: Links,
    pub recorder: Arc<Recorder>,
    pub identity: watch::Sender<Arc<LinkIdentity>>,
}

impl Node {
    pub fn peer(&self) -> PeerAddress {
        self.at(self.links.address())
    }

    pub fn at(&self, address: SocketAddr) -> PeerAddress {
        PeerAddress { node: self.links.node(), address }
    }
}

pub fn authority() -> ClusterAuthority {
    ClusterAuthority::create(SystemClock::new().now()).unwrap()
}

pub fn id(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

pub fn identity(authority: &ClusterAuthority, node: NodeId, trusted: &[&str]) -> Arc<LinkIdentity> {
    let issued = authority.issue(&node, DAY, SystemClock::new().now()).unwrap();
    let trusted = authority::bundle(trusted);
    Arc::new(LinkIdentity::from_pem(&trusted, &issued.certificate_pem, &issued.key_pem).unwrap())
}

pub async fn node(authority: &ClusterAuthority, number: u8) -> Node {
    node_with(authority, number, |_| {}).await
}

pub async fn node_with(authority: &ClusterAuthority, number: u8, change: impl FnOnce(&mut LinkConfig)) -> Node {
    start(identity(authority, id(number), &[authority.certificate_pem()]), change).await
}

pub async fn start(identity: Arc<LinkIdentity>, change: impl FnOnce(&mut LinkConfig)) -> Node {
    let (identity, current) = watch::channel(identity);
    let mut config = LinkConfig::new(([127, 0, 0, 1], 0).into(), current);
    change(&mut config);
    let recorder = Arc::new(Recorder::default());
    let (clock, entropy) = (Arc::new(SystemClock::new()), Arc::new(SystemEntropy));
    let links = Links::start(config, recorder.clone(), clock, entropy).await.unwrap();
    Node { links, recorder, identity }
}

pub async fn call(from: &Node, to: &PeerAddress, kind: u16, payload: &str) -> Result<Bytes, CallError> {
    from.links.call(to, Lane::Data, kind, Bytes::from(payload.to_owned()), PATIENCE).await
}

/// Waits until the condition holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    while !holds() {
        assert!(clock.monotonic() < PATIENCE, "in vain: {what}");
        clock.sleep(Duration::from_millis(5)).await;
    }
}
