//! What a run does, as a TOML file.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

use crate::nemesis::Fault;
use crate::store::StoreChoice;

const fn one() -> u32 {
    1
}

const fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

fn kill() -> Vec<Fault> {
    vec![Fault::Kill]
}

/// A run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Sessions that work at the same time.
    pub sessions: u32,
    /// Messages that each gets, one after the other, again and again until the kills are done.
    pub messages: u32,
    /// How many nodes there are; several share a store and are a cluster.
    #[serde(default = "one")]
    pub nodes: u32,
    /// The store that several nodes share: `served`, `foundationdb` or `foundationdb:PROCESSES`, which the run starts, or
    /// `fdb:CLUSTER_FILE`, which others run.
    #[serde(default)]
    pub store: StoreChoice,
    /// How often the nemesis strikes.
    pub kills: u32,
    /// How it strikes: all of these in a random order, round by round.
    #[serde(default = "kill")]
    pub faults: Vec<Fault>,
    /// The shortest life of a node.
    #[serde(with = "humantime_serde")]
    pub life_min: Duration,
    /// The longest life of a node.
    #[serde(with = "humantime_serde")]
    pub life_max: Duration,
    /// The shortest time that a node is away or paused.
    #[serde(default, with = "humantime_serde")]
    pub down_min: Duration,
    /// The longest.
    #[serde(default, with = "humantime_serde")]
    pub down_max: Duration,
    /// The same for kinds of faults that differ.
    #[serde(default)]
    pub down: BTreeMap<Fault, Down>,
    /// Append-only registers whose histories are checked for linearizability.
    #[serde(default)]
    pub registers: u32,
    /// How soon after the faults everything goes on.
    #[serde(default = "ten_seconds", with = "humantime_serde")]
    pub heals_within: Duration,
    /// What the random choices start from.
    pub seed: u64,
}

/// How long a fault lasts.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Down {
    /// At least.
    #[serde(with = "humantime_serde")]
    pub min: Duration,
    /// At most.
    #[serde(with = "humantime_serde")]
    pub max: Duration,
}

impl Plan {
    /// How long a fault of this kind lasts.
    pub fn down(&self, fault: Fault) -> RangeInclusive<Duration> {
        let Down { min, max } =
            self.down.get(&fault).copied().unwrap_or(Down { min: self.down_min, max: self.down_max });
        min..=max
    }

    /// Reads a plan.
    ///
    /// # Errors
    /// Names the file, and what is wrong in it.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let plan: Self = toml::from_str(&text).with_context(|| format!("{} is no plan", file.display()))?;
        ensure!(plan.sessions > 0 && plan.messages > 0, "{}: sessions and messages are at least 1", file.display());
        ensure!(plan.nodes > 0, "{}: nodes is at least 1", file.display());
        ensure!(plan.life_min <= plan.life_max, "{}: life_min is longer than life_max", file.display());
        ensure!(plan.down_min <= plan.down_max, "{}: down_min is longer than down_max", file.display());
        let turned = plan.down.iter().find(|(_, down)| down.min > down.max);
        ensure!(turned.is_none(), "{}: down: min is longer than max for {turned:?}", file.display());
        let wanting = plan.faults.iter().find(|fault| fault.wants_cluster());
        ensure!(plan.nodes > 1 || wanting.is_none(), "{}: {wanting:?} asks for several nodes", file.display());
        plan.check_store().with_context(|| file.display().to_string())?;
        Ok(plan)
    }

    /// Checks that the store can be hit as the plan says.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn check_store(&self) -> anyhow::Result<()> {
        let hit = self.faults.iter().any(|fault| matches!(fault, Fault::KillStore | Fault::PauseStore));
        let cut = self.faults.iter().any(|fault| matches!(fault, Fault::CutStore | Fault::CutStoreOneWay));
        ensure!(self.nodes > 1 || self.store == StoreChoice::Served, "a store is shared by several nodes");
        ensure!(self.store.is_ours() || !hit, "kill_store and pause_store ask for a store that the run starts");
        ensure!(self.store == StoreChoice::Served || !cut, "cut_store and cut_store_one_way ask for the served store");
        Ok(())
    }
}
