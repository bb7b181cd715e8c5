//! How the edge is configured.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::limits::{KEY_REQUESTS_MAX, TURN_WAIT_TIME_DEFAULT};

/// How the edge is configured.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Certificate and key; absent: plain text.
    pub tls: Option<TlsFiles>,
    /// Deadline of a request that names none.
    pub request_time_default: Duration,
    /// Requests in flight for one API key.
    pub key_requests_max: usize,
    /// Origins whose browsers may call, such as `https://console.example.com`; `*` for every origin. A browser sends no
    /// key by itself, so an open list gives nothing away.
    pub origins: Vec<String>,
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
            request_time_default: TURN_WAIT_TIME_DEFAULT,
            key_requests_max: KEY_REQUESTS_MAX,
            origins: vec!["*".to_owned()],
        }
    }
}
