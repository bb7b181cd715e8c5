//! Random faults under writers that never stop: whatever happens to the nodes, each shard's history is one line.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use steward_actors::lease::{Lease, LeaseError};
use steward_cluster::shard::ShardRecord;
use steward_cluster::{ShardLease, ShardMap};
use steward_storage::{Isolation, Store, StoreExt, key};
use steward_types::{Clock, Entropy, NodeId, SeededEntropy};
use tokio::task::JoinSet;

use super::world::{Reach, TestNode, World};

const SHARDS: u32 = 12;
const NODES: usize = 4;
const EVENTS: usize = 40;

/// What the writers were told.
#[derive(Default)]
struct Told {
    acknowledged: BTreeMap<u32, BTreeSet<u64>>,
    refused: u64,
}

#[derive(Clone)]
struct Writer {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    lease: ShardLease,
    map: ShardMap,
    numbers: Arc<AtomicU64>,
    told: Arc<Mutex<Told>>,
}

impl Writer {
    fn new(world: &World, node: &TestNode, numbers: &Arc<AtomicU64>, told: &Arc<Mutex<Told>>) -> Self {
        let (lease, map) = (node.cluster().lease(), node.cluster().map().clone());
        let clock = Arc::clone(&world.clock) as Arc<dyn Clock>;
        Self { store: Arc::clone(&node.store), clock, lease, map, numbers: Arc::clone(numbers), told: Arc::clone(told) }
    }

    /// Appends to whatever the node has held at any time, and so goes on as a stale owner would.
    async fn run(self) {
        let mut ever_held = BTreeSet::new();
        loop {
            ever_held.extend((0..SHARDS).filter(|&shard| self.map.mine(shard).is_some()));
            for &shard in &ever_held {
                self.append(shard).await;
            }
            self.clock.sleep(Duration::from_millis(50)).await;
        }
    }

    async fn append(&self, shard: u32) {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let before = self.told.lock().acknowledged.get(&shard).map_or(0, BTreeSet::len);
        let appended = self
            .store
            .run(|txn| async move {
                self.lease.check(&txn, shard).await?;
                let record = txn.load::<ShardRecord>(&key::pack(&("cluster", "shard", shard))).await?;
                let epoch = record.map_or(0, |record| record.epoch);
                let row = txn.get(&row_key(shard), Isolation::Serializable).await?.unwrap_or_default();
                let mut row: Vec<[u8; 24]> = row.chunks_exact(24).map(|entry| entry.try_into().unwrap()).collect();
                assert!(row.len() >= before, "a read did not see what was acknowledged before it began");
                if !row.iter().any(|entry| entry[..8] == number.to_be_bytes()) {
                    row.push(entry(number, epoch, self.map.node()));
                }
                txn.set(&row_key(shard), &row.concat())?;
                Ok::<_, LeaseError>(())
            })
            .await;
        let mut told = self.told.lock();
        match appended {
            Ok(()) => assert!(told.acknowledged.entry(shard).or_default().insert(number)),
            Err(LeaseError::Lost { .. }) => told.refused += 1,
            Err(LeaseError::Store(_)) => {}
        }
    }
}

fn row_key(shard: u32) -> Vec<u8> {
    key::pack(&("history", shard))
}

fn entry(number: u64, epoch: u64, node: NodeId) -> [u8; 24] {
    let mut entry = [0; 24];
    entry[..8].copy_from_slice(&number.to_be_bytes());
    entry[8..16].copy_from_slice(&epoch.to_be_bytes());
    entry[16..].copy_from_slice(&node.as_bytes()[..8]);
    entry
}

const FAULTS: [&str; 7] = ["restarted", "replaced", "evicted", "paused", "cut off", "answers lost", "healed"];

/// One fault of a random node, or the end of all.
async fn befall(world: &World, nodes: &mut [TestNode], fault: &str, entropy: &SeededEntropy) {
    let which = usize::try_from(entropy.next_u64() % NODES as u64).unwrap();
    let id = nodes[which].id();
    match fault {
        "restarted" => {
            nodes[which].kill();
            nodes[which] = world.join_with(|config| config.identity.id = id).await;
        }
        "replaced" => {
            nodes[which].kill();
            nodes[which] = world.join().await;
        }
        "evicted" => {
            let operator = (which + 1) % NODES;
            nodes[operator].resume();
            nodes[operator].cluster().evict(id).await.unwrap();
        }
        "paused" => nodes[which].pause(),
        "cut off" => nodes[which].set_reach(Reach::Failing),
        "answers lost" => nodes[which].set_reach(Reach::Deaf),
        _ => nodes.iter().for_each(TestNode::resume),
    }
}

async fn check(seed: u64) {
    let world = World::new(SHARDS);
    let (numbers, told) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(Told::default())));
    let entropy = SeededEntropy::new(seed);
    let mut writers = JoinSet::new();
    let mut nodes = Vec::new();
    for _ in 0..NODES {
        nodes.push(world.join().await);
    }
    nodes.iter().for_each(|node| drop(writers.spawn(Writer::new(&world, node, &numbers, &told).run())));
    let mut fired = BTreeSet::new();
    for round in 0..EVENTS {
        // Each once, so that none is missed, then as they come.
        let random = usize::try_from(entropy.next_u64() % FAULTS.len() as u64).unwrap();
        let fault = FAULTS.get(round).copied().unwrap_or(FAULTS[random]);
        befall(&world, &mut nodes, fault, &entropy).await;
        fired.insert(fault);
        if matches!(fault, "restarted" | "replaced") {
            let node = nodes.iter().max_by_key(|node| node.number).unwrap();
            writers.spawn(Writer::new(&world, node, &numbers, &told).run());
        }
        world.pass(Duration::from_millis(entropy.next_u64() % 3_000)).await;
        assert!(writers.try_join_next().is_none(), "a writer has ended");
    }
    assert_eq!(fired.len(), FAULTS.len(), "every fault has fired");
    nodes.iter().for_each(TestNode::resume);
    world.settled(&nodes.iter().collect::<Vec<_>>()).await;
    let before = told.lock().acknowledged.values().map(BTreeSet::len).sum::<usize>();
    world.pass(Duration::from_secs(5)).await;
    writers.shutdown().await;
    let told = std::mem::take(&mut *told.lock());
    assert!(told.acknowledged.values().map(BTreeSet::len).sum::<usize>() > before, "it makes progress after healing");
    assert!(told.refused > 0, "a stale owner has tried");
    assert!(nodes.iter().any(|node| node.hooks.lost.load(Ordering::Relaxed) > 0));
    for shard in 0..SHARDS {
        verify(&world, shard, &told.acknowledged[&shard]).await;
    }
}

/// Each number is there once, all that were acknowledged are, and no owner writes after a later one.
async fn verify(world: &World, shard: u32, acknowledged: &BTreeSet<u64>) {
    let row = world.store.begin().get(&row_key(shard), Isolation::Snapshot).await.unwrap().unwrap_or_default();
    let mut numbers = BTreeSet::new();
    let mut owners: Vec<&[u8]> = Vec::new();
    for entry in row.chunks_exact(24) {
        assert!(numbers.insert(u64::from_be_bytes(entry[..8].try_into().unwrap())), "an append happened twice");
        if owners.last() != Some(&&entry[8..]) {
            owners.push(&entry[8..]);
        }
    }
    assert!(acknowledged.is_subset(&numbers), "an acknowledged append is gone");
    let epochs: Vec<&[u8]> = owners.iter().map(|owner| &owner[..8]).collect();
    assert!(epochs.is_sorted_by(|a, b| a < b), "epochs of shard {shard} do not rise, or two nodes share one");
}

#[tokio::test]
async fn random_faults_leave_one_history_per_shard() {
    for seed in 1..=4 {
        check(seed).await;
    }
}
