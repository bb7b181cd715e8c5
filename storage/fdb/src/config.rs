//! What a person says about the cluster, and what is said when the store cannot be opened so.

use std::path::PathBuf;

use steward_storage::key;
use thiserror::Error;

use crate::client::{API_VERSION, LIBRARY_VARIABLE};

/// Where the cluster is and how to use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdbConfig {
    /// The file that names the cluster's coordinators. FoundationDB's client rewrites it when they change, so it must
    /// be writable, and a process needs a copy of its own only if its folder is not.
    pub cluster_file: PathBuf,
    /// The client library; by default what the environment variable `FDB_CLIENT_LIBRARY` names, else `libfdb_c.so`
    /// from where the system's loader looks.
    pub library: Option<PathBuf>,
    /// What stands before every key, so that several clusters of Steward, and others, share one database. At most
    /// [`FDB_PREFIX_BYTES_MAX`](steward_types::limits::FDB_PREFIX_BYTES_MAX) bytes; must not begin with `0xff`.
    pub prefix: Vec<u8>,
    /// A tag on every transaction, by which FoundationDB counts and may throttle them. At most
    /// [`FDB_TAG_BYTES_MAX`](steward_types::limits::FDB_TAG_BYTES_MAX) bytes.
    pub tag: Option<String>,
    /// A folder in which FoundationDB's client writes trace files. One a process: the first store opened decides.
    pub trace_folder: Option<PathBuf>,
    /// Whether each transaction gets an identifier and is logged in the trace files. Slow; for finding a fault.
    pub log_transactions: bool,
}

impl FdbConfig {
    /// The cluster of `cluster_file`, under the prefix of the tuple `("steward",)`.
    pub fn new(cluster_file: impl Into<PathBuf>) -> Self {
        Self {
            cluster_file: cluster_file.into(),
            library: None,
            prefix: key::pack(&("steward",)),
            tag: None,
            trace_folder: None,
            log_transactions: false,
        }
    }

    /// Under the prefix of the tuple `(name,)`: no two names' keys meet, whatever the names are.
    pub fn named(self, name: &str) -> Self {
        Self { prefix: key::pack(&(name,)), ..self }
    }
}

/// Why the store could not be opened. Each says which file it is about and what to do.
#[derive(Debug, Error)]
pub enum FdbOpenError {
    /// There is no cluster file, or it cannot be read.
    #[error(
        "the FoundationDB cluster file {path} cannot be read; copy it from a machine of the cluster (there it is \
         usually /etc/foundationdb/fdb.cluster), or name another"
    )]
    ClusterFileUnreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The cluster file is no cluster file.
    #[error(
        "the FoundationDB cluster file {path} is not valid: {problem}; it should hold one line such as \
         name:id@10.0.0.1:4500,10.0.0.2:4500"
    )]
    ClusterFileMalformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The client library cannot be loaded.
    #[error(
        "the FoundationDB client library {path} cannot be loaded ({reason}); install FoundationDB's client package of \
         version 7.3, or name the file with the environment variable {LIBRARY_VARIABLE}"
    )]
    LibraryMissing {
        /// The file, or the name that the system's loader looked for.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// What was loaded is an older client, or no client at all.
    #[error(
        "{path} is no FoundationDB client library of version 7.3 or later: {problem}; install FoundationDB's client \
         package of version 7.3 (its API version is {API_VERSION})"
    )]
    LibraryUnfit {
        /// The file.
        path: PathBuf,
        /// What it lacks.
        problem: String,
    },
    /// This process has another client library loaded, and can have only one.
    #[error("this process has the FoundationDB client library {loaded} loaded and cannot load {asked} too")]
    LibraryOther {
        /// The library asked for.
        asked: PathBuf,
        /// The library that is loaded.
        loaded: PathBuf,
    },
    /// The prefix is too long or not the user's.
    #[error("the prefix of {bytes} bytes is not valid: it may have {limit} bytes and must not begin with 0xff")]
    Prefix {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The tag is too long.
    #[error("the tag of {bytes} bytes is over FoundationDB's limit of {limit}")]
    Tag {
        /// Its length in bytes.
        bytes: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// FoundationDB's client refused something.
    #[error("FoundationDB's client could not {doing}: {reason}")]
    Client {
        /// What it was to do.
        doing: &'static str,
        /// What it said, with its error code.
        reason: String,
    },
}
