//! The nemesis: after a random life it strikes a process or the network, again and again, noting whether it hit work
//! in flight and whether the blow was felt; after each round it sees to it that everything goes on.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use steward_types::{Clock as _, SystemClock};

use crate::fleet::Fleet;
use crate::network::{Cut, Network};
use crate::plan::Plan;
use crate::pulse::Healed;
use crate::workload::Load;

/// How long a run waits for what does not heal in the time that it promises, to say by how much.
const HEALING_WAIT_MAX: Duration = Duration::from_secs(120);

/// What can be done to a process or to the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
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
    /// Two nodes do not hear each other for a while.
    Cut,
    /// One node is not heard by another for a while.
    CutOneWay,
    /// A node and the store do not hear each other for a while.
    CutStore,
    /// A node is not heard by the store, or does not hear it, for a while.
    CutStoreOneWay,
    /// The connections that others have to a node, and its own to the store, are reset.
    Reset,
}

impl Fault {
    /// Whether it asks for several nodes and a store beside them.
    pub fn wants_cluster(self) -> bool {
        !matches!(self, Self::Kill | Self::Pause | Self::Drain)
    }
}

/// How often one kind of fault fired.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// How often.
    pub done: u32,
    /// How often it was seen to bite: a process was gone or stood still, bytes were held back, connections were reset.
    pub felt: u32,
}

/// What the nemesis did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// How often it struck.
    pub done: u32,
    /// How many of them hit at least one turn in flight.
    pub hit: u32,
    /// The same by kind.
    pub kinds: BTreeMap<Fault, Tally>,
    /// Bytes that cuts held back.
    pub withheld_bytes: u64,
    /// Connections that were reset.
    pub connections_reset: usize,
    /// After each round: how long it took until every worker had finished something that ended after the faults.
    pub healed: Vec<Healed>,
    /// Who had not finished anything in time after a round.
    pub unhealed: Vec<String>,
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
    mut each: impl FnMut(&Faults),
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
        let felt = blow(fleet, fault, plan, random).await?;
        let tally = faults.kinds.entry(fault).or_default();
        tally.done += 1;
        tally.felt += u32::from(felt);
        faults.done += 1;
        faults.hit += u32::from(hit);
        if let Some(network) = &fleet.network {
            (faults.withheld_bytes, faults.connections_reset) = (network.withheld(), network.resets());
        }
        if plan.nodes > 1 && (round.is_empty() || faults.done == plan.kills) {
            match load.pulse.all(HEALING_WAIT_MAX).await {
                Ok(healed) => faults.healed.push(healed),
                Err(late) => faults.unhealed.extend(late),
            }
        }
        each(&faults);
    }
    Ok(faults)
}

/// One blow, and its end. Says whether it bit.
async fn blow(fleet: &mut Fleet, fault: Fault, plan: &Plan, random: &mut ChaCha8Rng) -> anyhow::Result<bool> {
    let clock = SystemClock::new();
    let count = fleet.nodes.len();
    let victim = random.random_range(0..count);
    let down = random.random_range(plan.down(fault));
    let node = &mut fleet.nodes[victim];
    match fault {
        Fault::Kill => {
            node.kill().await?;
            clock.sleep(down).await;
            node.start_again().await?;
        }
        Fault::Pause => {
            node.pause().await?;
            clock.sleep(down).await;
            node.resume().await?;
        }
        Fault::Drain => {
            node.terminate().await?;
            node.start_again().await?;
        }
        Fault::KillStore => {
            let store = fleet.store.as_mut().context("a run that kills the store has one")?;
            store.kill_and_start_again(random.random_range(0..store.size())).await?;
        }
        Fault::PauseStore => {
            let store = fleet.store.as_mut().context("a run that pauses the store has one")?;
            let process = random.random_range(0..store.size());
            store.pause(process).await?;
            clock.sleep(down).await;
            store.resume(process).await?;
        }
        Fault::Cut | Fault::CutOneWay | Fault::CutStore | Fault::CutStoreOneWay => {
            let network = fleet.network.as_ref().context("a run that cuts has several nodes")?;
            let other = (victim + random.random_range(1..count)) % count;
            let cut = match fault {
                Fault::Cut => Cut::Nodes(victim, other),
                Fault::CutOneWay => Cut::NodesOneWay(victim, other),
                Fault::CutStore => Cut::Store(victim),
                _ if random.random() => Cut::ToStore(victim),
                _ => Cut::FromStore(victim),
            };
            return Ok(cut_off(network, cut, down).await);
        }
        Fault::Reset => {
            let network = fleet.network.as_ref().context("a run that resets has several nodes")?;
            let before = network.resets();
            network.reset(victim);
            // The connections' tasks count what they saw; the store's connection always stands.
            steward::process::until("a reset", async || (network.resets() > before).then_some(())).await?;
        }
    }
    Ok(true)
}

/// Cuts for a while. Says whether anything was held back.
async fn cut_off(network: &Network, cut: Cut, down: Duration) -> bool {
    let before = network.withheld();
    network.cut(cut);
    SystemClock::new().sleep(down).await;
    let felt = network.withheld() > before;
    network.heal();
    felt
}
