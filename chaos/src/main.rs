//! `steward-chaos run PLAN`: kills a real node at random points under load and says whether the promise held.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use steward::output::{Output, Tone};
use steward_chaos::run::Programs;
use steward_chaos::store::StoreChoice;
use steward_chaos::{Plan, run};
use steward_storage_fdb::devcluster::SERVER_VARIABLE;

#[derive(Debug, Parser)]
#[command(name = "steward-chaos", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a plan
    Run(Run),
}

#[derive(Debug, Args)]
struct Run {
    /// The plan (TOML)
    plan: PathBuf,
    /// Strike so many times, whatever the plan says
    #[arg(long)]
    kills: Option<u32>,
    /// Make the random choices from this, whatever the plan says
    #[arg(long)]
    seed: Option<u64>,
    /// Let the nodes share this store, whatever the plan says: served, foundationdb, foundationdb:PROCESSES, or
    /// fdb:CLUSTER_FILE
    #[arg(long)]
    store: Option<StoreChoice>,
    /// The steward binary [default: beside this one]
    #[arg(long)]
    steward: Option<PathBuf>,
    /// The anvil binary
    #[arg(long, env = "STEWARD_ANVIL")]
    anvil: PathBuf,
    /// The fdbserver binary, for a run that starts FoundationDB
    #[arg(long, env = SERVER_VARIABLE)]
    fdbserver: Option<PathBuf>,
    /// Print the report as JSON
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Command::Run(arguments) = Arguments::parse().command;
    let output = Output::new(arguments.json);
    match chaos(arguments, output).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => steward::commands::report(&error, output),
    }
}

async fn chaos(arguments: Run, output: Output) -> anyhow::Result<bool> {
    let mut plan = Plan::read(&arguments.plan)?;
    plan.kills = arguments.kills.unwrap_or(plan.kills);
    plan.seed = arguments.seed.unwrap_or(plan.seed);
    plan.store = arguments.store.unwrap_or(plan.store);
    plan.check_store()?;
    let beside = std::env::current_exe()?.with_file_name("steward");
    let programs = Programs {
        steward: arguments.steward.unwrap_or(beside),
        anvil: arguments.anvil,
        fdbserver: arguments.fdbserver,
    };
    let folder = tempfile::tempdir()?;
    let bar = output.progress("faults", u64::from(plan.kills));
    let report = run(&plan, &programs, folder.path(), |faults| bar.set_position(u64::from(faults.done))).await;
    bar.finish_and_clear();
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            let kept = folder.keep();
            return Err(error).with_context(|| format!("the run broke off; its folder is {}", kept.display()));
        }
    };
    if output.is_json() {
        output.line(serde_json::to_string(&report)?);
    } else {
        let tone = if report.is_good() { Tone::Good } else { Tone::Bad };
        output.line(output.paint(tone, report.to_string()));
    }
    if !report.is_good() {
        output.line(format!("the run's folder is {}", folder.keep().display()));
    }
    Ok(report.is_good())
}
