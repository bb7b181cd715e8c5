//! Which device should hold which replica of a model: best fit on memory, the context's cache included, with the
//! replicas of one model in different zones as far as there are zones, and on different nodes as far as there are nodes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use steward_inference::DeviceKind;
use steward_types::{ModelId, NodeId};

/// A device and what is free of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceLoad {
    /// The node that has it. A node that drains is left out by the caller.
    pub node: NodeId,
    /// What fails together with the node, such as a rack; empty: nothing else does.
    #[serde(default)]
    pub zone: String,
    /// Its name on that node.
    pub device: String,
    /// What it is.
    #[serde(default)]
    pub kind: DeviceKind,
    /// Bytes free for replicas; what is there already of the wished models counts as taken.
    pub memory_free_bytes: u64,
    /// How busy it is, in thousandths.
    pub load_permille: u32,
}

/// How many replicas of a model there should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaWish {
    /// The model.
    pub model: ModelId,
    /// Bytes of its weights.
    pub weights_bytes: u64,
    /// Bytes of cache for the sequences that a replica runs at once.
    pub kv_bytes: u64,
    /// How many replicas.
    pub replicas: u32,
    /// Where there are replicas now; they stay as long as they are wished and their device is there.
    pub present: Vec<Replica>,
    /// Devices that have one whether it is wished there or not: another one there takes no more of them.
    #[serde(default)]
    pub there: Vec<Replica>,
    /// Devices that cannot have it, whatever room they have.
    #[serde(default)]
    pub refused: Vec<Replica>,
}

/// A place of a replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// The node.
    pub node: NodeId,
    /// The device on that node.
    pub device: String,
}

/// Where the replicas of all models should be.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ReplicaPlan {
    /// The devices of each model's replicas, in order.
    pub placed: BTreeMap<ModelId, Vec<Replica>>,
    /// What found no room.
    pub unplaced: Vec<Unplaced>,
}

/// Replicas of a model that no device has room for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unplaced {
    /// The model.
    pub model: ModelId,
    /// How many of its replicas are missing.
    pub replicas: u32,
    /// Bytes that each of them needs.
    pub needed_bytes: u64,
}

/// Places replicas. The largest models choose first, because they fit in the fewest places. A model's next replica goes
/// to a node that has none: to a graphics card if one has room, in a zone with the fewest of its replicas, there to the
/// device that it fills best, of those to the least busy.
pub fn place_replicas(devices: &[DeviceLoad], models: &[ReplicaWish]) -> ReplicaPlan {
    let mut sorted: Vec<&DeviceLoad> = devices.iter().collect();
    sorted.sort_by(|a, b| (a.node, &a.device).cmp(&(b.node, &b.device)));
    sorted.dedup_by(|a, b| (a.node, &a.device) == (b.node, &b.device));
    let mut room: Vec<Room<'_>> =
        sorted.into_iter().map(|device| Room { device, free: device.memory_free_bytes }).collect();
    let mut wishes: Vec<&ReplicaWish> = models.iter().collect();
    wishes.sort_by_key(|wish| (Reverse(needed(wish)), wish.model.clone()));
    let mut plan = ReplicaPlan::default();
    for wish in wishes {
        let mut replicas = kept(&room, wish);
        // A device that keeps a replica has its bytes taken already; one that loses a replica gives them back later.
        let mut search = Search::new(&room, wish, &replicas);
        while replicas.len() < wish.replicas as usize {
            let Some(at) = search.best(&room) else { break };
            room[at].free -= search.needed[at];
            replicas.push(room[at].replica());
            search.take(&room, at);
        }
        let missing = (wish.replicas as usize).saturating_sub(replicas.len());
        if missing > 0 {
            let replicas = u32::try_from(missing).unwrap_or(u32::MAX);
            plan.unplaced.push(Unplaced { model: wish.model.clone(), replicas, needed_bytes: needed(wish) });
        }
        replicas.sort_unstable();
        plan.placed.insert(wish.model.clone(), replicas);
    }
    plan
}

struct Room<'a> {
    device: &'a DeviceLoad,
    free: u64,
}

impl Room<'_> {
    /// What fails together: the zone, or the node where that says none.
    fn zone(&self) -> (&str, Option<NodeId>) {
        let zone = self.device.zone.as_str();
        (zone, zone.is_empty().then_some(self.device.node))
    }

    fn replica(&self) -> Replica {
        Replica { node: self.device.node, device: self.device.device.clone() }
    }
}

fn needed(wish: &ReplicaWish) -> u64 {
    wish.weights_bytes.saturating_add(wish.kv_bytes)
}

/// The present replicas that stay: on devices that are there, in as many zones and on as many nodes as possible when
/// there are too many.
fn kept(room: &[Room<'_>], wish: &ReplicaWish) -> Vec<Replica> {
    let there: BTreeMap<Replica, (&str, Option<NodeId>)> =
        room.iter().map(|room| (room.replica(), room.zone())).collect();
    let mut by_rank: Vec<((usize, usize), &Replica)> = Vec::new();
    let (mut in_zone, mut on_node) = (BTreeMap::new(), BTreeMap::<NodeId, usize>::new());
    let present: BTreeSet<&Replica> = wish.present.iter().filter(|replica| there.contains_key(*replica)).collect();
    for replica in present {
        let (zone, node) = (in_zone.entry(there[replica]).or_default(), on_node.entry(replica.node).or_default());
        by_rank.push(((*zone, *node), replica));
        *zone += 1;
        *node += 1;
    }
    by_rank.sort_unstable();
    by_rank.into_iter().take(wish.replicas as usize).map(|(_, replica)| replica.clone()).collect()
}

/// The search for places of one model's replicas.
struct Search {
    /// Devices that get none. A node holds at most one replica of a model, which all that come to the node share.
    barred: Vec<bool>,
    /// How many replicas there are in each device's zone.
    in_zone: Vec<usize>,
    /// Bytes that a replica takes of each device.
    needed: Vec<u64>,
}

impl Search {
    fn new(room: &[Room<'_>], wish: &ReplicaWish, kept: &[Replica]) -> Self {
        let taken: BTreeSet<&Replica> = wish.present.iter().chain(&wish.refused).chain(kept).collect();
        let mut in_zone = BTreeMap::new();
        let replicas: BTreeSet<&Replica> = kept.iter().collect();
        for room in room.iter().filter(|room| replicas.contains(&room.replica())) {
            *in_zone.entry(room.zone()).or_default() += 1;
        }
        let nodes: BTreeSet<NodeId> = kept.iter().map(|replica| replica.node).collect();
        let is_barred = |room: &Room<'_>| taken.contains(&room.replica()) || nodes.contains(&room.device.node);
        Self {
            barred: room.iter().map(is_barred).collect(),
            in_zone: room.iter().map(|room| in_zone.get(&room.zone()).copied().unwrap_or(0)).collect(),
            needed: room
                .iter()
                .map(|room| if wish.there.contains(&room.replica()) { 0 } else { needed(wish) })
                .collect(),
        }
    }

    /// A graphics card before a processor, a zone with the fewest replicas, there the device that is filled best, of those
    /// the least busy.
    fn best(&self, room: &[Room<'_>]) -> Option<usize> {
        let fits = |(at, room): &(usize, &Room<'_>)| room.free >= self.needed[*at] && !self.barred[*at];
        let rank = |(at, room): &(usize, &Room<'_>)| {
            (room.device.kind, self.in_zone[*at], room.free - self.needed[*at], room.device.load_permille, *at)
        };
        room.iter().enumerate().filter(fits).min_by_key(rank).map(|(at, _)| at)
    }

    fn take(&mut self, room: &[Room<'_>], at: usize) {
        let (node, zone) = (room[at].device.node, room[at].zone());
        for ((room, barred), in_zone) in room.iter().zip(&mut self.barred).zip(&mut self.in_zone) {
            *barred |= room.device.node == node;
            *in_zone += usize::from(room.zone() == zone);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    fn device(number: u8, name: &str, free: u64) -> DeviceLoad {
        let (zone, device, kind) = (String::new(), name.to_owned(), DeviceKind::Gpu);
        DeviceLoad { node: node(number), zone, device, kind, memory_free_bytes: free, load_permille: 0 }
    }

    fn wish(model: &str, bytes: u64, replicas: u32) -> ReplicaWish {
        let model = model.parse().unwrap();
        ReplicaWish {
            model,
            weights_bytes: bytes - bytes / 4,
            kv_bytes: bytes / 4,
            replicas,
            present: Vec::new(),
            there: Vec::new(),
            refused: Vec::new(),
        }
    }

    fn places(plan: &ReplicaPlan, model: &str) -> Vec<(NodeId, String)> {
        let replicas = &plan.placed[&model.parse().unwrap()];
        replicas.iter().map(|replica| (replica.node, replica.device.clone())).collect()
    }

    #[test]
    fn replicas_of_one_model_are_on_different_nodes() {
        let devices = [device(1, "gpu0", 100), device(1, "gpu1", 100), device(2, "gpu0", 400)];
        let two = place_replicas(&devices, &[wish("m", 90, 2)]);
        assert_eq!(places(&two, "m"), [(node(1), "gpu0".into()), (node(2), "gpu0".into())]);
        let four = place_replicas(&devices, &[wish("m", 90, 4)]);
        assert_eq!((four.placed.values().next().unwrap().len(), four.unplaced[0].replicas), (2, 2));
    }

    #[test]
    fn replicas_of_one_model_are_in_different_zones_before_they_are_on_different_nodes() {
        let in_zone =
            |number: u8, zone: &str, free: u64| DeviceLoad { zone: zone.to_owned(), ..device(number, "gpu0", free) };
        // By memory alone the second replica would go to node 2.
        let devices = [in_zone(1, "a", 90), in_zone(2, "a", 100), in_zone(3, "b", 400), in_zone(4, "b", 400)];
        let nodes = |count: u32, present: &[u8]| {
            let present = present.iter().map(|number| Replica { node: node(*number), device: "gpu0".into() }).collect();
            let plan = place_replicas(&devices, &[ReplicaWish { present, ..wish("m", 90, count) }]);
            places(&plan, "m").into_iter().map(|(node, _)| node).collect::<Vec<_>>()
        };
        assert_eq!(nodes(2, &[]), [node(1), node(3)]);
        assert_eq!(nodes(3, &[]), [node(1), node(2), node(3)]);
        assert_eq!(nodes(2, &[2]), [node(2), node(3)], "what is there stays, and the next is elsewhere");
        assert_eq!(nodes(2, &[1, 2, 3]), [node(1), node(3)], "of too many, those stay that are apart");
    }

    #[test]
    fn the_cache_counts_and_the_fullest_device_that_fits_is_taken() {
        let devices = [device(1, "gpu0", 79), device(2, "gpu0", 81), device(3, "gpu0", 200)];
        assert_eq!(places(&place_replicas(&devices, &[wish("m", 80, 1)]), "m"), [(node(2), "gpu0".into())]);
    }

    #[test]
    fn a_replica_that_is_there_stays_and_one_on_a_device_that_is_gone_moves() {
        let devices = [device(1, "gpu0", 0), device(2, "gpu0", 100), device(3, "gpu0", 90)];
        let present = [1, 9].map(|number| Replica { node: node(number), device: "gpu0".into() }).to_vec();
        let plan = place_replicas(&devices, &[ReplicaWish { present, ..wish("m", 80, 2) }]);
        assert_eq!(places(&plan, "m"), [(node(1), "gpu0".into()), (node(3), "gpu0".into())]);
    }

    #[test]
    fn a_graphics_card_is_taken_before_a_processor_while_there_is_room() {
        let processor = DeviceLoad { kind: DeviceKind::Processor, ..device(1, "cpu", 80) };
        let devices = [processor, device(1, "cuda:0", 500), device(2, "cuda:0", 79)];
        assert_eq!(places(&place_replicas(&devices, &[wish("m", 80, 1)]), "m"), [(node(1), "cuda:0".into())]);
        let full = [devices[0].clone(), device(1, "cuda:0", 10)];
        assert_eq!(places(&place_replicas(&full, &[wish("m", 80, 1)]), "m"), [(node(1), "cpu".into())]);
    }

    #[test]
    fn a_model_that_left_a_broken_card_stays_where_it_went_unless_another_card_has_room() {
        let processor = |free| DeviceLoad { kind: DeviceKind::Processor, ..device(1, "cpu", free) };
        // Its own bytes are taken already, so that none of them are free.
        let there = vec![Replica { node: node(1), device: "cpu".into() }];
        let wish = ReplicaWish { there, ..wish("m", 80, 1) };
        let alone = place_replicas(&[processor(0), device(2, "cuda:0", 79)], std::slice::from_ref(&wish));
        assert_eq!(places(&alone, "m"), [(node(1), "cpu".into())]);
        let beside = place_replicas(&[processor(0), device(2, "cuda:0", 80)], &[wish]);
        assert_eq!(places(&beside, "m"), [(node(2), "cuda:0".into())]);
    }

    #[test]
    fn a_device_that_refused_a_model_is_not_asked_again() {
        let devices = [device(1, "gpu0", 81), device(2, "gpu0", 200)];
        let refused = vec![Replica { node: node(1), device: "gpu0".into() }];
        let plan = place_replicas(&devices, &[ReplicaWish { refused, ..wish("m", 80, 1) }]);
        assert_eq!(places(&plan, "m"), [(node(2), "gpu0".into())]);
    }

    proptest! {
        #[test]
        fn no_device_is_filled_over_its_memory(
            memory in proptest::collection::vec((0u8..6, 0u64..200, 0u32..1_000), 0..12),
            wanted in proptest::collection::vec((4u64..150, 0u32..5), 0..8),
            seed in any::<u64>(),
        ) {
            let devices: Vec<DeviceLoad> = memory.iter().enumerate().map(|(at, &(number, free, load_permille))| {
                DeviceLoad { load_permille, ..device(number, &format!("gpu{at}"), free) }
            }).collect();
            let models: Vec<ReplicaWish> =
                wanted.iter().enumerate().map(|(at, &(bytes, count))| wish(&format!("m{at}"), bytes, count)).collect();
            let plan = place_replicas(&devices, &models);
            for device in &devices {
                let replica = Replica { node: device.node, device: device.device.clone() };
                let used: u64 = models.iter().filter(|m| plan.placed[&m.model].contains(&replica)).map(needed).sum();
                prop_assert!(used <= device.memory_free_bytes);
            }
            for model in &models {
                let missing = plan.unplaced.iter().find(|u| u.model == model.model).map_or(0, |u| u.replicas as usize);
                prop_assert_eq!(plan.placed[&model.model].len() + missing, model.replicas as usize);
            }
            let mut shuffled = devices.clone();
            shuffled.sort_by_key(|device| device.memory_free_bytes.wrapping_mul(seed | 1));
            prop_assert_eq!(place_replicas(&shuffled, &models), plan);
        }
    }
}
