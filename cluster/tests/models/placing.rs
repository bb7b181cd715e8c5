//! Where replicas come to be: by memory, apart from each other, away from what drains or dies.

use std::collections::BTreeSet;

use steward_actors::service::{ModelCatalog, ModelState};
use steward_types::ErrorCode;

use super::world::{World, id, on};

const BIG: &str = "big-120000";
const SMALL: &str = "small-60000";
const HUGE: &str = "huge-900000";

#[tokio::test(flavor = "multi_thread")]
async fn a_model_goes_where_it_fits_best_and_what_fits_nowhere_is_told_how_much_is_missing() {
    let world = World::new();
    let files = [BIG, SMALL, HUGE];
    let (small, middle, large) = (
        world.node(1, 70_000, &files).await,
        world.node(2, 130_000, &files).await,
        world.node(3, 400_000, &files).await,
    );
    let added = small.add(BIG, "1").await.unwrap();
    assert!(matches!(added.state, ModelState::Ready(_)), "{added:?}");
    let board = small.until_on(&world, BIG, &[&middle]).await;
    // Two thirds are weights, which are taken; the rest is the cache's, which is kept free.
    let (_, machine) = board.living(middle.id).unwrap();
    assert_eq!(
        (machine.devices[0].total_bytes, machine.devices[0].used_bytes),
        (130_000, middle.device.snapshot().used_bytes)
    );
    middle.add(SMALL, "1").await.unwrap();
    middle.until_on(&world, SMALL, &[&small]).await;
    let refused = large.add(HUGE, "1").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::DeviceMemory);
    let expected =
        format!("each needs 900000 bytes, and the most that is free is 400000 bytes on gpu0 of {}", large.id);
    assert!(refused.to_string().contains(&expected), "{refused}");
    assert!(large.models.views().await.iter().all(|view| view.id != id(HUGE)), "what is nowhere is not offered");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_stand_apart_and_a_new_node_gets_its_own_of_what_is_wished_everywhere() {
    let world = World::new();
    let files = [BIG, SMALL];
    let (first, second) = (world.node(1, 400_000, &files).await, world.node(2, 400_000, &files).await);
    first.add(BIG, "2").await.unwrap();
    first.until_on(&world, BIG, &[&first, &second]).await;
    second.add(SMALL, "all").await.unwrap();
    let third = world.node(3, 400_000, &files).await;
    third.until_on(&world, SMALL, &[&first, &second, &third]).await;
    assert_eq!(on(&third.models.board(), BIG), BTreeSet::from([first.id, second.id]));
    // A wish may change; what is there of it stays.
    third.add(BIG, "1").await.unwrap();
    world.soon("one is left", third.models.until(|board| on(board, BIG).len() == 1)).await;
    first.models.remove(&id(SMALL)).await.unwrap();
    let is_gone = |board: &steward_cluster::models::Board| {
        on(board, SMALL).is_empty() && board.all_living().all(|(_, machine)| !machine.replicas.contains_key(&id(SMALL)))
    };
    world.soon("it is unloaded everywhere", first.models.until(is_gone)).await;
    assert!(second.device.snapshot().owners.keys().all(|owner| !owner.starts_with("small")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_the_file_says_so_and_another_is_chosen() {
    let world = World::new();
    // The best fit is the node that lacks the file.
    let (with, without) = (world.node(1, 400_000, &[BIG]).await, world.node(2, 130_000, &[]).await);
    with.add(BIG, "1").await.unwrap();
    with.until_on(&world, BIG, &[&with]).await;
    let board = with.models.board();
    let told = format!("{:?}", board.report(without.id, &id(BIG)));
    assert!(told.contains("it is not on this node"), "{told}");
    // Where every node is asked for, the list says which has none, and why.
    with.add(BIG, "all").await.unwrap();
    let views = with.models.views().await;
    let view = views.iter().find(|view| view.id == id(BIG)).unwrap();
    assert!(matches!(view.state, ModelState::Ready(_)), "{view:?}");
    assert!(
        view.missing.contains(&without.id.to_string()) && view.missing.contains("it is not on this node"),
        "{view:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_moves_a_replica_before_it_stops_the_old_one() {
    let world = World::new();
    let (first, second) = (world.node(1, 130_000, &[BIG]).await, world.node(2, 400_000, &[BIG]).await);
    first.add(BIG, "1").await.unwrap();
    let mut board = first.until_on(&world, BIG, &[&first]).await;
    first.seat.drain(std::time::Duration::from_secs(60)).await.unwrap();
    // At no look is the model nowhere.
    while on(&board, BIG) != BTreeSet::from([second.id]) {
        let seen = board.version;
        board = world.soon("the next look", second.models.until(|board| board.version > seen)).await;
        assert!(!on(&board, BIG).is_empty(), "{board:?}");
    }
    world.soon("the first has nothing left", first.models.drained()).await;
    first.models.stop().await;
    first.seat.leave().await.unwrap();
    second.until_on(&world, BIG, &[&second]).await;
    // The last one has nobody to wait for.
    assert!(second.seat.drain(std::time::Duration::from_secs(60)).await.is_err());
    world.soon("the last one lets go", second.models.drained()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_leaves_a_device_that_has_failed_and_everybody_knows_why() {
    let world = World::new();
    let (first, second) = (world.node(1, 130_000, &[BIG]).await, world.node(2, 400_000, &[BIG]).await);
    first.add(BIG, "1").await.unwrap();
    second.until_on(&world, BIG, &[&first]).await;
    assert!(first.device.fail("it fell off the bus"));
    let board = second.until_on(&world, BIG, &[&second]).await;
    let (_, machine) = board.living(first.id).unwrap();
    assert_eq!(machine.devices[0].failure.as_deref(), Some("it fell off the bus"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_s_replica_comes_back_elsewhere_and_a_wait_for_it_is_no_error() {
    let world = World::new();
    let (first, second) = (world.node(1, 130_000, &[BIG]).await, world.node(2, 400_000, &[BIG]).await);
    first.add(BIG, "1").await.unwrap();
    second.until_on(&world, BIG, &[&first]).await;
    let model = second.model(BIG).await;
    first.kill().await;
    let prompt = steward_inference::Prompt::Text("three small words".to_owned());
    let counted = world.soon("somebody counts", model.count_tokens(&prompt)).await;
    assert_eq!(counted, Ok(3));
    second.until_on(&world, BIG, &[&second]).await;
}
