//! What is said of nodes: the demo, one that is started, what lives in it, stores and clusters.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::operations::Confirm;

/// Arguments of `demo`.
#[derive(Debug, Clone, Args)]
pub struct Demo {
    /// Answer the agent's question with yes, without asking
    #[arg(long)]
    pub yes: bool,
    /// Where the demo keeps everything it fetches and writes
    #[arg(long, default_value = ".steward")]
    pub dir: PathBuf,
    /// Use this anvil instead of fetching one with npm
    #[arg(long, env = "STEWARD_ANVIL")]
    pub anvil: Option<PathBuf>,
    /// Keep the node and the chain running at the end, to try other commands on them
    #[arg(long)]
    pub keep: bool,
}

/// Arguments of `up`.
#[derive(Debug, Clone, Default, Args)]
pub struct Up {
    /// The configuration file (TOML); flags win over it
    #[arg(long, short)]
    pub config: Option<PathBuf>,
    /// Where the node keeps its state [default: steward-data]
    #[arg(long)]
    pub data: Option<PathBuf>,
    /// Where the node listens; port 0 takes a free one [default: 127.0.0.1:7700]
    #[arg(long)]
    pub listen: Option<std::net::SocketAddr>,
    /// Serve plain HTTP beyond loopback too: where a proxy or the network encrypts
    #[arg(long)]
    pub plain_http: bool,
    /// The store: embedded, served:HOST:PORT, or fdb:CLUSTER_FILE [default: embedded]
    #[arg(long)]
    pub store: Option<crate::config::StoreChoice>,
    /// Where models may be: auto, or devices such as cpu,cuda:0 [default: auto]
    #[arg(long, value_name = "DEVICES")]
    pub devices: Option<crate::config::DeviceChoice>,
    /// Join the cluster in the store, with the identity that `steward cluster issue` made in this folder
    #[arg(long, value_name = "IDENTITY")]
    pub join: Option<PathBuf>,
    /// With --join: a member to ask where the cluster's store is; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    pub member: Vec<String>,
}

/// Subcommands of `actors`.
#[derive(Debug, Subcommand)]
pub enum Actors {
    /// What stands where, and what happens when it dies
    Tree,
    /// Live actors of every node
    Ls {
        /// Only this kind
        kind: Option<String>,
    },
    /// A snapshot of one actor
    Inspect {
        /// Its kind
        kind: String,
        /// Its id
        id: String,
    },
    /// Why an actor is as it is
    Why {
        /// Its kind
        kind: String,
        /// Its id
        id: String,
    },
    /// Messages that no actor could handle
    DeadLetters,
    /// Take an actor out of quarantine
    Release {
        /// Its kind
        kind: String,
        /// Its id
        id: String,
    },
    /// Stop an actor; its next message activates it again
    Stop {
        /// Its kind
        kind: String,
        /// Its id
        id: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// Subcommands of `store`.
#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Copy the store of a stopped node into one file
    Backup {
        /// The node's data folder
        data: PathBuf,
        /// The file to write
        file: PathBuf,
    },
    /// Offer a store to the nodes of a small cluster, until stopped
    Serve {
        /// The folder of the store
        data: PathBuf,
        /// The identity that `steward cluster issue` made for this process
        #[arg(long)]
        identity: PathBuf,
        /// Where to listen; port 0 takes a free one
        #[arg(long, default_value = "127.0.0.1:7702")]
        listen: std::net::SocketAddr,
    },
    /// What the store of the node holds, part by part
    Stats,
    /// Make a new data folder from a backup
    Restore {
        /// The backup
        file: PathBuf,
        /// The data folder; it must have no store yet
        data: PathBuf,
    },
}

/// Subcommands of `cluster`.
#[derive(Debug, Subcommand)]
pub enum ClusterCommand {
    /// Make a cluster's authority, in a folder that stays off the nodes
    Init {
        /// The folder to make
        authority: PathBuf,
    },
    /// Make a node's identity, or give it a new certificate
    Issue {
        /// The authority's folder
        authority: PathBuf,
        /// The node's folder, to be copied to its machine
        node: PathBuf,
        /// How long the certificate is good for
        #[arg(long, default_value_t = 365)]
        days: u32,
    },
    /// Give the authority a new key; the old certificate stays trusted until --finish
    Rotate {
        /// The authority's folder
        authority: PathBuf,
        /// Keep the newest authority's certificate only: once every node has a certificate of it
        #[arg(long)]
        finish: bool,
    },
}
