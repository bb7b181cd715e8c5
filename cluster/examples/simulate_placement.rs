//! Simulates the placement of shards at the size of large clusters: how long it takes and how much it moves.

use std::collections::BTreeMap;
use std::time::Duration;

use steward_cluster::NodeState;
use steward_cluster::placement::{Member, Release, place};
use steward_types::{Clock, NodeId, SystemClock};

fn main() {
    let clock = SystemClock::new();
    print("| nodes | shards | change | moves | least possible | time of one plan (ms) | most over fair share |");
    print("|---|---|---|---|---|---|---|");
    for (nodes, shards) in [(3, 1_024), (30, 1_024), (100, 10_000), (1_000, 10_000), (1_000, 100_000)] {
        simulate(&clock, nodes, shards);
    }
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
