//! Ten times the load: what it does to the calls that are admitted, and to the nodes' memory.

use std::fmt;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;
use steward_types::{Clock as _, SystemClock};

use super::load::Load;
use super::quantile::millis;
use super::stage::{NODES, Stage};
use crate::registers::AGENT;

/// Clients of the normal load; overload has [`TIMES`] as many.
const CLIENTS: usize = 8;
/// How much more the overload is.
const TIMES: usize = 10;
/// What a node may take beside its models' memory, as docs/operations.md says: resident, in KiB.
pub const MEMORY_BUDGET_KIB: u64 = 512 * 1024;
/// What makes times even; more would do more, each later.
const PLACES_A_PROCESSOR: usize = 4;
/// How much more than that is still within it, in percent.
const OVER_BUDGET_PERCENT: u64 = 10;
/// How often the normal 99th percentile that of admitted calls may be.
const LATER_MAX: u128 = 2;
/// How often memory is looked at.
const LOOK_TIME: Duration = Duration::from_millis(500);

/// How much each node lets in: so much that the processors are busy, and no more, so that what is let in is soon done.
#[derive(Debug, Clone, Copy)]
pub struct Places {
    /// The nodes' `turns_at_work`.
    pub turns_at_work: usize,
    /// The nodes' `turn_wait`.
    pub turn_wait: Duration,
}

impl Places {
    /// Four for each processor, shared by the nodes of one machine.
    pub fn fair_share() -> usize {
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        (PLACES_A_PROCESSOR * processors).div_ceil(NODES as usize)
    }
}

/// One load and what it did.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// Clients that called one call after the other.
    pub clients: usize,
    /// Calls that were answered, by how long they took.
    pub calls: Vec<Duration>,
    /// Calls that a node refused, since it had enough to do.
    pub refused: usize,
    /// Calls that failed otherwise.
    pub failed: usize,
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
    /// What a node may take, in KiB.
    pub memory_budget_kib: u64,
}

impl Overload {
    /// What did not hold: memory within the budget and a tenth, and admitted calls within twice the normal time.
    pub fn findings(&self) -> Vec<String> {
        let most = self.memory_budget_kib.saturating_mul(100 + OVER_BUDGET_PERCENT) / 100;
        let phases = [("normal", &self.normal), ("overload", &self.overload)];
        let failed = phases.iter().filter(|(_, phase)| phase.failed > 0);
        let failed = failed.map(|(name, phase)| format!("{} calls failed under the {name} load", phase.failed));
        let idle = phases.iter().filter(|(_, phase)| phase.calls.is_empty());
        let idle = idle.map(|(name, _)| format!("no call was answered under the {name} load"));
        let large = phases.iter().filter(|(_, phase)| phase.memory_kib_max > most);
        let large = large.map(|(name, phase)| {
            format!("under the {name} load a node took {} KiB, and {most} are the most", phase.memory_kib_max)
        });
        let [normal, overload] = [&self.normal, &self.overload].map(|phase| millis(&phase.calls, 990));
        let late = (overload > normal.max(1) * LATER_MAX)
            .then(|| format!("p99 of admitted calls is {overload} ms, and {normal} ms normally"));
        idle.chain(failed).chain(large).chain(late).collect()
    }
}

impl fmt::Display for Overload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, phase) in [("normal", &self.normal), ("overload", &self.overload)] {
            let [middle, late] = [500, 990].map(|quantile| millis(&phase.calls, quantile));
            let Phase { clients, calls, refused, failed, memory_kib_max } = phase;
            let (calls, mebibytes) = (calls.len(), memory_kib_max / 1024);
            writeln!(
                f,
                "{name}: {clients} clients, {calls} calls answered (p50 {middle} ms, p99 {late} ms), {refused} refused, {failed} failed; \
                 {mebibytes} MiB at most in a node"
            )?;
        }
        let [normal, overload] = [&self.normal, &self.overload].map(|phase| millis(&phase.calls, 990).max(1));
        write!(f, "p99 under overload is {:.1} times the normal one", overload as f64 / normal as f64)?;
        self.findings().iter().try_for_each(|finding| write!(f, "\nnot met: {finding}"))
    }
}

/// Measures a normal load, then ten times as much, each for `time`.
///
/// # Errors
/// When a part does not start or end.
pub async fn overload(
    steward: &Path,
    folder: &Path,
    time: Duration,
    memory_budget_kib: u64,
    places: Places,
) -> anyhow::Result<Overload> {
    let Places { turns_at_work, turn_wait } = places;
    let turn_wait = humantime_serde::re::humantime::format_duration(turn_wait);
    let more = format!("turns_at_work = {turns_at_work}\nturn_wait = \"{turn_wait}\"\n");
    let stage = Stage::start_with(steward, folder, AGENT, &more).await?;
    let normal = phase(&stage, CLIENTS, time).await?;
    let overload = phase(&stage, CLIENTS * TIMES, time).await?;
    stage.fleet.stop().await?;
    Ok(Overload { normal, overload, memory_budget_kib })
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
    let refused = load.refused();
    let (calls, failures) = load.stop().await;
    Ok(Phase { clients, calls, refused, failed: failures.len(), memory_kib_max })
}

/// How much memory a process has, as the kernel says.
pub(super) fn resident_kib(process: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a process has memory")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS is a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phase(p99_ms: u64, memory_kib_max: u64) -> Phase {
        let calls = vec![Duration::from_millis(p99_ms); 100];
        Phase { clients: 8, calls, refused: 0, failed: 0, memory_kib_max }
    }

    #[test]
    fn memory_over_the_budget_and_a_tenth_and_calls_twice_as_late_are_findings() {
        let check = |normal: Phase, overload: Phase, expected: &[&str]| {
            let found = Overload { normal, overload, memory_budget_kib: 1_000 }.findings();
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (finding, expected) in found.iter().zip(expected) {
                assert!(finding.contains(expected), "{finding}");
            }
        };
        check(phase(10, 900), phase(20, 1_100), &[]);
        check(phase(10, 900), phase(20, 1_101), &["1101 KiB"]);
        check(phase(10, 900), phase(21, 900), &["21 ms"]);
        check(
            phase(10, 900),
            Phase { refused: 7, failed: 1, ..phase(20, 900) },
            &["1 calls failed under the overload"],
        );
        check(Phase { calls: Vec::new(), ..phase(0, 1) }, phase(2, 1), &["no call was answered under the normal"]);
    }
}
