//! A TCP proxy between two nodes which can reset its connections, hold back what flows one way, and refuse new ones.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// What the proxy lets through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Traffic {
    /// Hold back what flows from the dialling to the accepting node.
    pub hold_there: bool,
    /// Hold back what flows from the accepting to the dialling node.
    pub hold_back: bool,
}

pub struct Proxy {
    pub address: SocketAddr,
    traffic: watch::Sender<Traffic>,
    shared: Arc<Shared>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Shared {
    reset: Mutex<CancellationToken>,
    live: AtomicUsize,
    resets: AtomicUsize,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (traffic, watched) = watch::channel(Traffic::default());
        let shared = Arc::new(Shared::default());
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let accepting = accept(listener, target, watched, shared.clone(), tasks.clone());
        let stopped = stop.clone();
        tasks.spawn(async move {
            tokio::select! { () = accepting => {}, () = stopped.cancelled() => {} }
        });
        Self { address, traffic, shared, _stop: stop.drop_guard() }
    }

    pub fn set(&self, traffic: Traffic) {
        self.traffic.send_replace(traffic);
    }

    /// Resets each connection, with a TCP reset to both ends.
    pub fn reset(&self) {
        std::mem::take(&mut *self.shared.reset.lock()).cancel();
    }

    /// Connections that were reset while they stood.
    pub fn resets(&self) -> usize {
        self.shared.resets.load(Ordering::SeqCst)
    }

    /// Connections that stand now.
    pub fn live(&self) -> usize {
        self.shared.live.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    traffic: watch::Receiver<Traffic>,
    shared: Arc<Shared>,
    tasks: TaskTracker,
) {
    loop {
        let (near, _) = listener.accept().await.unwrap();
        let (traffic, shared) = (traffic.clone(), shared.clone());
        tasks.spawn(async move {
            if let Ok(far) = TcpStream::connect(target).await {
                forward(near, far, traffic, &shared).await;
            }
        });
    }
}

async fn forward(near: TcpStream, far: TcpStream, traffic: watch::Receiver<Traffic>, shared: &Shared) {
    for stream in [&near, &far] {
        stream.set_nodelay(true).unwrap();
        stream.set_zero_linger().unwrap();
    }
    let reset = shared.reset.lock().clone();
    let ((near_read, near_write), (far_read, far_write)) = (near.into_split(), far.into_split());
    shared.live.fetch_add(1, Ordering::SeqCst);
    tokio::select! {
        () = copy(near_read, far_write, traffic.clone(), |traffic| traffic.hold_there) => {}
        () = copy(far_read, near_write, traffic, |traffic| traffic.hold_back) => {}
        () = reset.cancelled() => { shared.resets.fetch_add(1, Ordering::SeqCst); }
    }
    shared.live.fetch_sub(1, Ordering::SeqCst);
}

async fn copy(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut traffic: watch::Receiver<Traffic>,
    is_held: fn(&Traffic) -> bool,
) {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let Ok(read @ 1..) = from.read(&mut buffer).await else { return };
        if traffic.wait_for(|traffic| !is_held(traffic)).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
