//! `steward-chaos`: runs plans that kill real nodes under load and say whether the promise held, and measures what a
//! cluster does when nodes die, when the machine is busy, and when it is asked for too much.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use steward::output::{Output, Tone};
use steward_chaos::measure::failover::failover;
use steward_chaos::measure::overload::{MEMORY_BUDGET_KIB, Places, overload};
use steward_chaos::measure::recovery::recovery;
use steward_chaos::measure::rolling::rolling;
use steward_chaos::measure::stage::Binaries;
use steward_chaos::measure::starved::starved;
use steward_chaos::run::Programs;
use steward_chaos::store::StoreChoice;
use steward_chaos::{Plan, run};
use steward_storage_fdb::devcluster::SERVER_VARIABLE;

#[derive(Debug, Parser)]
#[command(name = "steward-chaos", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// The steward binary [default: beside this one]
    #[arg(long, global = true)]
    steward: Option<PathBuf>,
    /// Print what was found as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a plan
    Run(Run),
    /// Kill the owner of an entity again and again; measure how long the entity is away
    Failover {
        /// How often
        #[arg(long, default_value_t = 30)]
        count: u32,
    },
    /// Keep every core busy beside a cluster; count the nodes that are taken for dead
    Starved {
        /// How long
        #[arg(long = "for", default_value = "10m", value_parser = humantime_serde::re::humantime::parse_duration)]
        time: Duration,
    },
    /// Restart every node in turn under load; count the calls that fail
    Rolling {
        /// How often each node
        #[arg(long, default_value_t = 1)]
        rounds: u32,
        /// Clients that call
        #[arg(long, default_value_t = 8)]
        clients: usize,
        /// Restart with this binary: an upgrade [default: the same]
        #[arg(long)]
        next_binary: Option<PathBuf>,
    },
    /// Give a cluster ten times its load; measure and judge the calls that are admitted, and memory
    Overload {
        /// What a node may take beside its models' memory, in MiB
        #[arg(long, default_value_t = MEMORY_BUDGET_KIB / 1024)]
        memory_budget_mib: u64,
        /// How long each load
        #[arg(long = "for", default_value = "1m", value_parser = humantime_serde::re::humantime::parse_duration)]
        time: Duration,
        /// What each node works on at once [default: four for each processor, shared by three nodes]
        #[arg(long)]
        turns_at_work: Option<usize>,
        /// How long a message waits for a place there
        #[arg(long, default_value = "50ms", value_parser = humantime_serde::re::humantime::parse_duration)]
        turn_wait: Duration,
    },
    /// Kill one of three nodes whose sessions all wait for one moment; measure until each has had its turn
    Recovery {
        /// How many sessions
        #[arg(long, default_value_t = 100_000)]
        sessions: u64,
    },
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
    /// The anvil binary
    #[arg(long, env = "STEWARD_ANVIL")]
    anvil: PathBuf,
    /// The fdbserver binary, for a run that starts FoundationDB
    #[arg(long, env = SERVER_VARIABLE)]
    fdbserver: Option<PathBuf>,
}

fn main() -> ExitCode {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    match steward::runtime::run(command(arguments, output)) {
        Ok(Ok(true)) => ExitCode::SUCCESS,
        Ok(Ok(false)) => ExitCode::FAILURE,
        Ok(Err(error)) => steward::commands::report(&error, output),
        Err(error) => steward::commands::report(&anyhow::Error::new(error), output),
    }
}

/// Does what was asked for. Says whether what it promises held.
async fn command(arguments: Arguments, output: Output) -> anyhow::Result<bool> {
    let beside = std::env::current_exe()?.with_file_name("steward");
    let steward = arguments.steward.unwrap_or(beside);
    let folder = tempfile::tempdir()?;
    match arguments.command {
        Command::Run(run) => chaos(run, steward, output).await,
        Command::Failover { count } => {
            let bar = output.progress("failovers", u64::from(count));
            let measured = failover(&steward, folder.path(), count, |done| bar.set_position(u64::from(done))).await;
            bar.finish_and_clear();
            print(&measured?, output).map(|()| true)
        }
        Command::Starved { time } => {
            let measured = starved(&steward, folder.path(), time).await?;
            print(&measured, output)?;
            Ok(measured.is_good())
        }
        Command::Rolling { rounds, clients, next_binary } => {
            let binaries = Binaries { next: next_binary.unwrap_or_else(|| steward.clone()), steward };
            let measured = rolling(&binaries, folder.path(), rounds, clients).await?;
            print(&measured, output)?;
            Ok(measured.is_good())
        }
        Command::Recovery { sessions } => {
            let bar = output.progress("sessions", sessions);
            let measured = recovery(&steward, folder.path(), sessions, |done| bar.set_position(done)).await;
            bar.finish_and_clear();
            let measured = measured?;
            print(&measured, output)?;
            Ok(measured.is_exact)
        }
        Command::Overload { time, memory_budget_mib, turns_at_work, turn_wait } => {
            let places = Places { turns_at_work: turns_at_work.unwrap_or_else(Places::fair_share), turn_wait };
            let measured = overload(&steward, folder.path(), time, memory_budget_mib * 1024, places).await?;
            print(&measured, output)?;
            Ok(measured.findings().is_empty())
        }
    }
}

fn print(measured: &(impl serde::Serialize + std::fmt::Display), output: Output) -> anyhow::Result<()> {
    let text = if output.is_json() { serde_json::to_string(measured)? } else { measured.to_string() };
    output.line(text);
    Ok(())
}

async fn chaos(arguments: Run, steward: PathBuf, output: Output) -> anyhow::Result<bool> {
    let mut plan = Plan::read(&arguments.plan)?;
    plan.kills = arguments.kills.unwrap_or(plan.kills);
    plan.seed = arguments.seed.unwrap_or(plan.seed);
    plan.store = arguments.store.unwrap_or(plan.store);
    plan.check_store()?;
    let programs = Programs { steward, anvil: arguments.anvil, fdbserver: arguments.fdbserver };
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
