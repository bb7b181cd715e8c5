//! The server's side: accepts connections of clients with a certificate, and serves a store to them.

mod connection;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use steward_storage::Store;
use steward_types::Clock;
use steward_types::limits::{SERVED_CONNECT_TIME_MAX, SERVED_CONNECTIONS_MAX};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use self::connection::{Ending, Serving};
use crate::deadline::within;
use crate::frame::{self, FrameReader};
use crate::wire::{Greeting, Hello, MAGIC, VERSION_LATEST, VERSION_OLDEST};
use crate::{LinkError, ServerTls};

/// How long the server waits after the system refused it a connection, such as for want of file handles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Reads that a connection which failed in TLS is still good for.
const LINGER_READS: u32 = 64;

/// Offers the store of this process to others.
///
/// What its clients get is the store's own guarantee: every commit goes through the store as one of this process does,
/// and is answered once it is secured there. There is one server and it is not replicated: while it is away, its
/// clients wait, and what its disk loses is lost.
///
/// Anyone with a certificate that the TLS configuration accepts may read and write everything. Calls, bytes,
/// transactions and watches of a connection are bounded; a lost connection frees what it held, and what it had handed
/// to the store is committed or not as it would be. A client that connects again never has anything of its earlier
/// connection still waiting to be read.
#[derive(Debug)]
pub struct StoreServer {
    shared: Arc<Shared>,
}

/// What a [`StoreServer`] holds and has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreServerState {
    /// Clients that are connected.
    pub connections: usize,
    /// Transactions that read and have not ended.
    pub transactions: usize,
    /// Watches of committed transactions.
    pub watches: usize,
    /// Connections that did not get as far as to be a client's.
    pub refused: u64,
    /// Commits that the store acknowledged.
    pub commits: u64,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn Store>,
    tls: ServerTls,
    clock: Arc<dyn Clock>,
    seats: Seats,
    counters: Counters,
}

/// What the state is made of.
#[derive(Debug, Default)]
struct Counters {
    connections: AtomicUsize,
    transactions: AtomicUsize,
    watches: AtomicUsize,
    refused: AtomicU64,
    commits: AtomicU64,
}

impl StoreServer {
    /// A server of `store`. `clock` is for its connections; the store's transactions age by the store's own.
    pub fn new(store: Arc<dyn Store>, tls: impl Into<ServerTls>, clock: Arc<dyn Clock>) -> Self {
        let (seats, counters) = (Seats::default(), Counters::default());
        Self { shared: Arc::new(Shared { store, tls: tls.into(), clock, seats, counters }) }
    }

    /// What it holds and has done.
    pub fn state(&self) -> StoreServerState {
        let counters = &self.shared.counters;
        StoreServerState {
            connections: counters.connections.load(Ordering::Relaxed),
            transactions: counters.transactions.load(Ordering::Relaxed),
            watches: counters.watches.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            commits: counters.commits.load(Ordering::Relaxed),
        }
    }

    /// Serves until `shutdown` is ready; then answers the commits in hand, closes the connections and returns. The
    /// store stays open. Dropping the future closes all connections at once.
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] when the listener does not work.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) -> Result<(), LinkError> {
        let address = listener.local_addr().map_err(|source| LinkError::io("an unknown address", source))?;
        tracing::info!(%address, store = self.shared.store.name(), "serving the store");
        let (places, drain) = (Arc::new(Semaphore::new(SERVED_CONNECTIONS_MAX)), CancellationToken::new());
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(_) = connections.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            match (accepted, Arc::clone(&places).try_acquire_owned()) {
                (Ok((stream, peer)), Ok(place)) => {
                    let (shared, drain) = (Arc::clone(&self.shared), drain.clone());
                    connections.spawn(async move {
                        shared.connection(stream, peer, &drain).await;
                        drop(place);
                    });
                }
                (Ok((_, peer)), Err(_)) => {
                    self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%peer, limit = SERVED_CONNECTIONS_MAX, "too many connections to the served store");
                }
                (Err(error), _) => {
                    tracing::warn!(%error, "a connection to the served store was not accepted");
                    self.shared.clock.sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Who comes now shall go elsewhere, or try again.
        drop(listener);
        drain.cancel();
        while connections.join_next().await.is_some() {}
        Ok(())
    }
}

impl Shared {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, drain: &CancellationToken) {
        let greeted = within(&*self.clock, SERVED_CONNECT_TIME_MAX, self.greet(stream, peer)).await;
        let silence_ms = u64::try_from(SERVED_CONNECT_TIME_MAX.as_millis()).unwrap_or(u64::MAX);
        let silent = || LinkError::Silent { address: peer.to_string(), silence_ms };
        let (seat, frames, sink) = match greeted.unwrap_or_else(|| Err(silent())) {
            Ok(greeted) => greeted,
            Err(error) => {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%peer, error = error.chain(), "a connection to the served store was refused");
                return;
            }
        };
        self.counters.connections.fetch_add(1, Ordering::Relaxed);
        tracing::info!(%peer, "a client of the served store connected");
        let serving = Serving::new(Arc::clone(&self.store), Arc::clone(&self.clock), &self.counters, frames, sink);
        let ending = tokio::select! {
            biased;
            () = seat.replaced.cancelled() => Ending::Replaced,
            ending = serving.run(drain) => ending,
        };
        self.counters.connections.fetch_sub(1, Ordering::Relaxed);
        tracing::info!(%peer, %ending, "a client of the served store is gone");
    }

    async fn greet(&self, stream: TcpStream, peer: SocketAddr) -> Result<Greeted<'_>, LinkError> {
        let address = peer.to_string();
        let io = |source| LinkError::io(&address, source);
        stream.set_nodelay(true).map_err(io)?;
        let accepted = TlsAcceptor::from(self.tls.current()).accept(stream).into_fallible().await;
        let stream = match accepted {
            Ok(stream) => stream,
            Err((source, stream)) => {
                linger(stream).await;
                return Err(io(source));
            }
        };
        let known = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
        let (source, mut sink) = tokio::io::split(stream);
        let mut frames = FrameReader::new(source);
        let broken = |error| LinkError::frame(&address, error);
        let hello: Hello = frames.expect().await.map_err(broken)?;
        let (greeting, seat) = if known {
            match agree(&hello) {
                Ok(version) => match self.seats.take(&hello).await {
                    Some(seat) => (Greeting::Welcome { version }, Some(seat)),
                    None => (refused("a later connection of this client is there"), None),
                },
                Err(greeting) => (greeting, None),
            }
        } else {
            (refused("it came without a certificate"), None)
        };
        let mut encoded = Vec::new();
        frame::append(&greeting, &mut encoded).map_err(broken)?;
        sink.write_all(&encoded).await.map_err(io)?;
        sink.flush().await.map_err(io)?;
        match (seat, greeting) {
            (Some(seat), _) => Ok((seat, frames, sink)),
            (None, Greeting::Refused { reason }) => Err(LinkError::Refused { address, reason }),
            (None, Greeting::Welcome { .. }) => Err(LinkError::Closed),
        }
    }
}

/// Ends a connection that failed in TLS so that the other side still gets the alert which says why: what is closed with
/// something unread is reset, and the alert may be lost with that.
async fn linger(mut stream: TcpStream) {
    let (mut unread, mut left) = ([0; 1024], LINGER_READS);
    let mut open = stream.shutdown().await.is_ok();
    while open && left > 0 {
        open = stream.read(&mut unread).await.is_ok_and(|bytes| bytes > 0);
        left -= 1;
    }
}

type Greeted<'a> = (Seat<'a>, FrameReader<ReadHalf<TlsStream<TcpStream>>>, WriteHalf<TlsStream<TcpStream>>);

fn refused(reason: &str) -> Greeting {
    Greeting::Refused { reason: reason.into() }
}

/// The version that both speak.
fn agree(hello: &Hello) -> Result<u16, Greeting> {
    if hello.magic != MAGIC {
        return Err(refused("it does not speak the protocol of served stores"));
    }
    let version = hello.latest.min(VERSION_LATEST);
    if version < hello.oldest.max(VERSION_OLDEST) {
        let (oldest, latest) = (hello.oldest, hello.latest);
        return Err(refused(&format!(
            "it speaks versions {oldest} to {latest} of the protocol, and the server {VERSION_OLDEST} to \
             {VERSION_LATEST}; upgrade the older one"
        )));
    }
    Ok(version)
}

/// One connection a client: a later one waits until nothing of an earlier one will be read any more, so that a commit
/// of unknown outcome cannot be taken up after its client tried again.
#[derive(Debug, Default)]
struct Seats {
    taken: Mutex<HashMap<[u8; 16], Taken>>,
}

#[derive(Debug)]
struct Taken {
    connection: u64,
    replaced: CancellationToken,
    left: CancellationToken,
}

/// A client's place; it is free again when this is dropped.
#[derive(Debug)]
struct Seat<'a> {
    seats: &'a Seats,
    client: [u8; 16],
    replaced: CancellationToken,
    left: CancellationToken,
}

impl Seats {
    /// The client's place, once an earlier connection has left it; `None` when a later connection has it.
    async fn take(&self, hello: &Hello) -> Option<Seat<'_>> {
        loop {
            let left = {
                let mut taken = self.taken.lock();
                match taken.get(&hello.client) {
                    Some(other) if other.connection >= hello.connection => return None,
                    Some(other) => {
                        other.replaced.cancel();
                        other.left.clone()
                    }
                    None => {
                        let (replaced, left) = (CancellationToken::new(), CancellationToken::new());
                        let entry =
                            Taken { connection: hello.connection, replaced: replaced.clone(), left: left.clone() };
                        taken.insert(hello.client, entry);
                        return Some(Seat { seats: self, client: hello.client, replaced, left });
                    }
                }
            };
            left.cancelled().await;
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.seats.taken.lock().remove(&self.client);
        self.left.cancel();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(oldest: u16, latest: u16, connection: u64) -> Hello {
        Hello { magic: MAGIC.into(), oldest, latest, client: [7; 16], connection }
    }

    #[test]
    fn two_sides_agree_on_the_latest_version_that_both_speak() {
        assert!(matches!(agree(&hello(1, 9, 1)), Ok(VERSION_LATEST)));
        assert!(matches!(agree(&hello(VERSION_LATEST + 1, 9, 1)), Err(Greeting::Refused { .. })));
        assert!(matches!(agree(&hello(0, 0, 1)), Err(Greeting::Refused { .. })));
        let stranger = Hello { magic: "http".into(), ..hello(1, 1, 1) };
        assert!(matches!(agree(&stranger), Err(Greeting::Refused { .. })));
    }

    #[tokio::test]
    async fn a_later_connection_waits_for_the_earlier_one_to_leave_and_a_late_one_is_refused() {
        let seats = Seats::default();
        let first = seats.take(&hello(1, 1, 1)).await.unwrap();
        let second_hello = hello(1, 1, 2);
        let mut second = std::pin::pin!(seats.take(&second_hello));
        assert!(futures::poll!(second.as_mut()).is_pending());
        assert!(first.replaced.is_cancelled());
        drop(first);
        let second = second.await.unwrap();
        assert!(seats.take(&hello(1, 1, 1)).await.is_none());
        drop(second);
        assert!(seats.taken.lock().is_empty());
    }
}
