//! A TCP proxy that breaks what goes through it on demand: it holds back one direction or both while the connections
//! stay open, resets connections, or cuts them after so many bytes. It knows nothing of what the bytes mean.
//!
//! What is held back is passed on when the hold ends, as TCP would send it again after a partition, unless the
//! connection ended before: late messages are part of what a partition does.

mod carry;
mod rules;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

pub use rules::Hold;

use rules::Rules;

/// No cut is asked for.
pub(crate) const NEVER: i64 = i64::MAX;

/// Says which caller dialled from an address; `None` when that is not known.
pub type Recognise = Arc<dyn Fn(SocketAddr) -> Option<usize> + Send + Sync>;

/// A proxy in front of one address. Dropping it ends its connections.
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    _accepting: JoinSet<()>,
}

/// What the proxy and its connections share.
pub(crate) struct Shared {
    target: Mutex<SocketAddr>,
    recognise: Recognise,
    pub(crate) rules: watch::Sender<Rules>,
    /// Cancelled to break every connection that stands.
    reset: Mutex<CancellationToken>,
    pub(crate) bytes_left: AtomicI64,
    pub(crate) cuts: AtomicU64,
    pub(crate) withheld: AtomicU64,
    live: AtomicUsize,
    resets: AtomicUsize,
}

impl Proxy {
    /// Listens on a free port of this machine and forwards to `target`.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        Self::recognising(target, Arc::new(|_| None)).await
    }

    /// As [`to`](Self::to), and asks `recognise` about each caller, so that one can be cut off from the target while
    /// others are not. It is called on the runtime's threads and must not take long.
    ///
    /// # Errors
    /// When no port can be listened on.
    pub async fn recognising(target: SocketAddr, recognise: Recognise) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            recognise,
            rules: watch::Sender::default(),
            reset: Mutex::default(),
            bytes_left: AtomicI64::new(NEVER),
            cuts: AtomicU64::new(0),
            withheld: AtomicU64::new(0),
            live: AtomicUsize::new(0),
            resets: AtomicUsize::new(0),
        });
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, _accepting: accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends later connections elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        *self.shared.target.lock() = target;
    }

    /// Holds back what flows on every connection, or passes it on again, whoever dialled.
    pub fn hold(&self, hold: Hold) {
        self.shared.rules.send_modify(|rules| rules.everyone = hold);
    }

    /// Holds back what flows on the connections of one caller, or passes it on again.
    pub fn hold_caller(&self, caller: usize, hold: Hold) {
        self.shared.rules.send_modify(|rules| rules.set(caller, hold));
    }

    /// Resets each connection that stands, with a TCP reset to both ends.
    pub fn reset(&self) {
        std::mem::take(&mut *self.shared.reset.lock()).cancel();
    }

    /// Lets so many bytes more through, in both directions together, then breaks all connections, once.
    pub fn cut_after(&self, bytes: u32) {
        self.shared.bytes_left.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// Connections that stand now.
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }

    /// Connections that were broken while they stood, by [`reset`](Self::reset) or [`cut_after`](Self::cut_after).
    pub fn resets(&self) -> usize {
        self.shared.resets.load(Ordering::SeqCst)
    }

    /// How often [`cut_after`](Self::cut_after) came to its cut.
    pub fn cuts(&self) -> u64 {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Bytes that were held back so far.
    pub fn withheld(&self) -> u64 {
        self.shared.withheld.load(Ordering::SeqCst)
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let target = *self.shared.target.lock();
        f.debug_struct("Proxy").field("address", &self.address).field("target", &target).finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn break_all(&self) {
        std::mem::take(&mut *self.reset.lock()).cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((near, caller)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let target = *shared.target.lock();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            if let Ok(far) = TcpStream::connect(target).await {
                connection(near, caller, far, &shared).await;
            }
        });
    }
}

async fn connection(mut near: TcpStream, caller: SocketAddr, mut far: TcpStream, shared: &Shared) {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let reset = shared.reset.lock().clone();
    let caller = (shared.recognise)(caller);
    shared.live.fetch_add(1, Ordering::SeqCst);
    let is_reset = {
        // Borrowed halves, because owned ones say goodbye when they are dropped, and a reset does not.
        let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.split(), far.split());
        tokio::select! {
            () = carry::carry(&mut from_near, &mut to_far, shared, |rules| rules.of(caller).there) => false,
            () = carry::carry(&mut from_far, &mut to_near, shared, |rules| rules.of(caller).back) => false,
            () = reset.cancelled() => true,
        }
    };
    shared.live.fetch_sub(1, Ordering::SeqCst);
    if is_reset {
        shared.resets.fetch_add(1, Ordering::SeqCst);
        let _ = (near.set_zero_linger(), far.set_zero_linger());
    }
}

#[cfg(test)]
mod tests;
