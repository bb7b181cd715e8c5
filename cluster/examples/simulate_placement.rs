//! Simulates the placement of shards and of models' replicas at the size of large clusters: how long it takes and how
//! much it moves.

use std::collections::BTreeMap;
use std::time::Duration;

use steward_cluster::NodeState;
use steward_cluster::placement::{
    DeviceLoad, Member, Release, Replica, ReplicaPlan, ReplicaWish, place, place_replicas,
};
use steward_inference::DeviceKind;
use steward_types::{Clock, ModelId, NodeId, SystemClock};

fn main() {
    let clock = SystemClock::new();
    print("| nodes | shards | change | moves | least possible | time of one plan (ms) | most over fair share |");
    print("|---|---|---|---|---|---|---|");
    for (nodes, shards) in [(3, 1_024), (30, 1_024), (100, 10_000), (1_000, 10_000), (1_000, 100_000)] {
        simulate(&clock, nodes, shards);
    }
    print("");
    print("| nodes | models | replicas | change | replicas that move | no room | time of one plan (ms) |");
    print("|---|---|---|---|---|---|---|");
    for (nodes, models) in [(30, 20), (100, 50), (1_000, 200), (1_000, 1_000)] {
        simulate_replicas(&clock, nodes, models);
    }
}

/// Nodes of 80 GB each, models of 2 to 40 GB with 1 to 16 replicas.
fn simulate_replicas(clock: &SystemClock, nodes: u16, models: u16) {
    let device = |number| DeviceLoad {
        node: member(number).id,
        zone: String::new(),
        device: "gpu0".to_owned(),
        kind: DeviceKind::Gpu,
        memory_free_bytes: 80 << 30,
        load_permille: u32::from(number) % 1_000,
    };
    let all: Vec<DeviceLoad> = (0..nodes).map(device).collect();
    let wish = |number: u16| ReplicaWish {
        model: format!("model-{number}").parse().unwrap_or_else(|_| unreachable!("the name is one")),
        weights_bytes: (2 + u64::from(number) * 7 % 30) << 30,
        kv_bytes: (1 + u64::from(number) * 3 % 8) << 30,
        replicas: 1 + u32::from(number) % 16,
        present: Vec::new(),
        there: Vec::new(),
        refused: Vec::new(),
    };
    let mut wishes: Vec<ReplicaWish> = (0..models).map(wish).collect();
    let replicas: u32 = wishes.iter().map(|wish| wish.replicas).sum();
    let report = |change: &str, devices: &[DeviceLoad], wishes: &[ReplicaWish]| {
        let began = clock.monotonic();
        let plan = place_replicas(devices, wishes);
        let time = millis(clock.monotonic() - began);
        let moves: usize = wishes.iter().map(|wish| new_places(&plan, wish)).sum();
        let missing: u32 = plan.unplaced.iter().map(|unplaced| unplaced.replicas).sum();
        print(&format!("| {nodes} | {models} | {replicas} | {change} | {moves} | {missing} | {time:.2} |"));
        plan
    };
    let plan = report("start", &all, &wishes);
    // What is in place is taken from its device, as a cluster counts it.
    let mut taken = BTreeMap::<Replica, u64>::new();
    for wish in &mut wishes {
        wish.present = plan.placed.get(&wish.model).cloned().unwrap_or_default();
        wish.present.iter().for_each(|at| *taken.entry(at.clone()).or_default() += wish.weights_bytes + wish.kv_bytes);
    }
    let gone = member(nodes / 2).id;
    let mut left: Vec<DeviceLoad> = all.into_iter().filter(|device| device.node != gone).collect();
    for device in &mut left {
        let at = Replica { node: device.node, device: device.device.clone() };
        device.memory_free_bytes -= taken.get(&at).copied().unwrap_or(0);
    }
    report("one node dies", &left, &wishes);
}

/// Replicas of a model that are where there was none.
fn new_places(plan: &ReplicaPlan, wish: &ReplicaWish) -> usize {
    let model: &ModelId = &wish.model;
    plan.placed.get(model).into_iter().flatten().filter(|at| !wish.present.contains(at)).count()
}

fn simulate(clock: &SystemClock, nodes: u16, shards: usize) {
    let all: Vec<Member> = (0..nodes).map(member).collect();
    let report = |change: &str, members: &[Member], before: &[Option<NodeId>], least: usize| {
        let began = clock.monotonic();
        let after = place(members, before, &BTreeMap::new());
        let time = clock.monotonic() - began;
        let moves = before.iter().zip(&after).filter(|(before, after)| before != after).count();
        let over = most_over(members, &after);
        print(&format!("| {nodes} | {shards} | {change} | {moves} | {least} | {:.2} | {over:.2} |", millis(time)));
        after
    };
    let full = report("start", &all, &vec![None; shards], shards);
    let held = |owners: &[Option<NodeId>], id: NodeId| owners.iter().filter(|owner| **owner == Some(id)).count();
    let gone = &all[usize::from(nodes) / 2];
    let fewer: Vec<Member> = all.iter().filter(|member| member.id != gone.id).cloned().collect();
    let without = report("one node dies", &fewer, &full, held(&full, gone.id));
    let share = shards / usize::from(nodes);
    report("it comes back", &all, &without, share);
    let zone: Vec<Member> = all.iter().filter(|member| member.zone != "zone-0").cloned().collect();
    let zone_held = all.iter().filter(|member| member.zone == "zone-0").map(|member| held(&full, member.id)).sum();
    report("one zone of three dies", &zone, &full, zone_held);
}

fn member(number: u16) -> Member {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let zone = format!("zone-{}", number % 3);
    Member { id: NodeId::from_bytes(id), weight: 1, zone, release: Release([0, 1, 0]), state: NodeState::Up }
}

/// How many shards more than its fair share the fullest node has.
fn most_over(members: &[Member], owners: &[Option<NodeId>]) -> f64 {
    let mut held = BTreeMap::<NodeId, usize>::new();
    owners.iter().flatten().for_each(|owner| *held.entry(*owner).or_default() += 1);
    let fair = owners.len() as f64 / members.len() as f64;
    held.values().max().map_or(0.0, |&most| most as f64 - fair)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1_000.0
}

#[expect(clippy::print_stdout, reason = "the table is what the example is for")]
fn print(line: &str) {
    println!("{line}");
}
