//! Names to addresses, checked: the addresses that are checked are the ones that are connected to.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use steward_adapters::http::is_public;
use thiserror::Error;

/// Looks a name up.
#[async_trait]
pub trait Lookup: Send + Sync + fmt::Debug + 'static {
    /// The addresses of a name.
    ///
    /// # Errors
    /// When it has none, or the resolver does not answer.
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The machine's own resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// All addresses of a name are forbidden.
#[derive(Debug, Error)]
#[error("{name} is at a private address, {address}, and the manifest does not set http.allow_private")]
pub(crate) struct PrivateAddress {
    name: String,
    address: IpAddr,
}

/// Refuses an address that a URL names directly.
pub(crate) fn check_address(address: IpAddr) -> Result<(), PrivateAddress> {
    match is_public(address) {
        true => Ok(()),
        false => Err(PrivateAddress { name: address.to_string(), address }),
    }
}

/// What a client connects through: it sees only public addresses.
#[derive(Debug)]
pub(crate) struct PublicOnly(pub(crate) Arc<dyn Lookup>);

/// What a client connects through when private addresses are allowed.
#[derive(Debug)]
pub(crate) struct Everything(pub(crate) Arc<dyn Lookup>);

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = Arc::clone(&self.0);
        Box::pin(async move {
            let addresses = lookup.lookup(name.as_str()).await?;
            let public: Vec<IpAddr> = addresses.iter().copied().filter(|&address| is_public(address)).collect();
            match (public.is_empty(), addresses.first()) {
                (true, Some(&address)) => Err(PrivateAddress { name: name.as_str().to_owned(), address }.into()),
                _ => Ok(sockets(public)),
            }
        })
    }
}

impl Resolve for Everything {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = Arc::clone(&self.0);
        Box::pin(async move { Ok(sockets(lookup.lookup(name.as_str()).await?)) })
    }
}

fn sockets(addresses: Vec<IpAddr>) -> Addrs {
    Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)))
}
