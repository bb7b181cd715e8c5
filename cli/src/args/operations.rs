//! What operators can write: the commands over the whole cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The answer to the question that a destructive command asks.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Confirm {
    /// Do it without asking
    #[arg(long)]
    pub yes: bool,
}

/// Arguments of `shell`.
#[derive(Debug, Clone, Args)]
pub struct Shell {
    /// Run this command and end
    #[arg(long, short, value_name = "COMMAND", conflicts_with = "file")]
    pub command: Option<String>,
    /// Run the commands of this file, a line each, and end
    pub file: Option<PathBuf>,
    /// Print each command before its output, so that the output is a transcript
    #[arg(long)]
    pub echo: bool,
    /// Go on after a command that fails; the exit code tells of it all the same
    #[arg(long)]
    pub keep_going: bool,
}

/// Subcommands of `nodes`.
#[derive(Debug, Subcommand)]
pub enum Nodes {
    /// Every member, and how it is
    Ls,
    /// One member in full
    Show {
        /// Its id
        node: String,
    },
    /// Take a node for dead now; if it lives, it joins again without its shards
    Evict {
        /// Its id
        node: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// Subcommands of `shards`.
#[derive(Debug, Subcommand)]
pub enum Shards {
    /// How many shards each node has, and which are on their way
    Ls {
        /// Every shard of this node, one by one
        #[arg(long)]
        node: Option<String>,
    },
    /// Put a shard on a node for as long as that is up
    Move {
        /// Its number
        shard: u32,
        /// The node's id
        node: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Leave a shard to the placement again
    Unpin {
        /// Its number
        shard: u32,
    },
}

/// Arguments of `drain`.
#[derive(Debug, Clone, Args)]
pub struct Drain {
    /// The node's id
    pub node: String,
    /// How long it may take, in seconds; it goes on draining after that
    #[arg(long, default_value_t = 60)]
    pub within: u64,
    /// The answer
    #[command(flatten)]
    pub confirm: Confirm,
}

/// What `pause` and `resume` take.
#[derive(Debug, Clone, Subcommand)]
pub enum Subject {
    /// An agent of the project that --project names
    Agent {
        /// Its name
        name: String,
    },
    /// A project: all its agents, and its direct calls
    Project {
        /// Its name
        name: String,
    },
    /// A chain: nothing new is sent, what was sent is followed to its end
    Chain {
        /// Its CAIP-2 id
        id: String,
    },
}

/// Arguments of `pause`.
#[derive(Debug, Args)]
#[command(subcommand_value_name = "WHAT", subcommand_help_heading = "What", disable_help_subcommand = true)]
pub struct Pause {
    /// What to pause [default: show what is paused]
    #[command(subcommand)]
    pub subject: Option<Subject>,
    /// Why, for those who find it paused
    #[arg(long, global = true, default_value = "")]
    pub reason: String,
    /// Do it without asking
    #[arg(long, global = true)]
    pub yes: bool,
}

/// Subcommands of `breakers`.
#[derive(Debug, Subcommand)]
pub enum Breakers {
    /// The chains' breakers and outboxes, and their endpoints
    Ls,
    /// A chain's endpoints: their breakers, and what changed and why
    Show {
        /// The chain's CAIP-2 id
        chain: String,
    },
    /// Send nothing to a chain, or ask nothing of one of its endpoints, until it is released
    Open {
        /// The chain's CAIP-2 id
        chain: String,
        /// One of its endpoints [default: the whole chain]
        endpoint: Option<String>,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Send to a chain, or ask one of its endpoints, whatever fails, until it is released
    Close {
        /// The chain's CAIP-2 id
        chain: String,
        /// One of its endpoints [default: the whole chain]
        endpoint: Option<String>,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
    /// Let the breaker decide for itself again; what an endpoint was punished or throttled for is forgiven
    Release {
        /// The chain's CAIP-2 id
        chain: String,
        /// One of its endpoints [default: the whole chain]
        endpoint: Option<String>,
    },
}

/// Subcommands of `quarantine`.
#[derive(Debug, Subcommand)]
pub enum Quarantine {
    /// The actors that are set aside, on every node
    Ls,
    /// Let an actor out, so that its next message activates it again
    Release {
        /// Its kind
        kind: String,
        /// Its id
        id: String,
    },
}

/// Arguments of `top`.
#[derive(Debug, Clone, Args)]
pub struct Top {
    /// Stop after so many frames [default: go on in a terminal, one when piped]
    #[arg(long)]
    pub frames: Option<u32>,
    /// Seconds between two frames
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub every: f64,
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("{text:?} is not a number of seconds"))?;
    if (0.1..=3600.0).contains(&seconds) { Ok(seconds) } else { Err("from 0.1 to 3600 seconds".to_owned()) }
}
