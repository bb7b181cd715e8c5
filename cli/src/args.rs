//! What can be written on the command line. Parsing only: each command lives in its own file under `commands/`.

mod agents;
mod chains;
mod nodes;
mod operations;
mod projects;
mod sessions;
mod triggers;

use clap::{Args, Parser, Subcommand};

use crate::output::Output;

pub use agents::{Agents, Models, Modules};
pub use chains::{AddChain, Chains, Contracts, Family, NewWallet, Outbox, Wallets};
pub use nodes::{Actors, ClusterCommand, Demo, StoreCommand, Up};
pub use operations::{Breakers, Confirm, Drain, Nodes, Pause, Quarantine, Shards, Shell, Subject, Top};
pub use projects::{Budgets, Period, Projects};
pub use sessions::{Approvals, CheckpointArguments, Logs, Receipts, Sessions};
pub use triggers::Triggers;

/// Steward: a durable runtime for AI agents that spend money.
#[derive(Debug, Parser)]
#[command(name = "steward", version, propagate_version = true, arg_required_else_help = true)]
pub struct Arguments {
    /// What every command takes.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// How results are to be shown.
    pub fn output(&self) -> Output {
        Output::new(self.global.json)
    }
}

/// Flags that every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The node to talk to, such as http://127.0.0.1:7700 [default: the one of `steward login`]
    #[arg(long, global = true, env = "STEWARD_SERVER")]
    pub server: Option<String>,
    /// The API key [default: the one of `steward login`]
    #[arg(long, global = true, env = "STEWARD_KEY", hide_env_values = true)]
    pub key: Option<String>,
    /// The project, where the key may see several [default: the key's own]
    #[arg(long, short = 'p', global = true, env = "STEWARD_PROJECT")]
    pub project: Option<String>,
    /// Print JSON, one value a line, for programs
    #[arg(long, global = true)]
    pub json: bool,
}

/// The commands, most used first.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show all of Steward at work on real parts: model, node, chain, agent, kill, receipts
    Demo(Demo),
    /// Run a node until it is stopped (SIGTERM drains it)
    Up(Up),
    /// Remember a server and key for the commands that follow
    Login,
    /// Projects, their prices and keys
    #[command(subcommand)]
    Projects(Projects),
    /// Models on the node
    #[command(subcommand)]
    Models(Models),
    /// Agents: check, deploy, run
    #[command(subcommand)]
    Agents(Agents),
    /// Modules that a project's agents share [default: list]
    Modules {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Modules>,
    },
    /// Sessions: watch, replay, cancel
    #[command(subcommand)]
    Sessions(Sessions),
    /// Questions that agents ask people
    #[command(subcommand)]
    Approvals(Approvals),
    /// Budgets and their statements
    #[command(subcommand)]
    Budgets(Budgets),
    /// Receipts: list, prove, anchor, verify
    #[command(subcommand)]
    Receipts(Receipts),
    /// A session's events, in the words of a log
    Logs(Logs),
    /// The actors behind it all
    #[command(subcommand)]
    Actors(Actors),
    /// A prompt for operators: every command but those that run something, with completion and history
    Shell(Shell),
    /// Look at the whole cluster and say what is wrong and what to do
    Doctor {
        /// Add up every project's books too
        #[arg(long)]
        audit: bool,
    },
    /// The nodes of the cluster [default: ls]
    Nodes {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Nodes>,
    },
    /// The shards, and whose they are [default: ls]
    Shards {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Shards>,
    },
    /// Hand a node's shards to the others, losing no call
    Drain(Drain),
    /// Let a node take shards again
    Undrain {
        /// The node's id
        node: String,
    },
    /// Hold an agent, a project or a chain back
    Pause(Pause),
    /// Let an agent, a project or a chain go on
    Resume {
        /// What to resume
        #[command(subcommand)]
        subject: Subject,
    },
    /// The chains' circuit breakers [default: ls]
    Breakers {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Breakers>,
    },
    /// Events of chains that start sessions [default: ls]
    Triggers {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Triggers>,
    },
    /// The chains of the node [default: list]
    Chains {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Chains>,
    },
    /// Contracts that operators put on chains [default: list]
    Contracts {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Contracts>,
    },
    /// What waits to be sent to chains, or is not final
    Outbox(Outbox),
    /// The accounts that send on chains, and their keys [default: list]
    Wallets {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Wallets>,
    },
    /// Actors that are set aside [default: ls]
    Quarantine {
        /// What to do with them
        #[command(subcommand)]
        command: Option<Quarantine>,
    },
    /// The devices of every node, and the models on them
    Devices,
    /// What every node does, live
    Top(Top),
    /// Everything known of a session, turn, step or receipt, in the order of time
    Trace {
        /// ses_…, ses_…/TURN, ses_…/TURN/STEP, or hold_…
        id: String,
    },
    /// What operators did
    Audit {
        /// At most so many entries
        #[arg(long, default_value_t = 50)]
        most: u32,
    },
    /// Copy a node's store into one file, or back; or serve it to other nodes
    #[command(subcommand)]
    Store(StoreCommand),
    /// Who may be a node of a cluster: make its authority, issue and rotate certificates
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Completions for a shell, on standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}
