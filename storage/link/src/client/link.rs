//! The task that keeps a client's connection: dials, greets, carries frames both ways, notices silence, dials again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustls::pki_types::ServerName;
use steward_types::limits::{
    SERVED_CONNECT_TIME_MAX, SERVED_HEARTBEAT_TIME, SERVED_RECONNECT_TIME_MAX, SERVED_RECONNECT_TIME_MIN,
    SERVED_SILENT_HEARTBEATS_MAX,
};
use steward_types::{Clock, Entropy, SystemEntropy};
use tokio::io::{AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{Connection, Link, ServedConfig, Shared};
use crate::LinkError;
use crate::deadline::within;
use crate::frame::{self, FrameReader};
use crate::wire::{Answer, Greeting, Hello, MAGIC, Request, VERSION_LATEST, VERSION_OLDEST};

/// Frames that one write takes.
const WRITE_FRAMES: usize = 256;
/// Bytes after which one write takes no more frames.
const WRITE_BYTES: usize = 256 << 10;

/// Makes connections, each under the next number.
#[derive(Debug)]
pub(crate) struct Dialer {
    config: ServedConfig,
    server_name: ServerName<'static>,
    clock: Arc<dyn Clock>,
    client: [u8; 16],
    tries: u64,
}

/// A connection that the server welcomed.
#[derive(Debug)]
pub(crate) struct Dialed {
    address: String,
    frames: FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    sink: WriteHalf<TlsStream<TcpStream>>,
}

impl Dialer {
    /// A dialer that has not dialed yet.
    pub(crate) fn new(config: ServedConfig, clock: Arc<dyn Clock>) -> Result<Self, LinkError> {
        if config.addresses.is_empty() {
            return Err(LinkError::Config("no address is given".into()));
        }
        let wrong = |_| LinkError::Config(format!("{:?} is no name that a certificate can bear", config.server_name));
        let server_name = ServerName::try_from(config.server_name.clone()).map_err(wrong)?;
        Ok(Self { server_name, config, clock, client: SystemEntropy.bytes_16(), tries: 0 })
    }

    /// Dials until a connection stands or a start's time has passed.
    pub(crate) async fn dial_first(&mut self) -> Result<Dialed, LinkError> {
        let until = self.clock.monotonic() + self.config.start_time;
        let mut failures = 0;
        loop {
            match self.dial().await {
                Err(error) if error.is_passing() && self.clock.monotonic() < until => {
                    if failures == 0 {
                        tracing::warn!(error = &error as &dyn std::error::Error, "waiting for the served store");
                    }
                    failures += 1;
                    self.clock.sleep(back_off(failures)).await;
                }
                settled => return settled,
            }
        }
    }

    /// One try, at the next address.
    async fn dial(&mut self) -> Result<Dialed, LinkError> {
        let turn = usize::try_from(self.tries).unwrap_or_default() % self.config.addresses.len();
        let address = self.config.addresses[turn].clone();
        self.tries += 1;
        let greeted = within(&*self.clock, SERVED_CONNECT_TIME_MAX, self.greet(&address)).await;
        greeted.unwrap_or_else(|| Err(silent(address, SERVED_CONNECT_TIME_MAX)))
    }

    async fn greet(&self, address: &str) -> Result<Dialed, LinkError> {
        let io = |source| LinkError::io(address, source);
        let stream = TcpStream::connect(address).await.map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        let connector = TlsConnector::from(self.config.tls.current());
        let stream = connector.connect(self.server_name.clone(), stream).await.map_err(io)?;
        let (source, mut sink) = tokio::io::split(stream);
        let (client, connection) = (self.client, self.tries);
        let hello = Hello { magic: MAGIC.into(), oldest: VERSION_OLDEST, latest: VERSION_LATEST, client, connection };
        let mut encoded = Vec::new();
        frame::append(&hello, &mut encoded).map_err(|error| LinkError::frame(address, error))?;
        sink.write_all(&encoded).await.map_err(io)?;
        sink.flush().await.map_err(io)?;
        let mut frames = FrameReader::new(source);
        match frames.expect().await.map_err(|error| LinkError::frame(address, error))? {
            Greeting::Welcome { version } if (VERSION_OLDEST..=VERSION_LATEST).contains(&version) => {
                Ok(Dialed { address: address.to_owned(), frames, sink })
            }
            Greeting::Welcome { version } => {
                let reason = format!("it speaks version {version} of the protocol, which this program does not");
                Err(LinkError::Refused { address: address.to_owned(), reason })
            }
            Greeting::Refused { reason } => Err(LinkError::Refused { address: address.to_owned(), reason }),
        }
    }
}

fn silent(address: String, silence: Duration) -> LinkError {
    LinkError::Silent { address, silence_ms: u64::try_from(silence.as_millis()).unwrap_or(u64::MAX) }
}

/// A random wait up to a bound that doubles with each failure, at least half of it.
fn back_off(failures: u32) -> Duration {
    let bound = SERVED_RECONNECT_TIME_MIN * 2u32.pow(failures.saturating_sub(1).min(16));
    let half_us = u64::try_from(bound.min(SERVED_RECONNECT_TIME_MAX).as_micros() / 2).unwrap_or(u64::MAX).max(1);
    Duration::from_micros(half_us + SystemEntropy.next_u64() % half_us)
}

/// What the writer of a connection takes its frames from.
pub(crate) type Frames = mpsc::UnboundedReceiver<Vec<u8>>;

impl Shared {
    /// Shows a new connection to transactions, and wakes who waited for a change while there was none.
    pub(crate) fn up(&self, dialed: &Dialed) -> (Arc<Connection>, Frames) {
        let (frames, queue) = mpsc::unbounded_channel();
        let connection = Arc::new(Connection::new(frames));
        let number = self.connections.fetch_add(1, Ordering::Relaxed) + 1;
        tracing::info!(address = dialed.address, number, "connected to the served store");
        self.change(Link::Up(Arc::clone(&connection)));
        let orphans = std::mem::take(&mut *self.orphans.lock());
        orphans.into_iter().for_each(|watch| watch.resolve());
        (connection, queue)
    }

    /// Changes how the link stands, unless it is closed.
    fn change(&self, to: Link) {
        self.link.send_if_modified(|link| {
            let open = !matches!(link, Link::Closed);
            if open {
                *link = to;
            }
            open
        });
    }
}

/// Keeps the link up until it is closed.
pub(crate) async fn keep(shared: Arc<Shared>, mut dialer: Dialer, first: Dialed, up: (Arc<Connection>, Frames)) {
    let (mut dialed, (mut connection, mut frames)) = (first, up);
    loop {
        let address = dialed.address.clone();
        let error = carry(&shared, &connection, dialed, frames).await;
        shared.change(Link::Down(error.chain().into()));
        let orphans = connection.lose();
        shared.orphans.lock().extend(orphans);
        if matches!(error, LinkError::Closed) {
            return;
        }
        tracing::warn!(address, error = error.chain(), "the connection to the served store is lost");
        let again = tokio::select! {
            again = dial_again(&shared, &mut dialer) => again,
            () = shared.stop.cancelled() => return,
        };
        dialed = again;
        (connection, frames) = shared.up(&dialed);
    }
}

async fn dial_again(shared: &Shared, dialer: &mut Dialer) -> Dialed {
    let mut failures = 0;
    loop {
        match dialer.dial().await {
            Ok(dialed) => return dialed,
            Err(error) => {
                failures += 1;
                shared.change(Link::Down(error.chain().into()));
                tracing::debug!(failures, error = error.chain(), "no connection to the served store");
                shared.clock.sleep(back_off(failures)).await;
            }
        }
    }
}

/// Carries frames until the connection ends; says why it did.
async fn carry(shared: &Shared, connection: &Connection, dialed: Dialed, frames: Frames) -> LinkError {
    let Dialed { address, frames: answers, sink } = dialed;
    let heard = AtomicBool::new(true);
    tokio::select! {
        biased;
        () = shared.stop.cancelled() => LinkError::Closed,
        error = read(&address, connection, answers, &heard) => error,
        error = write(&address, sink, frames) => error,
        () = beat(&*shared.clock, connection, &heard) => {
            silent(address.clone(), SERVED_HEARTBEAT_TIME * SERVED_SILENT_HEARTBEATS_MAX)
        }
    }
}

async fn read(
    address: &str,
    connection: &Connection,
    mut answers: FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    heard: &AtomicBool,
) -> LinkError {
    loop {
        match answers.expect::<Answer>().await {
            Ok(answer) => {
                heard.store(true, Ordering::Relaxed);
                connection.take(answer);
            }
            Err(error) => return LinkError::frame(address, error),
        }
    }
}

async fn write(address: &str, mut sink: WriteHalf<TlsStream<TcpStream>>, mut frames: Frames) -> LinkError {
    let (mut taken, mut bytes) = (Vec::new(), Vec::new());
    loop {
        if frames.recv_many(&mut taken, WRITE_FRAMES).await == 0 {
            return LinkError::Closed;
        }
        let mut written = Ok(());
        let mut rest = taken.drain(..).peekable();
        while written.is_ok() && rest.peek().is_some() {
            while let Some(frame) = rest.next_if(|frame| bytes.is_empty() || bytes.len() + frame.len() <= WRITE_BYTES) {
                bytes.extend_from_slice(&frame);
            }
            written = sink.write_all(&bytes).await;
            bytes.clear();
        }
        drop(rest);
        bytes.shrink_to(WRITE_BYTES);
        if let Err(source) = async { written.and(sink.flush().await) }.await {
            return LinkError::io(address, source);
        }
    }
}

/// Shows that this side lives, and returns once the other side does not. It counts beats, not time: while this
/// process itself stood still, the other side's silence says nothing.
async fn beat(clock: &dyn Clock, connection: &Connection, heard: &AtomicBool) {
    let mut silent = 0;
    while silent < SERVED_SILENT_HEARTBEATS_MAX {
        clock.sleep(SERVED_HEARTBEAT_TIME).await;
        connection.sweep(clock.monotonic());
        connection.tell(&Request::Alive);
        silent = if heard.swap(false, Ordering::Relaxed) { 0 } else { silent + 1 };
    }
}
