//! The killer: SIGKILL after a random life, again and again, noting whether it hit work in flight.

use std::sync::atomic::Ordering;

use rand::Rng as _;
use rand_chacha::ChaCha8Rng;
use steward::process::NodeProcess;
use steward_types::{Clock as _, SystemClock};

use crate::plan::Plan;
use crate::workload::Load;

/// What the killing did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kills {
    /// How often the node was killed.
    pub done: u32,
    /// How many of them hit at least one turn in flight.
    pub hit: u32,
}

/// Kills and restarts the node as often as the plan says; `each` hears of every kill.
///
/// # Errors
/// When the node had died by itself, or does not start again.
pub async fn kill(
    node: &mut NodeProcess,
    plan: &Plan,
    load: &Load,
    random: &mut ChaCha8Rng,
    mut each: impl FnMut(Kills),
) -> anyhow::Result<Kills> {
    let (clock, mut kills) = (SystemClock::new(), Kills::default());
    while kills.done < plan.kills {
        clock.sleep(random.random_range(plan.life_min..=plan.life_max)).await;
        let in_flight = load.in_flight.load(Ordering::SeqCst);
        node.kill().await?;
        kills.done += 1;
        kills.hit += u32::from(in_flight > 0);
        each(kills);
        node.start_again().await?;
    }
    Ok(kills)
}
