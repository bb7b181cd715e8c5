//! How nodes that are well share the shards.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::world::World;

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
