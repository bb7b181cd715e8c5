//! Panics, faults, back-off, dead letters and quarantine.

use super::*;

#[tokio::test]
async fn a_panic_sets_the_message_aside_and_restarts_the_entity_from_its_stored_state() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::Add(5)).await, Ok(5));
    let error = ask(&host, "a", Order::Panic).await.unwrap_err();
    assert_eq!(error, AskError::Poison { cause: "panic: told to panic".to_owned() });
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1), "nothing but the stored state is left");
    assert_eq!(world.activations(), 2);
    let letters = host.dead_letters(10);
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].message.as_str(), letters[0].id.as_str()), ("Panic", "a"));
    assert_eq!(world.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_waits_behind_a_crash_is_handled_after_it() {
    let (host, world) = host(quick()).await;
    host.tell::<Probe>(&id("a"), Order::Hold).unwrap();
    world.entered().await;
    host.tell::<Probe>(&id("a"), Order::Panic).unwrap();
    let waiting: Vec<_> = (0..5).map(|_| asking(&host, "a", Order::Add(1))).collect();
    eventually("all wait", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 6).await;
    world.gate.add_permits(1);
    let mut answers = Vec::new();
    for asker in waiting {
        answers.push(answer(asker).await.unwrap());
    }
    answers.sort_unstable();
    assert_eq!(answers, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn the_back_off_doubles_up_to_its_bound_and_ends_with_a_success() {
    let limits = HostLimits {
        backoff_min: Duration::from_millis(10),
        backoff_max: Duration::from_millis(30),
        call_time_default: Duration::from_secs(60),
        ..HostLimits::default()
    };
    let (host, _world, clock) = host_at_will(limits).await;
    let mut changes = host.watch("probe", Some(id("a"))).unwrap();
    let mut backoffs = Vec::new();
    for _ in 0..4 {
        let crash = asking(&host, "a", Order::Fail(Weakness::Transient));
        loop {
            match changes.next().await.unwrap().change {
                LifecycleChange::Restarting { backoff_ms, cause } => {
                    assert_eq!(cause, "the store is away");
                    backoffs.push(backoff_ms);
                    break;
                }
                LifecycleChange::Activated => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(answer(crash).await, Err(AskError::Restarting { .. })));
        assert_eq!(state(&host, "a").await, EntityState::BackingOff);
        clock.advance(Duration::from_millis(30));
        assert_eq!(changes.next().await.unwrap().change, LifecycleChange::Activated);
    }
    assert_eq!(backoffs, [10, 20, 30, 30]);
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    let crash = asking(&host, "a", Order::Fail(Weakness::Transient));
    let change = changes.next().await.unwrap().change;
    assert!(matches!(change, LifecycleChange::Restarting { backoff_ms: 10, .. }));
    assert!(answer(crash).await.is_err());
}

#[tokio::test]
async fn who_cannot_wait_for_the_back_off_is_told_at_once_when_to_retry() {
    let (host, _world, clock) = host_at_will(HostLimits::default()).await;
    assert!(ask(&host, "a", Order::Fail(Weakness::Transient)).await.is_err());
    let soon = host.deadline(Duration::from_millis(20));
    let error = host.ask::<Probe>(&id("a"), Order::Add(1), soon).await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_millis(50)));
    let patient = asking(&host, "a", Order::Add(1));
    eventually("it waits", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 1).await;
    clock.advance(Duration::from_millis(50));
    assert_eq!(answer(patient).await, Ok(1));
}

#[tokio::test]
async fn a_poison_message_is_set_aside_and_the_entity_goes_on() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::Add(5)).await, Ok(5));
    let error = ask(&host, "a", Order::Fail(Weakness::Poison)).await.unwrap_err();
    assert_eq!(error, AskError::Poison { cause: "no such thing".to_owned() });
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(6));
    assert_eq!(world.activations(), 1);
    assert_eq!(host.dead_letters(1)[0].cause, "no such thing");
}

#[tokio::test]
async fn dead_letters_are_bounded_and_the_newest_stay() {
    let (host, _world) = host(HostLimits { dead_letters_max: 3, ..quick() }).await;
    for _ in 0..5 {
        assert!(ask(&host, "a", Order::Fail(Weakness::Poison)).await.is_err());
    }
    let numbers: Vec<_> = host.dead_letters(10).iter().map(|letter| letter.number).collect();
    assert_eq!(numbers, [5, 4, 3]);
}

#[tokio::test]
async fn an_activation_that_fails_is_tried_again_before_its_asker_notices() {
    let (host, world) = host(quick()).await;
    *world.activation_fault.lock() = Some(Weakness::Transient);
    world.activations_to_fail.store(2, Ordering::SeqCst);
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    assert_eq!(world.activations(), 3);
}

#[tokio::test]
async fn an_entity_that_panics_in_every_activation_is_quarantined_and_its_neighbours_are_unharmed() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "neighbour", Order::Add(1)).await, Ok(1));
    world.activations_to_fail.store(usize::MAX, Ordering::SeqCst);
    let quarantined = AskError::Quarantined { cause: "panic: activation panics".to_owned() };
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Err(quarantined.clone()));
    assert_eq!(world.activations(), 1 + host.limits().restarts_max as usize);
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Err(quarantined));
    assert_eq!(state(&host, "a").await, EntityState::Quarantined);
    assert_eq!(host.quarantined()[0].id, id("a"));
    assert_eq!(host.quarantined()[0].until, None);
    assert_eq!(ask(&host, "neighbour", Order::Add(1)).await, Ok(2));

    world.activations_to_fail.store(0, Ordering::SeqCst);
    assert!(host.release("probe", &id("a")).unwrap());
    assert!(!host.release("probe", &id("a")).unwrap());
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    assert!(host.quarantined().is_empty());
    assert_eq!(world.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_corrupt_record_is_quarantined_at_once() {
    let (host, world) = host(quick()).await;
    *world.activation_fault.lock() = Some(Weakness::Corrupt);
    world.activations_to_fail.store(1, Ordering::SeqCst);
    let error = ask(&host, "a", Order::Add(1)).await.unwrap_err();
    assert_eq!(error, AskError::Quarantined { cause: "the record is garbage".to_owned() });
    assert_eq!(world.activations(), 1);
    let error = ask(&host, "b", Order::Fail(Weakness::Corrupt)).await.unwrap_err();
    assert_eq!(error.code(), steward_types::ErrorCode::EntityQuarantined);
    assert_eq!(host.quarantined().len(), 2);
    eventually("both cells are gone", || host.live_entities() == 0).await;
}

#[tokio::test]
async fn a_quarantine_for_what_may_pass_ends_by_itself() {
    let limits = HostLimits { restarts_max: 1, ..HostLimits::default() };
    let (host, world, clock) = host_at_will(limits).await;
    *world.activation_fault.lock() = Some(Weakness::Transient);
    world.activations_to_fail.store(1, Ordering::SeqCst);
    assert!(matches!(ask(&host, "a", Order::Add(1)).await, Err(AskError::Quarantined { .. })));
    assert!(host.quarantined()[0].until.is_some());
    clock.advance(host.limits().backoff_max);
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
}

#[tokio::test]
async fn a_fenced_entity_leaves_memory_and_what_waits_for_it_is_told() {
    let (host, world) = host(quick()).await;
    host.tell::<Probe>(&id("a"), Order::Hold).unwrap();
    world.entered().await;
    let fenced = asking(&host, "a", Order::Fail(Weakness::Fenced));
    eventually("it waits", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 1).await;
    let behind = asking(&host, "a", Order::Add(1));
    eventually("both wait", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 2).await;
    world.gate.add_permits(1);
    assert_eq!(answer(fenced).await, Err(AskError::Fenced));
    assert_eq!(answer(behind).await, Err(AskError::Fenced));
    eventually("it is gone", || host.live_entities() == 0).await;
}

#[tokio::test]
async fn a_panic_in_a_worker_restarts_its_entity() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::Add(5)).await, Ok(5));
    let mut changes = host.watch("probe", Some(id("a"))).unwrap();
    assert_eq!(ask(&host, "a", Order::WorkAndPanic).await, Ok(5));
    while changes.next().await.unwrap().change != LifecycleChange::Activated {}
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    assert_eq!(world.activations(), 2);
    assert_eq!(host.dead_letters(1)[0].message, "worker");
}

#[tokio::test]
async fn workers_end_with_the_activation_that_started_them() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::WorkForever).await, Ok(0));
    assert_eq!(ask(&host, "a", Order::WorkForever).await, Ok(0));
    assert_eq!(world.workers.load(Ordering::SeqCst), 2);
    assert!(ask(&host, "a", Order::Panic).await.is_err());
    assert_eq!(ask(&host, "a", Order::WorkForever).await, Ok(0));
    assert_eq!(world.workers.load(Ordering::SeqCst), 1);
    assert_eq!(host.stop("probe", &id("a"), host.deadline_default()).await.unwrap(), StopOutcome::Stopped);
    assert_eq!(world.workers.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn workers_end_with_a_cell_that_is_killed() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    assert_eq!(ask(&host, "a", Order::WorkForever).await, Ok(0));
    let held = asking(&host, "a", Order::Hold);
    world.entered().await;
    let name = id("a");
    let stopping = host.stop("probe", &name, host.deadline(Duration::from_millis(5)));
    let (outcome, ()) = tokio::join!(stopping, async { clock.advance(Duration::from_millis(5)) });
    assert_eq!(outcome.unwrap(), StopOutcome::Killed);
    assert!(answer(held).await.is_err());
    eventually("the worker has ended", || world.workers.load(Ordering::SeqCst) == 0).await;
}

#[tokio::test]
async fn a_message_that_nobody_waits_for_is_not_lost_unseen() {
    let (host, world) = host(quick()).await;
    host.tell::<Probe>(&id("a"), Order::Fail(Weakness::Transient)).unwrap();
    eventually("it is a dead letter", || host.dead_letters(10).len() == 1).await;
    host.tell::<Probe>(&id("b"), Order::Hold).unwrap();
    world.entered().await;
    host.tell::<Probe>(&id("b"), Order::Fail(Weakness::Corrupt)).unwrap();
    host.tell::<Probe>(&id("b"), Order::Add(1)).unwrap();
    world.gate.add_permits(1);
    eventually("the one behind it is one too", || host.dead_letters(10).len() == 3).await;
    assert_eq!(host.dead_letters(1)[0].message, "Add");
}
