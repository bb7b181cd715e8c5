//! How the edge is configured.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::limits::{CERTIFICATE_READ_TIME, KEY_REQUESTS_MAX, TURN_WAIT_TIME_DEFAULT};
use tokio::sync::watch;

/// Whether a node takes new work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Not yet: it is a member of a cluster and has no shards.
    Starting,
    /// It does.
    Ready,
    /// Not any more: it hands over what it has.
    Draining,
}

/// How the edge is configured.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Certificate and key; absent: plain text.
    pub tls: Option<TlsFiles>,
    /// How often certificate and key are read again, for those that were replaced.
    pub certificate_read_time: Duration,
    /// Deadline of a request that names none.
    pub request_time_default: Duration,
    /// Requests in flight for one API key.
    pub key_requests_max: usize,
    /// Origins whose browsers may call, such as `https://console.example.com`; `*` for every origin. A browser sends no
    /// key by itself, so an open list gives nothing away.
    pub origins: Vec<String>,
    /// What `/readyz` and the health service say. A receiver whose sender is gone keeps to what it heard last.
    pub readiness: watch::Receiver<Readiness>,
}

/// Where certificate and key are, as PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate, followed by those that lead to its root.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            tls: None,
            certificate_read_time: CERTIFICATE_READ_TIME,
            request_time_default: TURN_WAIT_TIME_DEFAULT,
            key_requests_max: KEY_REQUESTS_MAX,
            origins: vec!["*".to_owned()],
            readiness: watch::channel(Readiness::Ready).1,
        }
    }
}
