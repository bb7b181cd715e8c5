//! What the placement of shards promises, over random clusters.

use std::collections::BTreeMap;

use proptest::prelude::*;
use steward_types::NodeId;

use super::{Member, Release, place};
use crate::member::NodeState;

type Owners = Vec<Option<NodeId>>;

fn member(number: u16, weight: u32) -> Member {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&number.to_be_bytes());
    let zone = format!("z{}", number % 3);
    Member { id: NodeId::from_bytes(id), weight, zone, release: Release([0, 1, 0]), state: NodeState::Up }
}

fn members(weights: &[u32]) -> Vec<Member> {
    (0..).zip(weights).map(|(number, &weight)| member(number, weight)).collect()
}

fn free(shards: usize) -> Owners {
    vec![None; shards]
}

fn plan(members: &[Member], current: &[Option<NodeId>]) -> Owners {
    place(members, current, &BTreeMap::new())
}

fn count(owners: &[Option<NodeId>], id: NodeId) -> usize {
    owners.iter().filter(|owner| **owner == Some(id)).count()
}

fn moves(before: &[Option<NodeId>], after: &[Option<NodeId>]) -> usize {
    before.iter().zip(after).filter(|(before, after)| before != after).count()
}

/// Everybody has the whole number below or above its fair share.
fn assert_balanced(members: &[Member], owners: &[Option<NodeId>]) {
    let up: Vec<&Member> = members.iter().filter(|member| member.state == NodeState::Up).collect();
    let total: u64 = up.iter().map(|member| u64::from(member.weight)).sum();
    for member in &up {
        let exact = owners.len() as u64 * u64::from(member.weight);
        let held = count(owners, member.id) as u64;
        assert!(held >= exact / total && held <= exact.div_ceil(total), "{held} of {exact}/{total}");
    }
    assert!(owners.iter().flatten().all(|owner| up.iter().any(|member| member.id == *owner)));
}

#[test]
fn a_release_is_ordered_by_its_numbers() {
    assert!(Release::parse("0.9.0") < Release::parse("0.10.0"));
    assert_eq!(Release::parse("1.2.3-beta"), Release([1, 2, 3]));
    assert_eq!(Release::parse("nonsense"), Release::default());
}

#[test]
fn a_draining_node_loses_all_and_a_joining_one_gets_nothing() {
    let mut nodes = members(&[1, 1, 1]);
    let before = plan(&nodes, &free(30));
    nodes[0].state = NodeState::Draining;
    nodes[1].state = NodeState::Joining;
    let after = plan(&nodes, &before);
    assert_eq!(count(&after, nodes[2].id), 30);
}

#[test]
fn shards_stay_where_they_are_when_nobody_is_up() {
    let mut nodes = members(&[1, 1]);
    let before = plan(&nodes, &free(10));
    nodes[0].state = NodeState::Draining;
    nodes[1].state = NodeState::Down;
    let after = plan(&nodes, &before);
    assert_eq!((count(&after, nodes[0].id), count(&after, nodes[1].id)), (5, 0));
    assert_eq!(plan(&[], &before), free(10));
}

#[test]
fn what_is_over_goes_to_different_zones_and_to_the_newest_release() {
    let mut nodes = members(&[1; 6]);
    let owners = plan(&nodes, &free(9));
    let mut zones: Vec<&str> =
        nodes.iter().filter(|node| count(&owners, node.id) == 2).map(|node| node.zone.as_str()).collect();
    zones.sort_unstable();
    assert_eq!(zones, ["z0", "z1", "z2"]);
    nodes[4].release = Release([0, 2, 0]);
    assert_eq!(count(&plan(&nodes, &free(7)), nodes[4].id), 2);
}

#[test]
fn a_pinned_shard_is_where_it_is_pinned_and_the_rest_is_balanced() {
    let nodes = members(&[1, 1, 1]);
    let before = plan(&nodes, &free(30));
    let shard = before.iter().position(|owner| *owner == Some(nodes[0].id)).unwrap();
    let pins = BTreeMap::from([(u32::try_from(shard).unwrap(), nodes[2].id), (99, nodes[2].id), (1, member(9, 1).id)]);
    let after = place(&nodes, &before, &pins);
    assert_eq!(after[shard], Some(nodes[2].id));
    assert_balanced(&nodes, &after);
    assert_eq!(moves(&before, &after), 2, "the pinned one, and one in return");
    let all: BTreeMap<u32, NodeId> = (0..30).map(|shard| (shard, nodes[1].id)).collect();
    assert_eq!(count(&place(&nodes, &before, &all), nodes[1].id), 30);
}

#[test]
fn weights_of_zero_get_nothing_unless_all_are_zero() {
    let some = members(&[0, 1, 1]);
    assert_eq!(count(&plan(&some, &free(10)), some[0].id), 0);
    let none = members(&[0, 0]);
    assert_eq!(count(&plan(&none, &free(10)), none[0].id), 5);
}

#[test]
fn ten_thousand_shards_on_a_thousand_nodes_are_balanced() {
    let mut nodes = members(&[3; 1_000]);
    let before = plan(&nodes, &free(10_000));
    assert_balanced(&nodes, &before);
    let gone = nodes.remove(17);
    let after = plan(&nodes, &before);
    assert_balanced(&nodes, &after);
    assert_eq!(moves(&before, &after), count(&before, gone.id));
}

proptest! {
    #[test]
    fn any_start_ends_balanced_and_stays(
        weights in proptest::collection::vec(1u32..20, 1..12),
        held in proptest::collection::vec(proptest::option::of(0usize..14), 0..200),
        states in proptest::collection::vec(0u8..4, 12),
    ) {
        let mut nodes = members(&weights);
        for (node, state) in nodes.iter_mut().zip(&states).skip(1) {
            node.state = if *state == 0 { NodeState::Draining } else { NodeState::Up };
        }
        let current: Owners = held.iter().map(|at| at.map(|at| member(u16::try_from(at).unwrap(), 1).id)).collect();
        let planned = plan(&nodes, &current);
        assert_balanced(&nodes, &planned);
        prop_assert_eq!(&plan(&nodes, &planned), &planned);
        let mut reversed = nodes.clone();
        reversed.reverse();
        prop_assert_eq!(&plan(&reversed, &current), &planned, "the order of members does not matter");
    }

    #[test]
    fn the_plan_does_not_change_while_it_is_carried_out(
        weights in proptest::collection::vec(1u32..20, 1..12),
        held in proptest::collection::vec(0usize..14, 0..200),
        order in any::<u64>(),
    ) {
        let nodes = members(&weights);
        let mut current: Owners = held.iter().map(|&at| Some(member(u16::try_from(at).unwrap(), 1).id)).collect();
        let planned = plan(&nodes, &current);
        let mut moving: Vec<usize> = (0..current.len()).filter(|&shard| current[shard] != planned[shard]).collect();
        moving.sort_by_key(|&shard| (shard as u64 + 1).wrapping_mul(order | 1));
        for shard in moving {
            current[shard] = planned[shard];
            prop_assert_eq!(&plan(&nodes, &current), &planned);
        }
    }

    #[test]
    fn a_join_moves_the_new_nodes_share_and_a_leave_only_what_the_old_one_had(
        weights in proptest::collection::vec(1u32..20, 2..12),
        shards in 0usize..300,
        which in any::<proptest::sample::Index>(),
    ) {
        let all = members(&weights);
        let which = which.index(all.len());
        let mut fewer = all.clone();
        let one = fewer.remove(which);
        let without = plan(&fewer, &free(shards));
        let with = plan(&all, &without);
        // With odd weights a share may shrink by more than the new node takes; the difference goes to another.
        let moved = moves(&without, &with);
        let taken = count(&with, one.id);
        prop_assert!(moved >= taken && moved - taken < all.len(), "a join");
        if weights.iter().all(|weight| *weight == weights[0]) {
            prop_assert_eq!(moved, taken, "a join among equals");
        }
        let after = plan(&fewer, &with);
        prop_assert_eq!(moves(&with, &after), count(&with, one.id), "a leave");
    }
}
