//! A rolling restart, or upgrade: each node in turn drains, ends and starts again while clients call, and no call fails.
//! The clients know of it by the nodes' readiness alone.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use steward_types::{Clock as _, SystemClock};

use super::load::Load;
use super::quantile::millis;
use super::stage::{Binaries, Stage};

/// The time between two restarts.
const CALM_TIME: Duration = Duration::from_secs(2);

/// What was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Rolled {
    /// Nodes that were restarted.
    pub restarts: u32,
    /// How long each took to drain and end.
    pub drains: Vec<Duration>,
    /// How often the clients found a node not ready that had been.
    pub taken_off: usize,
    /// Calls that no node had accepted, and that went to the next one.
    pub turned_away: usize,
    /// Calls that were answered, by how long they took.
    pub calls: Vec<Duration>,
    /// What calls failed with.
    pub failures: Vec<String>,
}

impl Rolled {
    /// Whether no call failed, and each restart was one that the clients noticed.
    pub fn is_good(&self) -> bool {
        self.failures.is_empty() && !self.calls.is_empty() && self.taken_off >= self.restarts as usize
    }
}

impl fmt::Display for Rolled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [middle, late] = [500, 990].map(|quantile| millis(&self.calls, quantile));
        let (restarts, calls, failed) = (self.restarts, self.calls.len(), self.failures.len());
        let (drains, taken_off, turned_away) = (millis(&self.drains, 1000), self.taken_off, self.turned_away);
        write!(
            f,
            "{restarts} nodes restarted, the slowest drained in {drains} ms; {calls} calls (p50 {middle} ms, p99 {late} ms), \
             {failed} failed; {taken_off} times a node was found not ready, {turned_away} calls were not accepted and went elsewhere"
        )?;
        self.failures.iter().take(10).try_for_each(|failure| write!(f, "\nfailed: {failure}"))
    }
}

/// Restarts every node so many times under the load of so many clients.
///
/// # Errors
/// When a part does not start or end.
pub async fn rolling(binaries: &Binaries, folder: &Path, rounds: u32, clients: usize) -> anyhow::Result<Rolled> {
    let (mut stage, clock) = (Stage::start(&binaries.steward, folder).await?, SystemClock::new());
    let load = Load::start(&stage, clients);
    let mut rolled = Rolled {
        restarts: 0,
        drains: Vec::new(),
        taken_off: 0,
        turned_away: 0,
        calls: Vec::new(),
        failures: Vec::new(),
    };
    clock.sleep(CALM_TIME).await;
    for _ in 0..rounds {
        for node in &mut stage.fleet.nodes {
            let began = clock.monotonic();
            node.terminate().await?;
            rolled.drains.push(clock.monotonic().saturating_sub(began));
            node.replace_binary(binaries.next.clone());
            node.start_again().await?;
            rolled.restarts += 1;
            clock.sleep(CALM_TIME).await;
        }
    }
    (rolled.taken_off, rolled.turned_away) = (load.taken_off(), load.turned_away());
    (rolled.calls, rolled.failures) = load.stop().await;
    stage.fleet.stop().await?;
    Ok(rolled)
}
