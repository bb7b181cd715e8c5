//! Draining, leaving and what operators do.

use std::sync::atomic::Ordering;
use std::time::Duration;

use steward_cluster::{ClusterError, NodeState};

use super::world::World;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_drained_node_has_released_each_shard_and_lost_none() {
    let world = World::new(96);
    let nodes = [world.join().await, world.join().await, world.join().await];
    world.settled(&nodes.each_ref()).await;
    let before = nodes[0].hooks.released.load(Ordering::Relaxed);
    nodes[0].cluster().drain(MINUTE).await.unwrap();
    assert_eq!(nodes[0].hooks.released.load(Ordering::Relaxed) - before, 32);
    world.settled(&[&nodes[1], &nodes[2]]).await;
    assert!(nodes.iter().all(|node| node.hooks.lost.load(Ordering::Relaxed) == 0));
    nodes[0].cluster().undrain().await.unwrap();
    world.settled(&nodes.each_ref()).await;
    nodes[0].cluster().drain(MINUTE).await.unwrap();
    nodes[0].cluster().leave().await.unwrap();
    world
        .until("the others know", || nodes[1].cluster().map().view().members[&nodes[0].id()].state == NodeState::Left)
        .await;
    assert!(nodes.iter().all(|node| node.hooks.lost.load(Ordering::Relaxed) == 0));
}

#[tokio::test]
async fn a_drain_says_why_it_does_not_end() {
    let world = World::new(8);
    let first = world.join().await;
    world.settled(&[&first]).await;
    assert!(matches!(first.cluster().drain(MINUTE).await, Err(ClusterError::Alone)));
    assert_eq!(first.held().len(), 8);
    let second = world.join_with(|config| config.timing.release_time = MINUTE).await;
    world.settled(&[&second]).await;
    first.cluster().undrain().await.unwrap();
    world.settled(&[&first, &second]).await;
    *second.hooks.release_time.lock() = Duration::from_secs(50);
    let late = second.cluster().drain(Duration::from_secs(1)).await;
    assert!(matches!(late, Err(ClusterError::DrainTimeout { left: 4 })), "{late:?}");
}

#[tokio::test]
async fn entities_that_do_not_finish_in_time_are_stopped_and_their_shard_moves() {
    let mut world = World::new(8);
    world.timing.release_time = Duration::from_secs(2);
    let first = world.join().await;
    world.settled(&[&first]).await;
    *first.hooks.release_time.lock() = Duration::from_secs(3_600);
    let second = world.join().await;
    world.settled(&[&first, &second]).await;
    assert_eq!(first.hooks.lost.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn an_operator_moves_a_shard_and_it_stays_there() {
    let world = World::new(8);
    let (first, mut second) = (world.join().await, world.join().await);
    world.settled(&[&first, &second]).await;
    let shard = *first.held().first().unwrap();
    first.cluster().move_shard(shard, second.id()).await.unwrap();
    world.until("it moved", || second.held().contains(&shard)).await;
    world.pass(MINUTE).await;
    assert!(second.held().contains(&shard));
    let unknown = first.cluster().move_shard(8, second.id()).await;
    assert!(matches!(unknown, Err(ClusterError::UnknownShard { shard: 8, last: 7 })));
    second.kill();
    world.until("the first has all", || first.held().len() == 8).await;
    assert!(first.cluster().map().view().pins.is_empty());
}

#[tokio::test]
async fn an_evicted_node_that_lives_joins_again() {
    let world = World::new(32);
    let (first, second) = (world.join().await, world.join().await);
    world.settled(&[&first, &second]).await;
    first.cluster().evict(second.id()).await.unwrap();
    world.until("it stopped its entities", || second.hooks.lost.load(Ordering::Relaxed) == 16).await;
    world.settled(&[&first, &second]).await;
    let in_place = || first.cluster().shards().iter().all(|shard| shard.owner.is_some() && shard.owner == shard.target);
    world.until("the first sees it", in_place).await;
    let members = first.cluster().members();
    assert_eq!(members.iter().map(|member| member.shards).collect::<Vec<_>>(), [16, 16]);
}
