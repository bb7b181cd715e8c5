//! The network of a cluster's processes: a proxy in front of each node's links, and one between each node and the
//! store. Cutting it leaves every connection open; what is held back comes late, as after a real partition.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use steward_chaos_proxy::{Hold, Proxy};

use crate::dialler::dialler;

/// What is cut off from what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Two nodes do not hear each other.
    Nodes(usize, usize),
    /// What the first says does not reach the second.
    NodesOneWay(usize, usize),
    /// A node and the store do not hear each other.
    Store(usize),
    /// What the node says does not reach the store.
    ToStore(usize),
    /// What the store says does not reach the node.
    FromStore(usize),
}

/// The proxies, by the number of the node. A store of many processes that find each other has none before it.
#[derive(Debug)]
pub struct Network {
    listens: Vec<SocketAddr>,
    links: Vec<Proxy>,
    stores: Vec<Proxy>,
}

impl Network {
    /// Puts proxies in front of so many nodes as there are `marks`: a text in each node's command line that no other
    /// has, to know who dialled.
    ///
    /// # Errors
    /// When this machine has no free ports.
    pub async fn new(marks: &[PathBuf], store: Option<SocketAddr>) -> anyhow::Result<Self> {
        let marks: Arc<[PathBuf]> = marks.into();
        let mut network = Self { listens: Vec::new(), links: Vec::new(), stores: Vec::new() };
        for number in 0..marks.len() {
            let listen = free_address(number)?;
            let marks = Arc::clone(&marks);
            let recognise = Arc::new(move |caller| dialler(caller, &marks));
            network.listens.push(listen);
            network.links.push(Proxy::recognising(listen, recognise).await?);
            if let Some(store) = store {
                network.stores.push(Proxy::to(store).await?);
            }
        }
        Ok(network)
    }

    /// Where a node listens for the others.
    pub fn listen(&self, node: usize) -> SocketAddr {
        self.listens[node]
    }

    /// Where the others reach a node.
    pub fn advertise(&self, node: usize) -> SocketAddr {
        self.links[node].address()
    }

    /// Where a node reaches the store, where that goes through a proxy.
    pub fn store(&self, node: usize) -> Option<SocketAddr> {
        self.stores.get(node).map(Proxy::address)
    }

    /// Cuts.
    pub fn cut(&self, cut: Cut) {
        match cut {
            Cut::Nodes(one, other) => {
                self.links[other].hold_caller(one, Hold::BOTH);
                self.links[one].hold_caller(other, Hold::BOTH);
            }
            Cut::NodesOneWay(from, to) => {
                self.links[to].hold_caller(from, Hold::THERE);
                self.links[from].hold_caller(to, Hold::BACK);
            }
            Cut::Store(node) => self.stores[node].hold(Hold::BOTH),
            Cut::ToStore(node) => self.stores[node].hold(Hold::THERE),
            Cut::FromStore(node) => self.stores[node].hold(Hold::BACK),
        }
    }

    /// Ends every cut.
    pub fn heal(&self) {
        for proxy in &self.links {
            (0..self.links.len()).for_each(|caller| proxy.hold_caller(caller, Hold::NONE));
        }
        self.stores.iter().for_each(|proxy| proxy.hold(Hold::NONE));
    }

    /// Resets the connections that others have to a node, and its own to the store.
    pub fn reset(&self, node: usize) {
        self.links[node].reset();
        if let Some(store) = self.stores.get(node) {
            store.reset();
        }
    }

    /// Bytes that were held back so far.
    pub fn withheld(&self) -> u64 {
        self.proxies().map(Proxy::withheld).sum()
    }

    /// Connections that were reset so far.
    pub fn resets(&self) -> usize {
        self.proxies().map(Proxy::resets).sum()
    }

    fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.links.iter().chain(&self.stores)
    }
}

/// A port of a loopback address that outgoing connections do not use, so that it is still free when its node starts
/// again.
fn free_address(number: usize) -> anyhow::Result<SocketAddr> {
    let last = u8::try_from(number + 2).context("too many nodes")?;
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 1, last), 0)).context("no loopback address for a node")?;
    Ok(listener.local_addr()?)
}
