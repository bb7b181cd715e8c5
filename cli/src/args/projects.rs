//! What is said of projects and their budgets.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use steward_types::Micros;

use super::operations::Confirm;

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
    /// Choose the chains that anchor receipts, and when; what is not said stays as it is
    Anchoring {
        /// The project
        name: String,
        /// Anchor on this chain (a CAIP-2 id) and on no other; may be given several times
        #[arg(long)]
        chain: Vec<String>,
        /// Anchor on no chain
        #[arg(long, conflicts_with = "chain")]
        none: bool,
        /// How many seconds a receipt may wait
        #[arg(long, value_name = "SECONDS")]
        within: Option<u32>,
        /// How many receipts may wait, whichever comes first; 0: the time alone counts
        #[arg(long, value_name = "NUMBER")]
        receipts: Option<u64>,
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
