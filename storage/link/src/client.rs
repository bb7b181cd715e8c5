//! The client's side: a store whose transactions read and commit over one connection that is kept alive.

mod connection;
mod link;
mod transaction;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use steward_storage::optimistic::{PendingWatch, Watches};
use steward_storage::{Store, StoreError, Txn};
use steward_types::Clock;
use steward_types::limits::{
    SERVED_CALL_BYTES_MAX, SERVED_CALL_TIME_DEFAULT, SERVED_CALLS_MAX, SERVED_START_TIME_MAX, SERVED_TRANSACTIONS_MAX,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::connection::Connection;
use self::link::Dialer;
use crate::deadline::within;
use crate::{ClientTls, LinkError};

/// Where a served store is and how it is called.
#[derive(Debug, Clone)]
pub struct ServedConfig {
    /// `host:port` of the one process that serves, tried in turn. Two processes with two stores must never stand here.
    pub addresses: Vec<String>,
    /// The name that the server's certificate must bear.
    pub server_name: String,
    /// This side's certificate and the authority that it trusts.
    pub tls: ClientTls,
    /// Longest time of one read or commit, and longest wait for a connection.
    pub call_time: Duration,
    /// How long the first connection is tried for: a node and its store may start together.
    pub start_time: Duration,
}

impl ServedConfig {
    /// A store served at one address, with the usual deadline.
    pub fn new(address: impl Into<String>, server_name: impl Into<String>, tls: impl Into<ClientTls>) -> Self {
        let (addresses, server_name) = (vec![address.into()], server_name.into());
        Self {
            addresses,
            server_name,
            tls: tls.into(),
            call_time: SERVED_CALL_TIME_DEFAULT,
            start_time: SERVED_START_TIME_MAX,
        }
    }
}

/// A store that another process serves. See [`StoreServer`](crate::StoreServer) for what it promises.
///
/// A lost connection is made again by itself. A transaction that had read over it fails as too old and a commit that
/// was on its way as of unknown outcome, both for the retry loop; new transactions wait for the connection, up to the
/// call time, and then fail as unavailable. Watches stay, and resolve when the connection is back, since what changed
/// meanwhile is not known. Dropping the store ends its connection at once.
pub struct ServedStore {
    shared: Arc<Shared>,
    /// The task that keeps the connection.
    link: tokio::sync::Mutex<JoinSet<()>>,
}

/// How the link of a [`ServedStore`] stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServedStoreState {
    /// Whether there is a connection now.
    pub connected: bool,
    /// Connections made so far.
    pub connections: u64,
    /// Calls that wait for their answer.
    pub calls: usize,
    /// Transactions that have read and not ended.
    pub transactions: usize,
}

/// What transactions, the link's task and the handle share.
pub(crate) struct Shared {
    addresses: String,
    clock: Arc<dyn Clock>,
    call_time: Duration,
    watches: Arc<Watches>,
    watch_numbers: AtomicU64,
    /// Active watches whose connection was lost: they resolve when there is another.
    orphans: Mutex<Vec<PendingWatch>>,
    link: watch::Sender<Link>,
    connections: AtomicU64,
    calls: Arc<Semaphore>,
    call_bytes: Arc<Semaphore>,
    transactions: Arc<Semaphore>,
    stop: CancellationToken,
}

/// The connection, or why there is none.
#[derive(Debug, Clone)]
pub(crate) enum Link {
    Up(Arc<Connection>),
    Down(Arc<str>),
    Closed,
}

/// The right to one call in flight; it goes back when the call is answered.
#[derive(Debug)]
pub(crate) struct CallPermit {
    _call: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedStore").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}

impl ServedStore {
    /// Connects, trying again for as long as a start may take. Dropping the future leaves nothing behind.
    ///
    /// # Errors
    /// A [`LinkError`] that says why: at once where trying again cannot help, such as certificates that do not fit.
    pub async fn connect(config: ServedConfig, clock: Arc<dyn Clock>) -> Result<Self, LinkError> {
        let shared = Arc::new(Shared::new(&config, Arc::clone(&clock)));
        let mut dialer = Dialer::new(config, clock)?;
        let first = dialer.dial_first().await?;
        let mut link = JoinSet::new();
        let up = shared.up(&first);
        link.spawn(link::keep(Arc::clone(&shared), dialer, first, up));
        Ok(Self { shared, link: tokio::sync::Mutex::new(link) })
    }

    /// How the link stands.
    pub fn state(&self) -> ServedStoreState {
        let shared = &self.shared;
        ServedStoreState {
            connected: matches!(*shared.link.borrow(), Link::Up(_)),
            connections: shared.connections.load(Ordering::Relaxed),
            calls: SERVED_CALLS_MAX - shared.calls.available_permits(),
            transactions: SERVED_TRANSACTIONS_MAX - shared.transactions.available_permits(),
        }
    }
}

#[async_trait]
impl Store for ServedStore {
    fn begin(&self) -> Txn {
        transaction::begin(Arc::clone(&self.shared))
    }

    fn name(&self) -> &'static str {
        "served"
    }

    fn clock(&self) -> Arc<dyn Clock> {
        Arc::clone(&self.shared.clock)
    }

    /// Waits for the calls in hand, up to the call time, and closes this side's link; the served store goes on.
    async fn close(&self) -> Result<(), StoreError> {
        let before = self.shared.link.send_replace(Link::Closed);
        if let Link::Up(_) = before {
            let all = u32::try_from(SERVED_CALLS_MAX).unwrap_or(u32::MAX);
            // Calls that are not answered by then end with the connection.
            let _ = within(&*self.shared.clock, self.shared.call_time, self.shared.calls.acquire_many(all)).await;
        }
        self.shared.stop.cancel();
        while self.link.lock().await.join_next().await.is_some() {}
        self.shared.orphans.lock().clear();
        Ok(())
    }
}

impl Drop for ServedStore {
    fn drop(&mut self) {
        // Its task ends with it, so nobody else would answer the calls in hand.
        if let Link::Up(connection) = self.shared.link.send_replace(Link::Closed) {
            connection.lose();
        }
        self.shared.orphans.lock().clear();
    }
}

impl Shared {
    fn new(config: &ServedConfig, clock: Arc<dyn Clock>) -> Self {
        let addresses = config.addresses.join(", ");
        let (link, _) = watch::channel(Link::Down("not connected yet".into()));
        Self {
            addresses,
            clock,
            call_time: config.call_time,
            watches: Arc::default(),
            watch_numbers: AtomicU64::new(0),
            orphans: Mutex::default(),
            link,
            connections: AtomicU64::new(0),
            calls: Arc::new(Semaphore::new(SERVED_CALLS_MAX)),
            call_bytes: Arc::new(Semaphore::new(SERVED_CALL_BYTES_MAX)),
            transactions: Arc::new(Semaphore::new(SERVED_TRANSACTIONS_MAX)),
            stop: CancellationToken::new(),
        }
    }

    /// The connection, waited for up to the call time.
    async fn connection(&self) -> Result<Arc<Connection>, StoreError> {
        if let Link::Up(connection) = &*self.link.borrow() {
            return Ok(Arc::clone(connection));
        }
        let mut changes = self.link.subscribe();
        let there = async {
            let settled = changes.wait_for(|link| !matches!(link, Link::Down(_))).await;
            settled.map_or(Link::Closed, |link| link.clone())
        };
        match within(&*self.clock, self.call_time, there).await {
            Some(Link::Up(connection)) => Ok(connection),
            Some(_) => Err(self.closed()),
            None => Err(self.down()),
        }
    }

    /// The connection, if there is one now.
    fn connection_now(&self) -> Result<Option<Arc<Connection>>, StoreError> {
        match &*self.link.borrow() {
            Link::Up(connection) => Ok(Some(Arc::clone(connection))),
            Link::Down(_) => Ok(None),
            Link::Closed => Err(self.closed()),
        }
    }

    /// The right to a call of so many bytes, waited for up to the call time.
    async fn permit(&self, bytes: usize) -> Result<CallPermit, StoreError> {
        if matches!(*self.link.borrow(), Link::Closed) {
            return Err(self.closed());
        }
        let bytes = u32::try_from(bytes.clamp(1, SERVED_CALL_BYTES_MAX)).unwrap_or(u32::MAX);
        let both = async {
            let call = Arc::clone(&self.calls).acquire_owned().await.ok()?;
            let bytes = Arc::clone(&self.call_bytes).acquire_many_owned(bytes).await.ok()?;
            Some(CallPermit { _call: call, _bytes: bytes })
        };
        within(&*self.clock, self.call_time, both).await.flatten().ok_or_else(|| self.late("calls"))
    }

    /// The right to one more transaction that reads, waited for up to the call time.
    async fn place(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        let place = within(&*self.clock, self.call_time, Arc::clone(&self.transactions).acquire_owned()).await;
        place.and_then(Result::ok).ok_or_else(|| self.late("transactions"))
    }

    fn late(&self, what: &str) -> StoreError {
        let (addresses, ms) = (&self.addresses, self.call_time.as_millis());
        StoreError::unavailable(format!("the served store at {addresses} has too many {what} in hand; waited {ms} ms"))
    }

    fn unanswered(&self) -> StoreError {
        let (addresses, ms) = (&self.addresses, self.call_time.as_millis());
        StoreError::unavailable(format!("the served store at {addresses} did not answer within {ms} ms"))
    }

    fn closed(&self) -> StoreError {
        StoreError::unavailable(format!("the link to the served store at {} is closed", self.addresses))
    }

    fn down(&self) -> StoreError {
        let reason = match &*self.link.borrow() {
            Link::Down(reason) => Arc::clone(reason),
            Link::Up(_) | Link::Closed => "it is only just there".into(),
        };
        StoreError::unavailable(format!("there is no connection to the served store: {reason}"))
    }
}
