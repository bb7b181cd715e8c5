//! One file a command; here they are told apart, and errors become exit codes.

pub mod actors;
pub mod agents;
pub mod approvals;
pub mod budgets;
pub mod cluster;
pub mod login;
pub mod models;
pub mod projects;
pub mod receipts;
pub mod sessions;
pub mod store;
pub mod up;

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::args::{Arguments, Command};
use crate::client::{self, Client};
use crate::output::{Output, Tone};

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

/// Runs one command.
///
/// # Errors
/// What went wrong, in words for the person who called it.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let output = arguments.output();
    let global = arguments.global;
    let session = || -> anyhow::Result<Session> {
        let client = Client::from_global(&global)?;
        Ok(Session { client, project: global.project.clone().unwrap_or_default(), output })
    };
    match arguments.command {
        Command::Demo(demo) => crate::demo::run(demo, output).await,
        Command::Up(up) => up::run(up, output).await,
        Command::Login => login::run(&global, output).await,
        Command::Projects(command) => projects::run(command, &session()?).await,
        Command::Models(command) => models::run(command, &session()?).await,
        Command::Agents(crate::args::Agents::Check { folder }) => agents::check(&folder, output),
        Command::Agents(command) => agents::run(command, &session()?).await,
        Command::Sessions(command) => sessions::run(command, &session()?).await,
        Command::Approvals(command) => approvals::run(command, &session()?).await,
        Command::Budgets(command) => budgets::run(command, &session()?).await,
        Command::Receipts(crate::args::Receipts::Verify { file, trust, rpc }) => {
            receipts::verify(&file, trust.as_deref(), rpc.as_deref(), output).await
        }
        Command::Receipts(command) => receipts::run(command, &session()?).await,
        Command::Logs(logs) => sessions::logs(&logs, &session()?).await,
        Command::Actors(command) => actors::run(command, &session()?).await,
        Command::Store(command) => store::run(command, output).await,
        Command::Cluster(command) => cluster::run(command, output),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "steward", &mut std::io::stdout());
            Ok(())
        }
    }
}

/// Tells a person, or with `--json` a program, what went wrong. Exit code 1; 2 is the parser's own.
pub fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    let chain: Vec<String> = error
        .chain()
        .map(|cause| cause.downcast_ref::<tonic::Status>().map_or_else(|| cause.to_string(), client::explain))
        .collect();
    let text = chain.join(": ");
    if output.is_json() {
        output.line(serde_json::json!({ "error": text }).to_string());
    } else {
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{} {text}", output.paint(Tone::Bad, "error:"));
    }
    ExitCode::FAILURE
}
