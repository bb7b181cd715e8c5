//! The server: one port, connections as owned tasks, and a graceful end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use steward_actors::service::Steward;
use steward_types::Clock;
use steward_types::limits::{SHUTDOWN_TIME_MAX, TLS_HANDSHAKE_TIME_MAX};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceExt;

use crate::auth::Gate;
use crate::config::{ApiConfig, Readiness};
use crate::tls::Certificates;
use crate::{grpc, http as web, metric};

/// Why a server could not be started, or ended.
#[derive(Debug, Error)]
pub enum ServeError {
    /// Certificate or key cannot be used.
    #[error("{}: {why}", path.display())]
    Tls {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The descriptors of the services cannot be read, which is a bug.
    #[error("the services' descriptors cannot be read: {0}")]
    Descriptors(String),
}

/// Where a request comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub SocketAddr);

/// Serves a node on a listener until `shutdown` resolves; then takes no new connection, ends streams with a status that
/// tells clients to come back, and waits up to [`SHUTDOWN_TIME_MAX`] for requests in hand.
///
/// Dropping the future ends every connection at once.
///
/// # Errors
/// [`ServeError`], before the first connection is accepted.
pub async fn serve(
    listener: TcpListener,
    steward: Steward,
    config: ApiConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), ServeError> {
    metric::install();
    let certificates = config.tls.clone().map(Certificates::read).transpose()?;
    let acceptor = certificates.as_ref().map(Certificates::newest);
    let clock = std::sync::Arc::clone(steward.clock());
    let mut renewing = std::pin::pin!(renew(certificates, config.certificate_read_time, clock.as_ref()));
    let ending = CancellationToken::new();
    let gate = Gate::new(steward.clone(), config.clone());
    let (services, health) = grpc::router(&steward, &gate, &config, &ending)?;
    let mut telling = std::pin::pin!(tell_health(health, config.readiness.clone()));
    let router = web::router(&steward, &gate, &config).merge(services);
    let connections = Connections { router, acceptor, steward: steward.clone(), graceful: GracefulShutdown::new() };
    let mut tasks = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tasks.spawn(connections.connection(stream, peer));
                }
                Err(error) => {
                    // Too many open files, or a client that left before it was accepted: neither ends the server.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::task::yield_now().await;
                }
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            never = &mut telling => match never {},
            never = &mut renewing => match never {},
            () = &mut shutdown => break,
        }
    }
    ending.cancel();
    tokio::select! {
        () = connections.graceful.shutdown() => {}
        () = steward.clock().sleep(SHUTDOWN_TIME_MAX) => tracing::warn!("connections were cut off at the end"),
    }
    tasks.shutdown().await;
    Ok(())
}

/// Keeps the health service to what the node says of itself.
async fn tell_health(health: HealthReporter, mut readiness: watch::Receiver<Readiness>) -> Infallible {
    loop {
        let now = *readiness.borrow_and_update();
        let status = if now == Readiness::Ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        health.set_service_status("", status).await;
        if readiness.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Keeps the certificate fresh, where there is one.
async fn renew(certificates: Option<Certificates>, every: Duration, clock: &dyn Clock) -> Infallible {
    match certificates {
        Some(certificates) => certificates.renew(every, clock).await,
        None => std::future::pending().await,
    }
}

struct Connections {
    router: Router,
    acceptor: Option<watch::Receiver<TlsAcceptor>>,
    steward: Steward,
    graceful: GracefulShutdown,
}

impl Connections {
    fn connection(&self, stream: TcpStream, peer: SocketAddr) -> impl Future<Output = ()> + Send + 'static {
        let (router, acceptor, watcher) = (self.router.clone(), self.acceptor.as_ref(), self.graceful.watcher());
        let acceptor = acceptor.map(|newest| newest.borrow().clone());
        let clock = self.steward.clock().clone();
        async move {
            // Answers are small and a token must not wait for the next one.
            drop(stream.set_nodelay(true));
            let Some(acceptor) = acceptor else { return talk(stream, peer, router, watcher).await };
            tokio::select! {
                accepted = acceptor.accept(stream) => match accepted {
                    Ok(stream) => talk(stream, peer, router, watcher).await,
                    Err(error) => tracing::debug!(%peer, %error, "a TLS handshake failed"),
                },
                () = clock.sleep(TLS_HANDSHAKE_TIME_MAX) => tracing::debug!(%peer, "a TLS handshake took too long"),
            }
        }
    }
}

async fn talk<S>(stream: S, peer: SocketAddr, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let router = router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let builder = auto::Builder::new(TokioExecutor::new());
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%peer, %error, "a connection ended early");
    }
}
