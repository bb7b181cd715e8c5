//! A TCP proxy that breaks connections on demand: after so many bytes, in the middle of whatever they were, or by
//! letting nothing through in one or both directions while the connections stay open.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

const CHUNK: usize = 8 << 10;
/// No cut is asked for.
const NEVER: i64 = i64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// Which directions let nothing through.
#[derive(Debug, Clone, Copy, Default)]
struct Blocked {
    to_server: bool,
    to_client: bool,
}

pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<State>,
    _tasks: JoinSet<()>,
}

struct State {
    target: Mutex<SocketAddr>,
    bytes_left: AtomicI64,
    cuts: AtomicU64,
    withheld: AtomicU64,
    blocked: watch::Sender<Blocked>,
    /// Counts cuts; whoever sees it change ends.
    broken: watch::Sender<u64>,
}

impl Proxy {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            target: Mutex::new(target),
            bytes_left: AtomicI64::new(NEVER),
            cuts: AtomicU64::new(0),
            withheld: AtomicU64::new(0),
            blocked: watch::Sender::default(),
            broken: watch::Sender::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, _tasks: tasks }
    }

    /// Sends later connections elsewhere.
    pub fn retarget(&self, target: SocketAddr) {
        *self.state.target.lock() = target;
    }

    /// Lets so many bytes more through, in both directions together, then breaks all connections, once.
    pub fn cut_after(&self, bytes: u32) {
        self.state.bytes_left.store(i64::from(bytes), Ordering::SeqCst);
    }

    /// How often connections were broken.
    pub fn cuts(&self) -> u64 {
        self.state.cuts.load(Ordering::SeqCst)
    }

    /// Lets nothing through in these directions, without telling anyone.
    pub fn block(&self, directions: &[Direction]) {
        let (to_server, to_client) =
            (directions.contains(&Direction::ToServer), directions.contains(&Direction::ToClient));
        self.state.blocked.send_replace(Blocked { to_server, to_client });
    }

    /// Pieces that were withheld while a direction was blocked.
    pub fn withheld(&self) -> u64 {
        self.state.withheld.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let target = *state.target.lock();
        let state = Arc::clone(&state);
        connections.spawn(async move {
            let Ok(server) = TcpStream::connect(target).await else { return };
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let mut broken = state.broken.subscribe();
            let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
            tokio::select! {
                _ = broken.changed() => {}
                () = carry(from_client, to_server, Direction::ToServer, &state) => {}
                () = carry(from_server, to_client, Direction::ToClient, &state) => {}
            }
        });
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, direction: Direction, state: &State) {
    let (mut chunk, mut blocked) = (vec![0; CHUNK], state.blocked.subscribe());
    loop {
        let read = from.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        let is_blocked = |blocked: &Blocked| match direction {
            Direction::ToServer => blocked.to_server,
            Direction::ToClient => blocked.to_client,
        };
        if is_blocked(&blocked.borrow()) {
            state.withheld.fetch_add(1, Ordering::SeqCst);
        }
        if blocked.wait_for(|blocked| !is_blocked(blocked)).await.is_err() {
            return;
        }
        let passed = state.pass(read);
        if to.write_all(&chunk[..passed]).await.is_err() || passed < read {
            return;
        }
    }
}

impl State {
    /// How many of so many bytes may pass. The call that uses the last of them up breaks the connections.
    fn pass(&self, bytes: usize) -> usize {
        let bytes_i64 = i64::try_from(bytes).unwrap();
        let spend = |left: i64| (left != NEVER).then(|| if left < bytes_i64 { NEVER } else { left - bytes_i64 });
        match self.bytes_left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, spend) {
            Ok(left) if left < bytes_i64 => {
                self.cuts.fetch_add(1, Ordering::SeqCst);
                // The piece that fits goes out first: whoever carries it ends by itself.
                self.broken.send_modify(|cuts| *cuts += 1);
                usize::try_from(left).unwrap()
            }
            Ok(_) | Err(_) => bytes,
        }
    }
}
