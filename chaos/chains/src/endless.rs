//! An endpoint whose answers have no end, and what a driver makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use steward_adapters::breaker::BreakerState;
use steward_adapters::chain::{Chain, ChainError};
use steward_adapters::pool::{Pool, PoolPolicy};
use steward_types::SystemClock;
use steward_types::limits::{BREAKER_FAILURES_MAX, CHAIN_ANSWER_BYTES_MAX};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use url::Url;

/// What is sent at a time, as a piece of a chunked body: blanks, which JSON allows before an answer.
const PIECE_BYTES: usize = 64 << 10;
/// What may lie in the buffers of a connection, sent and read by nobody.
const BUFFERED_BYTES_MAX: u64 = 24 << 20;

/// A server that answers every request with blanks, for ever.
struct Endless {
    url: Url,
    sent: Arc<AtomicU64>,
    _server: JoinSet<()>,
}

impl Endless {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let address = listener.local_addr().expect("it listens");
        let url = Url::parse(&format!("http://{address}")).expect("an address makes a URL");
        let (sent, mut server) = (Arc::<AtomicU64>::default(), JoinSet::new());
        server.spawn(serve(listener, Arc::clone(&sent)));
        Self { url, sent, _server: server }
    }
}

/// Asks an endpoint without end through a driver: the driver gives up, says whose fault it is, and stays within its bound,
/// and the endpoint's breaker opens.
///
/// # Panics
/// When any of that is not so.
pub async fn check_endless(driver: impl Fn(&Url) -> Arc<dyn Chain>) {
    let endless = Endless::start().await;
    let chain = driver(&endless.url);
    let error = chain.head().await.expect_err("an answer without end is none");
    assert!(matches!(error, ChainError::AnswerTooLong { .. }) && error.is_endpoint_failure(), "{}", error.in_full());
    let bound = CHAIN_ANSWER_BYTES_MAX as u64;
    let sent = endless.sent.load(Ordering::SeqCst);
    assert!((bound..=bound + BUFFERED_BYTES_MAX).contains(&sent), "{sent} bytes were taken");
    let endpoints = vec![("endless".to_owned(), chain)];
    let pool = Pool::new(endpoints, PoolPolicy::default(), Arc::new(SystemClock::new())).expect("one endpoint will do");
    for _ in 0..BREAKER_FAILURES_MAX {
        pool.head().await.expect_err("an answer without end is none");
    }
    let status = pool.status().swap_remove(0);
    let is_open = status.breakers.iter().any(|class| matches!(class.state, BreakerState::Open { .. }));
    assert!(is_open, "{:?}", status.breakers);
}

async fn serve(listener: TcpListener, sent: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(answer(stream, Arc::clone(&sent)));
    }
}

/// Ends when the other side does.
async fn answer(mut stream: TcpStream, sent: Arc<AtomicU64>) {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    let piece = [format!("{PIECE_BYTES:x}\r\n").into_bytes(), vec![b' '; PIECE_BYTES], b"\r\n".to_vec()].concat();
    let mut next = stream.write_all(head.as_bytes()).await;
    while next.is_ok() {
        next = stream.write_all(&piece).await;
        sent.fetch_add(PIECE_BYTES as u64, Ordering::SeqCst);
    }
}
