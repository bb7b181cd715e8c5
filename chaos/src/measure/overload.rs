//! Ten times the load: what it does to the calls that are admitted, and to the nodes' memory.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use steward_types::{Clock as _, SystemClock};

use super::load::Load;
use super::quantile::millis;
use super::stage::Stage;

/// Clients of the normal load; overload has [`TIMES`] as many.
const CLIENTS: usize = 8;
/// How much more the overload is.
const TIMES: usize = 10;
/// How often memory is looked at.
const LOOK_TIME: Duration = Duration::from_millis(500);

/// One load and what it did.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// Clients that called one call after the other.
    pub clients: usize,
    /// Calls that were answered, by how long they took.
    pub calls: Vec<Duration>,
    /// Calls that were refused or failed.
    pub refused: usize,
    /// The most memory that one node had, in KiB.
    pub memory_kib_max: u64,
}

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Overload {
    /// The normal load.
    pub normal: Phase,
    /// Ten times as much.
    pub overload: Phase,
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, phase) in [("normal", &self.normal), ("overload", &self.overload)] {
            let [middle, late] = [500, 990].map(|quantile| millis(&phase.calls, quantile));
            let Phase { clients, calls, refused, memory_kib_max } = phase;
            let (calls, mebibytes) = (calls.len(), memory_kib_max / 1024);
            writeln!(
                f,
                "{name}: {clients} clients, {calls} calls answered (p50 {middle} ms, p99 {late} ms), {refused} refused; \
                 {mebibytes} MiB at most in a node"
            )?;
        }
        let [normal, overload] = [&self.normal, &self.overload].map(|phase| millis(&phase.calls, 990).max(1));
        write!(f, "p99 under overload is {:.1} times the normal one", overload as f64 / normal as f64)
    }
}

/// Measures a normal load, then ten times as much, each for `time`.
///
/// # Errors
/// When a part does not start or end.
pub async fn overload(steward: &Path, folder: &Path, time: Duration) -> anyhow::Result<Overload> {
    let stage = Stage::start(steward, folder).await?;
    let normal = phase(&stage, CLIENTS, time).await?;
    let overload = phase(&stage, CLIENTS * TIMES, time).await?;
    stage.fleet.stop().await?;
    Ok(Overload { normal, overload })
}

async fn phase(stage: &Stage, clients: usize, time: Duration) -> anyhow::Result<Phase> {
    let (clock, load) = (SystemClock::new(), Load::start(stage, clients));
    let mut memory_kib_max = 0;
    while clock.monotonic() < time {
        clock.sleep(LOOK_TIME).await;
        for node in &stage.fleet.nodes {
            memory_kib_max = memory_kib_max.max(resident_kib(node.id())?);
        }
    }
    let (calls, failures) = load.stop().await;
    Ok(Phase { clients, calls, refused: failures.len(), memory_kib_max })
}

/// How much memory a process has, as the kernel says.
pub(super) fn resident_kib(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has memory")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is a number")
}
