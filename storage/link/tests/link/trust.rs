//! Who may connect: only a client with a certificate of the server's authority, to a server of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use steward_chaos_proxy::Proxy;
use steward_storage::MemoryStore;
use steward_storage_link::{ClientTls, LinkError, ServedConfig, ServedStore, ServerTls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::certificates::{Authority, SERVER_NAME};
use crate::stage::{Stage, clock, get, put, until};

async fn connect(stage: &Stage, tls: impl Into<ClientTls>) -> Result<ServedStore, LinkError> {
    ServedStore::connect(ServedConfig::new(stage.address.to_string(), SERVER_NAME, tls), clock()).await
}

async fn assert_untrusted(stage: &Stage, tls: impl Into<ClientTls>) {
    let refused_before = stage.server.state().refused;
    let outcome = connect(stage, tls).await;
    assert!(matches!(outcome, Err(LinkError::Untrusted { .. })), "{outcome:?}");
    until("the server counts it", || stage.server.state().refused > refused_before).await;
}

#[tokio::test]
async fn a_client_without_a_fitting_certificate_is_refused() {
    let (stage, strangers) = (Stage::new().await, Authority::new());
    let good = stage.client().await;
    put(&good, b"a", b"1").await.unwrap();
    assert_untrusted(&stage, stage.authority.client_without_certificate()).await;
    assert_untrusted(&stage, strangers.client_of(&stage.authority)).await;
    // This one would be let in, but does not trust the server.
    assert_untrusted(&stage, stage.authority.client_of(&strangers)).await;
    let misnamed = ServedConfig { server_name: "other.test".into(), ..stage.config(stage.address) };
    let outcome = ServedStore::connect(misnamed, clock()).await;
    assert!(matches!(outcome, Err(LinkError::Untrusted { .. })), "{outcome:?}");
    assert_eq!(get(&good, b"a").await.unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(good.state().connections, 1);
}

#[tokio::test]
async fn a_server_that_was_told_to_ask_for_no_certificate_still_does() {
    let authority = Authority::new();
    let tls = authority.careless_server();
    let stage = Stage::with_tls(Arc::new(MemoryStore::new()), authority, tls).await;
    let outcome = connect(&stage, stage.authority.client_without_certificate()).await;
    assert!(matches!(outcome, Err(LinkError::Refused { .. })), "{outcome:?}");
}

#[tokio::test]
async fn plain_tcp_gets_nothing() {
    let stage = Stage::new().await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(b"\0\0\0\x05hello, are you a store?\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    // At most an alert of TLS comes back, and the connection ends.
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.len() < 16, "{}", answer.escape_ascii());
    until("the server counts it", || stage.server.state().refused == 1).await;
}

#[tokio::test]
async fn nobody_at_the_address_is_said_after_the_start_time() {
    let stage = Stage::new().await;
    let nobody = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let config = ServedConfig { start_time: std::time::Duration::from_millis(50), ..stage.config(nobody) };
    let outcome = ServedStore::connect(config, clock()).await;
    assert!(matches!(outcome, Err(LinkError::Unreachable { .. })), "{outcome:?}");
}

#[tokio::test]
async fn rotated_certificates_are_used_with_the_next_connection() {
    let (old, new) = (Authority::new(), Authority::new());
    let server_config = Arc::new(Mutex::new(old.server()));
    let client_config = Arc::new(Mutex::new(old.client()));
    let asked = Arc::new(AtomicU64::new(0));
    let source = Arc::clone(&server_config);
    let server_tls = ServerTls::from_source(move || Arc::clone(&source.lock()));
    let stage = Stage::with_tls(Arc::new(MemoryStore::new()), old, server_tls).await;
    let proxy = Proxy::to(stage.address).await.unwrap();
    let (source, counted) = (Arc::clone(&client_config), Arc::clone(&asked));
    let client_tls = ClientTls::from_source(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&source.lock())
    });
    let config = ServedConfig::new(proxy.address().to_string(), SERVER_NAME, client_tls);
    let client = ServedStore::connect(config, clock()).await.unwrap();
    put(&client, b"a", b"1").await.unwrap();
    *server_config.lock() = new.server();
    *client_config.lock() = new.client();
    // The connection in use goes on.
    put(&client, b"a", b"2").await.unwrap();
    assert_eq!(client.state().connections, 1);
    proxy.cut_after(0);
    until("a connection under the new certificates", || client.state().connections == 2).await;
    assert_eq!(get(&client, b"a").await.unwrap().as_deref(), Some(&b"2"[..]));
    assert!(asked.load(Ordering::Relaxed) >= 2 && proxy.cuts() == 1);
}
