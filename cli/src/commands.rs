//! One file a command; here they are told apart.

pub mod actors;
pub mod agents;
pub mod approvals;
pub mod audit;
pub mod breakers;
pub mod budgets;
mod chain_add;
pub mod chains;
mod checkpoint;
pub mod cluster;
pub mod contracts;
pub mod devices;
pub mod doctor;
pub mod drain;
mod failure;
mod keystore;
pub mod login;
pub mod models;
pub mod modules;
pub mod nodes;
pub mod outbox;
pub mod pause;
pub mod projects;
pub mod quarantine;
pub mod receipts;
pub mod sessions;
pub mod shards;
pub mod store;
pub mod top;
pub mod trace;
pub mod triggers;
pub mod up;
pub mod wallets;

use std::io::IsTerminal as _;

use clap::CommandFactory as _;
use steward_api::proto::v1;

pub use self::failure::report;
use crate::args::{Arguments, Command, Confirm, Global};
use crate::client::Client;
use crate::output::Output;

/// What every command that talks to a node needs.
#[derive(Clone)]
pub struct Session {
    /// The node.
    pub client: Client,
    /// The project that `--project` names; empty: the key's own.
    pub project: String,
    /// Where results go.
    pub output: Output,
}

impl Session {
    /// The client and project that flags, environment or `steward login` name.
    ///
    /// # Errors
    /// When nobody has logged in and no flag names a server and key.
    pub fn from_global(global: &Global, output: Output) -> anyhow::Result<Self> {
        let client = Client::from_global(global)?;
        Ok(Self { client, project: global.project.clone().unwrap_or_default(), output })
    }

    /// Asks before something that cannot be taken back, unless `confirm` answers already.
    ///
    /// # Errors
    /// When the answer is no, or nobody can be asked.
    pub fn confirm(&self, what: &str, confirm: Confirm) -> anyhow::Result<()> {
        if confirm.yes {
            return Ok(());
        }
        anyhow::ensure!(
            std::io::stdin().is_terminal() && !self.output.is_json(),
            "nobody is here to be asked whether to {what}: add --yes"
        );
        self.output.part(format!("{what}? [y/N] "));
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer)?;
        anyhow::ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "nothing was done");
        Ok(())
    }
}

/// Runs one command.
///
/// # Errors
/// What went wrong, in words for the person who called it.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let output = arguments.output();
    let global = arguments.global;
    match arguments.command {
        Command::Shell(shell) => crate::shell::run(shell, &global, output).await,
        Command::Demo(demo) => crate::demo::run(demo, output).await,
        Command::Up(up) => up::run(up, output).await,
        Command::Login => login::run(&global, output).await,
        Command::Agents(crate::args::Agents::Check { folder, modules }) => {
            agents::check(&folder, modules.as_deref(), output)
        }
        Command::Receipts(crate::args::Receipts::Verify { file, trust, rpc }) => {
            receipts::verify(&file, trust.as_deref(), &rpc, output).await
        }
        Command::Chains { command: Some(crate::args::Chains::Add(chain)) } => chains::add(&chain, output).await,
        Command::Wallets { command: Some(command) } if wallets::is_local(&command) => wallets::write(command, output),
        Command::Store(command) if !matches!(command, crate::args::StoreCommand::Stats) => {
            store::run(command, output).await
        }
        Command::Cluster(command) => cluster::run(command, output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "steward", &mut std::io::stdout());
            Ok(())
        }
        command => ask(command, &Session::from_global(&global, output)?).await,
    }
}

/// Runs one command that only asks a node: all that the shell takes.
///
/// # Errors
/// What went wrong, in words for the person who called it; also that the command does not only ask a node.
pub async fn ask(command: Command, session: &Session) -> anyhow::Result<()> {
    match command {
        Command::Projects(command) => projects::run(command, session).await,
        Command::Models(command) => models::run(command, session).await,
        Command::Agents(command) => agents::run(command, session).await,
        Command::Modules { command } => modules::run(command, session).await,
        Command::Sessions(command) => sessions::run(command, session).await,
        Command::Approvals(command) => approvals::run(command, session).await,
        Command::Budgets(command) => budgets::run(command, session).await,
        Command::Receipts(command) => receipts::run(command, session).await,
        Command::Logs(logs) => sessions::logs(&logs, session).await,
        Command::Actors(command) => actors::run(command, session).await,
        Command::Store(crate::args::StoreCommand::Stats) => store::stats(session).await,
        Command::Doctor { audit } => doctor::run(audit, session).await,
        Command::Nodes { command } => nodes::run(command, session).await,
        Command::Shards { command } => shards::run(command, session).await,
        Command::Drain(command) => drain::drain(command, session).await,
        Command::Undrain { node } => drain::undrain(node, session).await,
        Command::Pause(command) => pause::pause(command, session).await,
        Command::Resume { subject } => pause::resume(subject, session).await,
        Command::Breakers { command } => breakers::run(command, session).await,
        Command::Chains { command } => chains::run(command, session).await,
        Command::Contracts { command } => contracts::run(command, session).await,
        Command::Outbox(command) => outbox::run(command, session).await,
        Command::Wallets { command } => wallets::run(command, session).await,
        Command::Quarantine { command } => quarantine::run(command, session).await,
        Command::Devices => devices::run(session).await,
        Command::Top(command) => top::run(command, session).await,
        Command::Triggers { command } => triggers::run(command, session).await,
        Command::Trace { id } => trace::run(id, session).await,
        Command::Audit { most } => audit::run(most, session).await,
        Command::Demo(_)
        | Command::Up(_)
        | Command::Login
        | Command::Shell(_)
        | Command::Store(_)
        | Command::Cluster(_)
        | Command::Completions { .. } => anyhow::bail!("this command is not for the shell: run it outside"),
    }
}

/// Names on standard error the nodes that an answer lacks, so that nothing is left out silently.
pub(crate) fn tell_missing(output: Output, missing: &[v1::MissingNode]) {
    for node in missing {
        output.warn(format!("missing: {} ({})", node.node, node.reason));
    }
}

/// A time as people read it; `-` for none.
pub(crate) fn when(at: Option<&prost_types::Timestamp>) -> String {
    at.map_or_else(|| "-".to_owned(), |at| sessions::to_timestamp(at).to_string())
}
