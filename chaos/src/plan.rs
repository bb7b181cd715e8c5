//! What a run does, as a TOML file.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;

/// A run.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Sessions that work at the same time.
    pub sessions: u32,
    /// Messages that each gets, one after the other, again and again until the kills are done.
    pub messages: u32,
    /// How often the node is killed.
    pub kills: u32,
    /// The shortest life of a node.
    #[serde(with = "humantime_serde")]
    pub life_min: Duration,
    /// The longest life of a node.
    #[serde(with = "humantime_serde")]
    pub life_max: Duration,
    /// What the random choices start from.
    pub seed: u64,
}

impl Plan {
    /// Reads a plan.
    ///
    /// # Errors
    /// Names the file, and what is wrong in it.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
        let plan: Self = toml::from_str(&text).with_context(|| format!("{} is no plan", file.display()))?;
        ensure!(plan.sessions > 0 && plan.messages > 0, "{}: sessions and messages are at least 1", file.display());
        ensure!(plan.life_min <= plan.life_max, "{}: life_min is longer than life_max", file.display());
        Ok(plan)
    }
}
