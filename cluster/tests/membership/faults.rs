//! What happens to shards when nodes die, stand still, or lose the store.

use std::sync::atomic::Ordering;
use std::time::Duration;

use steward_actors::lease::{Lease, LeaseError};
use steward_cluster::NodeState;
use steward_storage::{Isolation, Store, StoreError};

use super::world::{Reach, TestNode, World};

fn state_of(observer: &TestNode, node: steward_types::NodeId) -> NodeState {
    observer.cluster().map().view().members[&node].state
}

#[tokio::test]
async fn survivors_take_over_what_a_dead_node_had() {
    let world = World::new(256);
    let (first, second, mut third) = (world.join().await, world.join().await, world.join().await);
    world.settled(&[&first, &second, &third]).await;
    let (dead, lease, store) = (third.id(), third.cluster().lease(), std::sync::Arc::clone(&third.store));
    let shard = *third.held().first().unwrap();
    let stale = store.begin();
    lease.check(&stale, shard).await.unwrap();
    stale.set(b"row", b"stale").unwrap();
    let killed_at = steward_types::Clock::monotonic(&*world.clock);
    third.kill();
    world.settled(&[&first, &second]).await;
    let failover = steward_types::Clock::monotonic(&*world.clock) - killed_at;
    assert!(failover <= Duration::from_millis(1_900), "{failover:?}");
    assert_eq!(state_of(&first, dead), NodeState::Down);
    // What it began before cannot commit, and what it begins now cannot even read.
    assert!(matches!(stale.commit().await, Err(StoreError::Conflict)));
    let late = store.begin();
    assert!(matches!(lease.check(&late, shard).await, Err(LeaseError::Lost { .. })));
    assert_eq!(world.store.begin().get(b"row", Isolation::Snapshot).await.unwrap(), None);
}

#[tokio::test]
async fn a_node_that_stood_still_finds_itself_lost_and_comes_back() {
    let world = World::new(64);
    let (first, second) = (world.join().await, world.join().await);
    world.settled(&[&first, &second]).await;
    let had = second.held();
    assert_eq!(second.hooks.running.lock().len(), had.len());
    second.pause();
    world.until("the first has all", || first.held().len() == 64).await;
    // It does not believe in its leases from the moment it goes on, before any of its tasks has run.
    assert!(second.held().is_empty());
    second.resume();
    world.until("it stopped its entities", || second.hooks.lost.load(Ordering::Relaxed) == had.len()).await;
    world.settled(&[&first, &second]).await;
    assert_eq!(state_of(&first, second.id()), NodeState::Up);
    assert_eq!(second.hooks.running.lock().len(), 32);
}

#[tokio::test]
async fn a_node_that_is_cut_off_stops_its_entities_before_others_start_them() {
    for reach in [Reach::Failing, Reach::Hanging, Reach::Deaf] {
        let world = World::new(64);
        let (first, second) = (world.join().await, world.join().await);
        world.settled(&[&first, &second]).await;
        second.set_reach(reach);
        if reach == Reach::Deaf {
            // Its beats arrive, so nobody takes its shards, and only it does not know.
            world.until("it gave up", || second.hooks.lost.load(Ordering::Relaxed) == 32).await;
            assert_eq!(first.held().len(), 32);
        } else {
            world.until("the first has begun to take over", || first.held().len() > 32).await;
            assert_eq!(second.hooks.lost.load(Ordering::Relaxed), 32, "{reach:?}");
            assert!(second.hooks.running.lock().is_empty());
        }
        second.set_reach(Reach::Whole);
        world.settled(&[&first, &second]).await;
        world.until("it runs its share", || second.hooks.running.lock().len() == 32).await;
    }
}

#[tokio::test]
async fn an_outage_of_the_store_heals_without_anybody_taking_anything() {
    let world = World::new(64);
    let nodes = [world.join().await, world.join().await, world.join().await];
    world.settled(&nodes.each_ref()).await;
    let had = nodes.each_ref().map(TestNode::held);
    nodes.iter().for_each(|node| node.set_reach(Reach::Failing));
    world.until("all gave up", || nodes.iter().all(|node| node.hooks.running.lock().is_empty())).await;
    world.pass(Duration::from_secs(10)).await;
    nodes.iter().for_each(|node| node.set_reach(Reach::Whole));
    world.settled(&nodes.each_ref()).await;
    assert_eq!(nodes.each_ref().map(TestNode::held), had, "each has taken its own again");
}

#[tokio::test]
async fn a_store_that_is_slow_for_all_costs_nobody_its_shards_again_and_again() {
    let world = World::new(64);
    let nodes = [world.join().await, world.join().await, world.join().await];
    world.settled(&nodes.each_ref()).await;
    let had = nodes.each_ref().map(TestNode::held);
    let lost = || nodes.iter().map(|node| node.hooks.lost.load(Ordering::Relaxed)).sum::<usize>();
    nodes.iter().for_each(|node| node.set_reach(Reach::Slow));
    world.pass(Duration::from_secs(20)).await;
    world.settled(&nodes.each_ref()).await;
    let before = lost();
    assert!(before <= 64, "{before} shards were given up before the nodes knew that the store is slow");
    world.pass(Duration::from_secs(60)).await;
    assert_eq!(lost(), before);
    assert_eq!(nodes.each_ref().map(TestNode::held), had, "nobody has taken anything");
}

#[tokio::test]
async fn a_second_process_under_the_same_id_ends_the_first() {
    let world = World::new(16);
    let first = world.join().await;
    world.settled(&[&first]).await;
    let second = world.join_with(|config| config.identity.id = first.id()).await;
    world.until("the first has ended", || first.cluster().is_replaced()).await;
    world.settled(&[&second]).await;
    assert!(first.held().is_empty() && first.hooks.running.lock().is_empty());
}
