//! What a node shows to others and whom it trusts: its certificate, its key and the cluster's authorities, ready as TLS
//! settings. Each new connection takes the identity that is current then.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use steward_types::Timestamp;
use thiserror::Error;

use super::authority::NODE_URI;
use super::{NodeId, validity};

/// The authorities that a node trusts, one or more certificates in PEM.
pub const CA_FILE: &str = "ca.pem";
/// The node's certificate in PEM.
pub const NODE_FILE: &str = "node.pem";
/// The node's key in PEM.
pub const KEY_FILE: &str = "node.key";

const PROTOCOL_NAME: &[u8] = b"steward-link";

/// Why a node's identity cannot be used, with the file and what to do.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {file}; make it with `steward cluster issue` and let this user read it")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{file} holds no {what} in PEM; make it again with `steward cluster issue`")]
    Content {
        /// The file.
        file: String,
        /// `certificate` or `private key`.
        what: &'static str,
    },
    /// The certificate names no node, or is not meant for links.
    #[error("{file} names no node ({NODE_URI}NAME); make it again with `steward cluster issue`")]
    NoNode {
        /// The file.
        file: String,
    },
    /// Certificate, key and authorities do not fit each other.
    #[error("the certificates in {folder} do not fit each other; make them again with `steward cluster issue`")]
    Mismatch {
        /// The folder.
        folder: String,
        /// What TLS says.
        #[source]
        source: rustls::Error,
    },
}

/// A node's certificate and key and the authorities that it trusts.
#[derive(Clone)]
pub struct LinkIdentity {
    node: NodeId,
    ends: Option<Timestamp>,
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl LinkIdentity {
    /// Reads `ca.pem`, `node.pem` and `node.key` from the folder.
    ///
    /// # Errors
    /// Names the file and what to do about it.
    pub fn load(folder: &Path) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let file = folder.join(name);
            std::fs::read_to_string(&file)
                .map_err(|source| IdentityError::Read { file: file.display().to_string(), source })
        };
        Self::new(&folder.display().to_string(), &read(CA_FILE)?, &read(NODE_FILE)?, &read(KEY_FILE)?)
    }

    /// The identity of the given PEM texts.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn from_pem(authorities: &str, certificate: &str, key: &str) -> Result<Self, IdentityError> {
        Self::new("memory", authorities, certificate, key)
    }

    fn new(folder: &str, authorities: &str, certificate: &str, key: &str) -> Result<Self, IdentityError> {
        let authorities = certificates(folder, CA_FILE, authorities)?;
        let chain = certificates(folder, NODE_FILE, certificate)?;
        let node = node_of(&chain[0]).ok_or_else(|| IdentityError::NoNode { file: format!("{folder}/{NODE_FILE}") })?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())
            .map_err(|_| IdentityError::Content { file: format!("{folder}/{KEY_FILE}"), what: "private key" })?;
        let mismatch = |source| IdentityError::Mismatch { folder: folder.to_owned(), source };
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(mismatch)?;
        }
        let roots = Arc::new(roots);
        Ok(Self {
            node,
            ends: validity::ends(&chain[0]),
            server: Arc::new(server(roots.clone(), chain.clone(), key.clone_key()).map_err(mismatch)?),
            client: Arc::new(client(roots, chain, key).map_err(mismatch)?),
        })
    }

    /// The node that the certificate names.
    pub fn node(&self) -> &NodeId {
        &self.node
    }

    /// When the certificate ends; none when that cannot be read.
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// TLS settings for accepting: the other end must show a certificate of a trusted authority.
    pub fn server_config(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    /// TLS settings for dialling: both ends show a certificate.
    pub fn client_config(&self) -> Arc<ClientConfig> {
        self.client.clone()
    }
}

impl fmt::Debug for LinkIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LinkIdentity").field("node", &self.node).finish_non_exhaustive()
    }
}

/// The node that a verified certificate names, if it names exactly one.
pub fn node_of(certificate: &CertificateDer<'_>) -> Option<NodeId> {
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let mut names = certificate.valid_uri_names().filter_map(|name| name.strip_prefix(NODE_URI));
    match (names.next(), names.next()) {
        (Some(name), None) => name.parse().ok(),
        _ => None,
    }
}

fn certificates(folder: &str, name: &str, text: &str) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    match CertificateDer::pem_slice_iter(text.as_bytes()).collect::<Result<Vec<_>, _>>() {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(IdentityError::Content { file: format!("{folder}/{name}"), what: "certificate" }),
    }
}

fn server(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ServerConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![PROTOCOL_NAME.to_vec()];
    // A resumed TLS session would carry a certificate past its rotation: each connection shows its own.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![PROTOCOL_NAME.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}
