//! What the tests stand on: a served store with its server in this process, and waiting for what must come true.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use steward_storage::{Isolation, MemoryStore, Store, StoreError};
use steward_storage_link::{LinkError, ServedConfig, ServedStore, ServerTls, StoreServer};
use steward_types::{Clock, SystemClock};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::certificates::{Authority, SERVER_NAME};

/// A server of a store, until it is dropped.
pub struct Stage {
    pub authority: Authority,
    pub server: Arc<StoreServer>,
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub tasks: JoinSet<Result<(), LinkError>>,
}

impl Stage {
    /// Serves an empty in-memory store.
    pub async fn new() -> Self {
        Self::of(Arc::new(MemoryStore::new())).await
    }

    pub async fn of(store: Arc<dyn Store>) -> Self {
        let authority = Authority::new();
        let tls = authority.server();
        Self::with_tls(store, authority, tls).await
    }

    pub async fn with_tls(store: Arc<dyn Store>, authority: Authority, tls: impl Into<ServerTls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(StoreServer::new(store, tls, clock()));
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let (serving, stopped) = (Arc::clone(&server), stop.clone());
        tasks.spawn(async move { serving.serve(listener, stopped.cancelled()).await });
        Self { authority, server, address, stop, tasks }
    }

    pub async fn client(&self) -> ServedStore {
        self.client_through(self.address).await
    }

    pub async fn client_through(&self, address: SocketAddr) -> ServedStore {
        ServedStore::connect(self.config(address), clock()).await.unwrap()
    }

    pub fn config(&self, address: SocketAddr) -> ServedConfig {
        ServedConfig::new(address.to_string(), SERVER_NAME, self.authority.client())
    }
}

pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new())
}

/// Waits for a condition; fails when it does not come true for a minute.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    while !condition() {
        assert!(clock.monotonic() < Duration::from_secs(60), "{what} did not come true");
        clock.sleep(Duration::from_millis(2)).await;
    }
}

pub async fn put(store: &dyn Store, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let txn = store.begin();
    txn.set(key, value)?;
    txn.commit().await.map(drop)
}

pub async fn get(store: &dyn Store, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
    store.begin().get(key, Isolation::Snapshot).await
}
