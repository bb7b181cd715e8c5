//! Certificates for the tests: an authority, and what it signs for a server and for clients.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The name that every server's certificate bears.
pub const SERVER_NAME: &str = "store.test";

/// Who signs the certificates of one cluster.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A certificate and its key, both in DER; the key in PKCS #8.
pub type Identity = (CertificateDer<'static>, Vec<u8>);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn roots(certificate: &CertificateDer<'static>) -> Arc<RootCertStore> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).unwrap();
    Arc::new(roots)
}

fn key(pkcs8: Vec<u8>) -> PrivateKeyDer<'static> {
    PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8))
}

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    pub fn identity(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap().der().clone(), key.serialize_der())
    }

    pub fn server(&self) -> Arc<ServerConfig> {
        server(&self.certificate, self.identity(SERVER_NAME))
    }

    /// A client with a certificate of this authority that trusts servers of `trusted`.
    pub fn client_of(&self, trusted: &Self) -> Arc<ClientConfig> {
        let (certificate, pkcs8) = self.identity("client.test");
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots(&trusted.certificate));
        Arc::new(config.with_client_auth_cert(vec![certificate], key(pkcs8)).unwrap())
    }

    pub fn client(&self) -> Arc<ClientConfig> {
        self.client_of(self)
    }

    pub fn client_without_certificate(&self) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_root_certificates(roots(&self.certificate)).with_no_client_auth())
    }

    /// A server that asks its clients for no certificate: what a caller must not configure.
    pub fn careless_server(&self) -> Arc<ServerConfig> {
        let (certificate, pkcs8) = self.identity(SERVER_NAME);
        let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
        Arc::new(config.with_no_client_auth().with_single_cert(vec![certificate], key(pkcs8)).unwrap())
    }
}

/// A server that trusts the clients of an authority.
pub fn server(authority: &CertificateDer<'static>, (certificate, pkcs8): Identity) -> Arc<ServerConfig> {
    let clients = WebPkiClientVerifier::builder_with_provider(roots(authority), provider()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let config = config.with_client_cert_verifier(clients);
    Arc::new(config.with_single_cert(vec![certificate], key(pkcs8)).unwrap())
}
