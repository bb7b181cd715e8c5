//! Dialling a peer: TCP, mutual TLS, and the greeting that settles version, channel and where to resume.

use std::net::SocketAddr;

use rustls::pki_types::{CertificateDer, ServerName};
use steward_types::NodeId;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use super::Lane;
use super::authority::SERVER_NAME;
use super::config::Versions;
use super::frame::Tag;
use super::handshake::{self, Accepted, HandshakeError, Hello, Welcome};
use super::identity::{LinkIdentity, node_of};
use super::sessions::Inbox;
use super::shared::Shared;
use super::transport::Transport;

/// Why a peer was not reached.
#[derive(Debug, Clone, Error)]
pub(super) enum DialError {
    /// It will not get better by dialling again at once.
    #[error("{0}")]
    Refused(String),
    /// The network may have failed on the way.
    #[error("{0}")]
    Broken(String),
    /// The releases are too far apart.
    #[error("it speaks versions {0} of the link protocol")]
    Version(Versions),
}

impl From<HandshakeError> for DialError {
    fn from(error: HandshakeError) -> Self {
        match &error {
            HandshakeError::Io(source) if !is_alert(source) => Self::Broken(format!("{error}: {source}")),
            HandshakeError::Io(source) => Self::Refused(format!("TLS: {source}")),
            _ => Self::Refused(error.to_string()),
        }
    }
}

/// A connection that the peer accepted and that ractor_cluster does not have yet.
pub(super) struct Greeted {
    pub transport: Transport,
    pub cookie: String,
    pub inbox: Inbox,
    pub accepted: Accepted,
}

/// The channel that a new connection should carry on.
pub(super) struct Resume {
    pub channel: Option<Tag>,
    pub received: u64,
}

/// Dials the peer and greets it. The caller bounds the time.
pub(super) async fn dial(
    shared: &Shared,
    node: NodeId,
    lane: Lane,
    address: SocketAddr,
    resume: Resume,
) -> Result<Greeted, DialError> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        let text = format!("cannot connect to {address}: {error}");
        if error.kind() == std::io::ErrorKind::ConnectionRefused {
            DialError::Refused(text)
        } else {
            DialError::Broken(text)
        }
    })?;
    // Batches are whole already: waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    let config = shared.config.identity.borrow().client_config();
    let name = ServerName::try_from(SERVER_NAME).expect("the name is a constant and valid");
    let mut stream = TlsConnector::from(config).connect(name, stream).await.map_err(tls_error)?;
    let session = stream.get_ref().1;
    match peer_of(session.peer_certificates()) {
        Some(found) if found == node => {}
        Some(found) => return Err(DialError::Refused(format!("node {found} listens on {address}"))),
        None => return Err(DialError::Refused(format!("the certificate at {address} names no node"))),
    }
    let cookie = cookie(|material| session.export_keying_material(material, COOKIE_LABEL, None))
        .ok_or_else(|| DialError::Broken("TLS gave no keying material".to_owned()))?;
    let close = CancellationToken::new();
    let inbox = shared.routes(lane).open(shared.entropy.bytes_16(), close.clone());
    let hello = Hello {
        versions: shared.config.versions,
        to: node,
        lane,
        resume: resume.channel,
        received: resume.received,
        tag: inbox.tag(),
        router: shared.router_number(lane),
    };
    handshake::write(&mut stream, &hello).await?;
    let accepted = match handshake::read(&mut stream).await? {
        Welcome::Accepted(accepted) => accepted,
        Welcome::Version(theirs) => return Err(DialError::Version(theirs)),
        Welcome::WrongNode(found) => return Err(DialError::Refused(format!("node {found} listens on {address}"))),
        Welcome::Full => return Err(DialError::Refused("it has too many peers".to_owned())),
    };
    let label = hex::encode(inbox.tag());
    let transport = Transport { stream: stream.into(), label, close };
    Ok(Greeted { transport, cookie, inbox, accepted })
}

/// Why it is not known who listens on an address.
#[derive(Debug, Clone, Error)]
pub enum IdentifyError {
    /// Nobody answers, or not as a node does.
    #[error("{0}")]
    Broken(String),
    /// Its certificate is not of an authority that this node trusts.
    #[error("{0}")]
    Untrusted(String),
}

/// Who listens on the address, by its certificate. The caller bounds the time.
///
/// # Errors
/// [`IdentifyError`]; dropping the future is safe.
pub async fn identify(address: SocketAddr, identity: &LinkIdentity) -> Result<NodeId, IdentifyError> {
    let broken = |error: std::io::Error| IdentifyError::Broken(format!("cannot connect to {address}: {error}"));
    let stream = TcpStream::connect(address).await.map_err(broken)?;
    let name = ServerName::try_from(SERVER_NAME).expect("the name is a constant and valid");
    let connected = TlsConnector::from(identity.client_config()).connect(name, stream).await;
    let stream = connected.map_err(|error| {
        let is_untrusted = error
            .get_ref()
            .is_some_and(|inner| matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))));
        let text = format!("TLS: {error}");
        if is_untrusted { IdentifyError::Untrusted(text) } else { IdentifyError::Broken(text) }
    })?;
    let nameless = || IdentifyError::Untrusted(format!("the certificate at {address} names no node"));
    peer_of(stream.get_ref().1.peer_certificates()).ok_or_else(nameless)
}

/// Under which label both ends draw the session's cookie from the TLS connection.
pub(super) const COOKIE_LABEL: &[u8] = b"EXPORTER-steward-link-cookie";

/// A secret that only the two ends of one TLS connection know.
pub(super) fn cookie(export: impl FnOnce([u8; 32]) -> Result<[u8; 32], rustls::Error>) -> Option<String> {
    export([0; 32]).ok().map(hex::encode)
}

/// The node that the peer's verified certificate names.
pub(super) fn peer_of(certificates: Option<&[CertificateDer<'_>]>) -> Option<NodeId> {
    node_of(certificates?.first()?)
}

fn tls_error(error: std::io::Error) -> DialError {
    let text = format!("TLS: {error}");
    if is_alert(&error) { DialError::Refused(text) } else { DialError::Broken(text) }
}

/// Whether TLS itself said no, rather than the network.
fn is_alert(error: &std::io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>())
}
