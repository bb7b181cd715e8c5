//! What is said of triggers.

use clap::Subcommand;

use super::operations::Confirm;

/// Subcommands of `triggers`.
#[derive(Debug, Subcommand)]
pub enum Triggers {
    /// The project's triggers: how far each is, why one waits, and what it skipped
    Ls,
    /// Let a trigger go on that stopped because its chain is not the one that it was
    Resume {
        /// The agent
        agent: String,
        /// The trigger's name in the agent
        trigger: String,
        /// A block's number, or `now` [default: its checkpoint if the chain is the old one again, otherwise now]
        #[arg(long)]
        from: Option<String>,
        /// The answer
        #[command(flatten)]
        confirm: Confirm,
    },
}
