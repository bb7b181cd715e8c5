//! What is said of sessions, and what they leave behind: approvals, logs, receipts.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::operations::Confirm;

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

/// Arguments of `logs`.
#[derive(Debug, Clone, Args)]
pub struct Logs {
    /// The session
    pub session: String,
    /// Go on with new lines as they come
    #[arg(long, short)]
    pub follow: bool,
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
        /// For this chain's CAIP-2 id: the earliest root over the receipt that it has [default: that of any chain]
        #[arg(long)]
        chain: Option<String>,
        /// As arguments of a contract's call (an escrow's claim, a feedback): under the newest root that the chain has, the
        /// only one that contracts keep
        #[arg(long, requires = "chain")]
        for_contract: bool,
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
        /// An endpoint of a chain that the proof names, once for each: eip155:1=https://HOST/PATH, or the address alone,
        /// which is asked what chain it is of
        #[arg(long, value_name = "[CHAIN=]URL")]
        rpc: Vec<String>,
    },
    /// The signed checkpoint and the key that verifies it
    Checkpoint(CheckpointArguments),
}

/// Arguments of `receipts checkpoint`.
#[derive(Debug, Clone, Args)]
pub struct CheckpointArguments {
    /// Keep the checkpoint in this file
    #[arg(long, short)]
    pub out: Option<PathBuf>,
    /// Verify that the log has only grown since the checkpoint in this file
    #[arg(long, value_name = "FILE")]
    pub since: Option<PathBuf>,
    /// The log's verifier key, as its operator published it [default: as the node tells]
    #[arg(long, requires = "since")]
    pub trust: Option<String>,
}
