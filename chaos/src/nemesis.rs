//! The nemesis: after a random life it kills or pauses one of the processes, again and again, noting whether it hit work
//! in flight.

use std::sync::atomic::Ordering;

use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use steward_types::{Clock as _, SystemClock};

use crate::fleet::Fleet;
use crate::plan::Plan;
use crate::workload::Load;

/// What can be done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL of a node, which starts again.
    Kill,
    /// SIGSTOP of a node for a while, then SIGCONT.
    Pause,
    /// SIGKILL of the store, or of one of its processes, which starts again.
    KillStore,
    /// SIGSTOP of the store, or of one of its processes, for a while, then SIGCONT.
    PauseStore,
    /// SIGTERM of a node, which drains and starts again.
    Drain,
}

/// What the nemesis did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// How often it struck.
    pub done: u32,
    /// How many of them hit at least one turn in flight.
    pub hit: u32,
    /// Nodes killed.
    pub kills: u32,
    /// Nodes paused.
    pub pauses: u32,
    /// Processes of the store killed.
    pub store_kills: u32,
    /// Processes of the store paused.
    pub store_pauses: u32,
    /// Nodes drained.
    pub drains: u32,
}

/// Strikes as often as the plan says; `each` hears of every time.
///
/// # Errors
/// When a process had died by itself, or does not start again.
pub async fn strike(
    fleet: &mut Fleet,
    plan: &Plan,
    load: &Load,
    random: &mut ChaCha8Rng,
    mut each: impl FnMut(Faults),
) -> anyhow::Result<Faults> {
    let (clock, mut faults) = (SystemClock::new(), Faults::default());
    let mut round: Vec<Fault> = Vec::new();
    while faults.done < plan.kills {
        clock.sleep(random.random_range(plan.life_min..=plan.life_max)).await;
        let hit = load.in_flight.load(Ordering::SeqCst) > 0;
        if round.is_empty() {
            // Round by round, so that a short run has every kind too.
            round.clone_from(&plan.faults);
            round.shuffle(random);
        }
        let fault = round.pop().unwrap_or(Fault::Kill);
        let victim = random.random_range(0..fleet.nodes.len());
        let down = random.random_range(plan.down_min..=plan.down_max);
        let node = &mut fleet.nodes[victim];
        match (fault, &mut fleet.store) {
            (Fault::KillStore, Some(store)) => {
                store.kill_and_start_again(random.random_range(0..store.size())).await?;
                faults.store_kills += 1;
            }
            (Fault::PauseStore, Some(store)) => {
                let process = random.random_range(0..store.size());
                store.pause(process).await?;
                faults.store_pauses += 1;
                clock.sleep(down).await;
                store.resume(process).await?;
            }
            (Fault::Pause, _) => {
                node.pause().await?;
                faults.pauses += 1;
                clock.sleep(down).await;
                node.resume().await?;
            }
            (Fault::Drain, _) => {
                node.terminate().await?;
                faults.drains += 1;
                node.start_again().await?;
            }
            (Fault::Kill | Fault::KillStore | Fault::PauseStore, _) => {
                node.kill().await?;
                faults.kills += 1;
                clock.sleep(down).await;
                node.start_again().await?;
            }
        }
        faults.done += 1;
        faults.hit += u32::from(hit);
        each(faults);
    }
    Ok(faults)
}
