//! TLS with rustls. The certificate is read again from time to time: each new connection gets the newest, and those
//! that are open live on.

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use steward_types::Clock;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;
use crate::server::ServeError;

/// The certificate and key of two files, read again when they were replaced.
pub(crate) struct Certificates {
    files: TlsFiles,
    read: Pair,
    newest: watch::Sender<TlsAcceptor>,
    /// What was wrong at the last look, so that it is said once.
    wrong: String,
}

/// What the files hold.
#[derive(PartialEq, Eq)]
struct Pair {
    certificates: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Certificates {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// [`ServeError::Tls`] with the file that cannot be used.
    pub(crate) fn read(files: TlsFiles) -> Result<Self, ServeError> {
        let read = Pair::read(&files)?;
        let newest = watch::Sender::new(read.acceptor(&files)?);
        Ok(Self { files, read, newest, wrong: String::new() })
    }

    /// What a connection is accepted with: the newest at that moment.
    pub(crate) fn newest(&self) -> watch::Receiver<TlsAcceptor> {
        self.newest.subscribe()
    }

    /// Looks again and again.
    pub(crate) async fn renew(mut self, every: Duration, clock: &dyn Clock) -> Infallible {
        loop {
            clock.sleep(every).await;
            self.look();
        }
    }

    /// Takes up what the files hold now; what is in use stays when that cannot be used.
    fn look(&mut self) {
        let found = Pair::read(&self.files).and_then(|pair| Ok((pair.acceptor(&self.files)?, pair)));
        match found {
            Ok((_, pair)) if pair == self.read => self.wrong.clear(),
            Ok((acceptor, pair)) => {
                self.newest.send_replace(acceptor);
                self.read = pair;
                self.wrong.clear();
                tracing::info!(file = %self.files.certificate.display(), "the API has a new certificate");
            }
            Err(error) => {
                let error = error.to_string();
                if self.wrong != error {
                    // One of the two files may be replaced already: the next look has both.
                    tracing::warn!(%error, "the API's certificate cannot be read again; kept the old");
                    self.wrong = error;
                }
            }
        }
    }
}

impl Pair {
    fn read(files: &TlsFiles) -> Result<Self, ServeError> {
        let certificates = CertificateDer::pem_file_iter(&files.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| wrong(&files.certificate, &error))?;
        if certificates.is_empty() {
            return Err(wrong(&files.certificate, &"it holds no certificate"));
        }
        let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|error| wrong(&files.key, &error))?;
        Ok(Self { certificates, key })
    }

    fn acceptor(&self, files: &TlsFiles) -> Result<TlsAcceptor, ServeError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(&files.certificate, &error))?
            .with_no_client_auth()
            .with_single_cert(self.certificates.clone(), self.key.clone_key())
            .map_err(|error| wrong(&files.key, &error))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn wrong(path: &Path, why: &dyn std::fmt::Display) -> ServeError {
    ServeError::Tls { path: path.to_path_buf(), why: why.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(files: &TlsFiles) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    }

    #[test]
    fn what_is_in_use_stays_until_both_files_are_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let files = TlsFiles { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        write(&files);
        let mut certificates = Certificates::read(files.clone()).unwrap();
        let newest = certificates.newest();
        let mut check = |changes: bool, wrong: &str| {
            let in_use = Arc::clone(newest.borrow().config());
            certificates.look();
            assert_eq!(!Arc::ptr_eq(&in_use, newest.borrow().config()), changes, "{wrong}");
            assert!(certificates.wrong.contains(wrong) && certificates.wrong.is_empty() == wrong.is_empty());
        };
        check(false, "");
        let old = std::fs::read(&files.certificate).unwrap();
        write(&files);
        let new = std::fs::read(&files.certificate).unwrap();
        // The key is new, the certificate still the old one: they do not fit each other.
        std::fs::write(&files.certificate, old).unwrap();
        check(false, "key.pem");
        std::fs::write(&files.certificate, "nonsense").unwrap();
        check(false, "cert.pem");
        std::fs::remove_file(&files.certificate).unwrap();
        check(false, "cert.pem");
        std::fs::write(&files.certificate, new).unwrap();
        check(true, "");
        check(false, "");
    }
}
