//! The certificate authority of one cluster and the certificates of its nodes. The authority's key never lies on a
//! node; a node holds its own key and the certificates of the authorities that it trusts.

use std::fmt;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use steward_types::Timestamp;
use steward_types::limits::{AUTHORITY_TIME, CERTIFICATE_SKEW};
use thiserror::Error;

use super::NodeId;
use super::identity::{CA_FILE, KEY_FILE, NODE_FILE};

/// The DNS name that every node's certificate carries, beside the URI that names the node.
pub const SERVER_NAME: &str = "node.steward";
/// What stands before the node's name in the URI of its certificate.
pub(super) const NODE_URI: &str = "steward://node/";

const AUTHORITY_NAME: &str = "Steward cluster authority";
const AUTHORITY_KEY_FILE: &str = "ca.key";

/// Why a certificate could not be made or written.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The authority's own key or certificate is unusable.
    #[error("the authority's {what} is not usable; restore it from the backup that `init` asked for")]
    Unusable {
        /// `certificate` or `key`.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: rcgen::Error,
    },
    /// The certificate could not be made.
    #[error("cannot make the certificate of {subject}")]
    Make {
        /// For whom.
        subject: String,
        /// What is wrong.
        #[source]
        source: rcgen::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {verb} {file}; check that the folder exists and that this user may {verb} there")]
    File {
        /// `read` or `write`.
        verb: &'static str,
        /// The file.
        file: String,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// A file that must not be replaced exists.
    #[error("{file} exists already; a cluster has one authority: use another folder, or `rotate` to replace it")]
    Exists {
        /// The file.
        file: String,
    },
}

/// The authority of one cluster: whoever holds its key decides who is a node.
pub struct ClusterAuthority {
    certificate_pem: String,
    key: KeyPair,
}

impl ClusterAuthority {
    /// A new authority, valid for ten years from `now`.
    ///
    /// # Errors
    /// When the key cannot be made.
    pub fn create(now: Timestamp) -> Result<Self, AuthorityError> {
        let make = |source| AuthorityError::Make { subject: AUTHORITY_NAME.to_owned(), source };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = authority_params().map_err(make)?;
        set_validity(&mut params, now, AUTHORITY_TIME);
        let certificate = params.self_signed(&key).map_err(make)?;
        Ok(Self { certificate_pem: certificate.pem(), key })
    }

    /// The authority of the given certificate and key, both in PEM.
    ///
    /// # Errors
    /// When the key cannot be read.
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::from_pem(key_pem).map_err(|source| AuthorityError::Unusable { what: "key", source })?;
        Ok(Self { certificate_pem: certificate_pem.to_owned(), key })
    }

    /// Reads `ca.pem` and `ca.key` from the authority's folder. Of a bundle the first certificate is the authority's.
    ///
    /// # Errors
    /// Names the file that cannot be read or used.
    pub fn load(folder: &Path) -> Result<Self, AuthorityError> {
        let read = |name: &str| {
            let file = folder.join(name);
            std::fs::read_to_string(&file).map_err(|source| file_error("read", &file, source))
        };
        Self::from_pem(&read(CA_FILE)?, &read(AUTHORITY_KEY_FILE)?)
    }

    /// Writes `ca.pem` and `ca.key` (readable by this user only) into the folder, which is made when it is missing.
    ///
    /// # Errors
    /// When a key lies there already, or a file cannot be written.
    pub fn save_new(&self, folder: &Path) -> Result<(), AuthorityError> {
        std::fs::create_dir_all(folder).map_err(|source| file_error("write", folder, source))?;
        let key = folder.join(AUTHORITY_KEY_FILE);
        if key.exists() {
            return Err(AuthorityError::Exists { file: key.display().to_string() });
        }
        write_secret(&key, &self.key_pem())?;
        write_file(&folder.join(CA_FILE), &self.certificate_pem)
    }

    /// The authority's certificate in PEM: what every node trusts.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's key in PEM. Whoever has it can make nodes.
    pub fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// A new key and certificate for `node`, valid from an hour before `now` until `valid_for` after it.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn issue(&self, node: &NodeId, valid_for: Duration, now: Timestamp) -> Result<NodeCertificate, AuthorityError> {
        let make = |source| AuthorityError::Make { subject: node.to_string(), source };
        let key = KeyPair::generate().map_err(make)?;
        let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).map_err(make)?;
        params.subject_alt_names.push(SanType::URI(format!("{NODE_URI}{node}").try_into().map_err(make)?));
        params.distinguished_name = named(&node.to_string());
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        set_validity(&mut params, now, valid_for);
        let issuer = Issuer::new(authority_params().map_err(make)?, &self.key);
        let certificate = params.signed_by(&key, &issuer).map_err(make)?;
        Ok(NodeCertificate { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }
}

impl fmt::Debug for ClusterAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterAuthority").finish_non_exhaustive()
    }
}

/// A node's certificate and its key.
#[derive(Clone)]
pub struct NodeCertificate {
    /// The certificate in PEM.
    pub certificate_pem: String,
    /// Its key in PEM, a secret of the node.
    pub key_pem: String,
}

impl NodeCertificate {
    /// Writes `ca.pem`, `node.pem` and `node.key` (readable by this user only) into the folder, which is made when it
    /// is missing. Each file is replaced as a whole, the key before the certificate; a node that reads between the two
    /// sees a pair that does not match, keeps what it has and reads again.
    ///
    /// `authorities` are the certificates that the node shall trust: one after `init`, two while an authority is
    /// being replaced.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn save(&self, folder: &Path, authorities: &[&str]) -> Result<(), AuthorityError> {
        std::fs::create_dir_all(folder).map_err(|source| file_error("write", folder, source))?;
        write_file(&folder.join(CA_FILE), &bundle(authorities))?;
        write_secret(&folder.join(KEY_FILE), &self.key_pem)?;
        write_file(&folder.join(NODE_FILE), &self.certificate_pem)
    }
}

impl fmt::Debug for NodeCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodeCertificate").finish_non_exhaustive()
    }
}

/// The certificates of several authorities in one PEM text, each once.
pub fn bundle(authorities: &[&str]) -> String {
    let mut text = String::new();
    for authority in authorities {
        if !text.contains(authority.trim()) {
            text.push_str(authority.trim());
            text.push('\n');
        }
    }
    text
}

/// The parts of an authority's certificate that its signatures depend on: always the same, so that an authority can be
/// rebuilt from its key alone.
fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.distinguished_name = named(AUTHORITY_NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn named(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn set_validity(params: &mut CertificateParams, now: Timestamp, valid_for: Duration) {
    let now = UNIX_EPOCH + Duration::from_millis(now.as_millis());
    params.not_before = now.checked_sub(CERTIFICATE_SKEW).unwrap_or(UNIX_EPOCH).into();
    params.not_after = (now + valid_for).into();
}

fn file_error(verb: &'static str, file: &Path, source: std::io::Error) -> AuthorityError {
    AuthorityError::File { verb, file: file.display().to_string(), source }
}

fn write_file(file: &Path, text: &str) -> Result<(), AuthorityError> {
    let part = file.with_extension("part");
    std::fs::write(&part, text)
        .and_then(|()| std::fs::rename(&part, file))
        .map_err(|source| file_error("write", file, source))
}

fn write_secret(file: &Path, text: &str) -> Result<(), AuthorityError> {
    use std::io::Write;
    let part = file.with_extension("part");
    let write = || {
        let _ = std::fs::remove_file(&part);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&part)?.write_all(text.as_bytes())?;
        std::fs::rename(&part, file)
    };
    write().map_err(|source| file_error("write", file, source))
}
