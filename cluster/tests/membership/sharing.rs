//! How nodes that are well share the shards.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use steward_actors::host::EntityId;
use steward_actors::lease::{Lease as _, shard_of};
use steward_cluster::ClusterError;

use super::world::{TestNode, World};

#[tokio::test]
async fn a_lone_node_takes_every_shard_in_few_transactions() {
    let world = World::new(1_024);
    let node = world.join().await;
    world.settled(&[&node]).await;
    assert!(node.commits.load(Ordering::Relaxed) < 40, "{}", node.commits.load(Ordering::Relaxed));
    assert_eq!(node.hooks.running.lock().len(), 1_024);
    node.cluster().ready().await;
    let owner = node.cluster().map().owner(7).unwrap();
    assert_eq!((owner.node, owner.address.as_str(), owner.epoch), (node.id(), "127.0.0.1:1", 1));
}

#[tokio::test]
async fn nodes_that_join_at_once_claim_each_shard_once() {
    let world = World::new(256);
    let (first, second, third) = tokio::join!(world.join(), world.join(), world.join());
    let nodes = [&first, &second, &third];
    world.settled(&nodes).await;
    let held: Vec<BTreeSet<u32>> = nodes.iter().map(|node| node.held()).collect();
    assert_eq!(held.iter().flatten().collect::<BTreeSet<_>>().len(), 256);
    assert!(nodes.iter().all(|node| node.hooks.lost.load(Ordering::Relaxed) == 0));
}

#[tokio::test]
async fn a_joining_node_gets_its_share_a_few_shards_at_a_time() {
    let mut world = World::new(120);
    world.timing.moves_in_flight_max = 6;
    let first = world.join().await;
    let second = world.join().await;
    world.settled(&[&first, &second]).await;
    assert!(first.hooks.releasing_most.load(Ordering::Relaxed) <= 6);
    let before: usize = [&first, &second].map(|node| node.hooks.released.load(Ordering::Relaxed)).iter().sum();
    first.hooks.releasing_most.store(0, Ordering::Relaxed);
    let third = world.join().await;
    world.settled(&[&first, &second, &third]).await;
    // Two have something to give, so that each moves half as many as the cluster may.
    for node in [&first, &second] {
        assert!((1..=6).contains(&node.hooks.releasing_most.load(Ordering::Relaxed)));
    }
    let after: usize = [&first, &second].map(|node| node.hooks.released.load(Ordering::Relaxed)).iter().sum();
    assert_eq!(after - before, 40, "a join moves its share and no more");
    assert!([&first, &second, &third].iter().all(|node| node.hooks.lost.load(Ordering::Relaxed) == 0));
}

#[tokio::test]
async fn an_idle_cluster_writes_only_beats() {
    let world = World::new(64);
    let first = world.join().await;
    let second = world.join().await;
    world.settled(&[&first, &second]).await;
    world.pass(Duration::from_secs(1)).await;
    let version = first.cluster().map().view().version;
    let before = [&first, &second].map(|node| node.commits.load(Ordering::Relaxed));
    world.pass(Duration::from_secs(30)).await;
    for (node, before) in [&first, &second].into_iter().zip(before) {
        let beats = node.commits.load(Ordering::Relaxed) - before;
        assert!((90..=101).contains(&beats), "{beats} commits in 30 s");
        node.cluster().map().refresh().await.unwrap();
        assert_eq!(node.cluster().map().view().version, version);
    }
}

#[tokio::test]
async fn a_cluster_keeps_the_number_of_shards_that_it_began_with() {
    let world = World::new(96);
    let first = world.join().await;
    let follows = world.join_with(|config| config.shards = None).await;
    assert_eq!(follows.cluster().map().count(), 96);
    let refused = world.try_join(|config| config.shards = Some(64)).await.err().unwrap();
    assert!(matches!(refused, ClusterError::OtherShards { asked: 64, has: 96 }), "{refused}");
    world.settled(&[&first, &follows]).await;
    let session = EntityId::new("ses_1").unwrap();
    let shard = |node: &TestNode| node.cluster().lease().shard_of("session", &session);
    assert_eq!(
        (shard(&first), shard(&follows)),
        (shard_of("session", &session, 96), shard_of("session", &session, 96))
    );
}

#[tokio::test]
async fn ten_thousand_shards_are_shared_and_taken_over() {
    let world = World::new(10_000);
    let (first, second, mut third) = tokio::join!(world.join(), world.join(), world.join());
    shared(&world, &[&first, &second, &third]).await;
    third.kill();
    shared(&world, &[&first, &second]).await;
    for node in [&first, &second] {
        assert_eq!(node.hooks.lost.load(Ordering::Relaxed), 0, "the survivors lose nothing");
    }
}

/// Waits until the nodes share all shards, and looks once a simulated second, because looking at so many takes long.
async fn shared(world: &World, nodes: &[&TestNode]) {
    for _ in 0..120 {
        world.pass(Duration::from_secs(1)).await;
        let held: Vec<usize> = nodes.iter().map(|node| node.held().len()).collect();
        let fair = world.shards as usize / nodes.len();
        let is_fair = held.iter().all(|held| held.abs_diff(fair) <= 1);
        if is_fair && held.iter().sum::<usize>() == world.shards as usize {
            return;
        }
    }
    panic!("the shards are not shared after two simulated minutes");
}
