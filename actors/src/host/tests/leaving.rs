//! Passivation, pressure, stopping and draining.

use super::*;

#[tokio::test]
async fn an_idle_entity_leaves_memory_and_its_next_message_brings_it_back() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    let mut changes = host.watch("probe", None).unwrap();
    advance_until(&clock, host.limits().idle_time_max, || host.live_entities() == 0).await;
    assert_eq!(changes.next().await.unwrap().change, LifecycleChange::Passivated);
    assert_eq!(state(&host, "a").await, EntityState::Resting);
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    assert_eq!(world.activations(), 2);
}

#[tokio::test]
async fn an_entity_that_is_not_idle_stays() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    assert_eq!(ask(&host, "busy", Order::Busy(true)).await, Ok(0));
    assert_eq!(ask(&host, "idle", Order::Add(1)).await, Ok(1));
    advance_until(&clock, host.limits().idle_time_max, || host.live_entities() == 1).await;
    assert_eq!(state(&host, "busy").await, EntityState::Active);
    assert_eq!(world.activations(), 2);
}

#[tokio::test]
async fn under_pressure_the_least_recently_used_leave_first() {
    let limits = HostLimits { live_entities_max: 8, ..HostLimits::default() };
    let (host, _world, clock) = host_at_will(limits).await;
    for number in 0..8 {
        assert_eq!(ask(&host, &number.to_string(), Order::Add(1)).await, Ok(1));
        clock.advance(Duration::from_millis(1));
    }
    assert_eq!(ask(&host, "0", Order::Add(1)).await, Ok(2), "the oldest is used again");
    clock.advance(Duration::from_millis(1));
    assert_eq!(ask(&host, "8", Order::Add(1)).await, Ok(1));
    eventually("one has left", || host.live_entities() < 8).await;
    let left: Vec<_> = host.list("probe", None, 10).unwrap().entities.into_iter().map(|entity| entity.id).collect();
    assert!(left.contains(&id("0")) && left.contains(&id("8")) && !left.contains(&id("1")), "{left:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_activations_stay_within_the_bound() {
    let limits = HostLimits { live_entities_max: 200, ..quick() };
    let (host, world) = host(limits).await;
    let mut askers = tokio::task::JoinSet::new();
    for lane in 0..100 {
        let host = host.clone();
        askers.spawn(async move {
            for number in 0..1_000 {
                assert_eq!(ask(&host, &format!("{lane}-{number}"), Order::Add(1)).await, Ok(1));
                assert!(host.live_entities() <= 250);
            }
        });
    }
    askers.join_all().await;
    assert_eq!(world.activations(), 100_000);
}

#[tokio::test]
async fn a_node_full_of_busy_entities_refuses_new_ones_and_serves_the_others() {
    let (host, _world, clock) = host_at_will(HostLimits { live_entities_max: 4, ..HostLimits::default() }).await;
    for number in 0..5 {
        assert_eq!(ask(&host, &number.to_string(), Order::Busy(true)).await, Ok(0));
    }
    let name = id("5");
    assert!(matches!(host.tell::<Probe>(&name, Order::Add(1)), Err(AskError::Overloaded { .. })));
    let waiting = host.ask::<Probe>(&name, Order::Add(1), host.deadline(Duration::from_millis(1)));
    let (refused, ()) = tokio::join!(waiting, async { clock.advance(Duration::from_millis(1)) });
    assert_eq!(refused, Err(AskError::DeadlineExceeded));
    assert_eq!(ask(&host, "0", Order::Busy(false)).await, Ok(0));
    let waiting = asking(&host, "5", Order::Add(1));
    advance_until(&clock, Duration::from_millis(50), || {
        !host.list("probe", None, 1).unwrap().entities[0].id.eq(&id("0"))
    })
    .await;
    assert_eq!(answer(waiting).await, Ok(1));
}

#[tokio::test]
async fn stopping_waits_for_what_is_in_hand_and_ends_what_takes_too_long() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    assert_eq!(host.stop("probe", &id("a"), host.deadline_default()).await.unwrap(), StopOutcome::NotLive);
    let held = asking(&host, "a", Order::Hold);
    world.entered().await;
    let name = id("a");
    let stopping = host.stop("probe", &name, host.deadline(Duration::from_millis(5)));
    let (outcome, ()) = tokio::join!(stopping, async {
        tokio::task::yield_now().await;
        clock.advance(Duration::from_millis(5));
    });
    assert_eq!(outcome.unwrap(), StopOutcome::Killed);
    assert!(matches!(answer(held).await, Err(AskError::Stopped)));
    eventually("it is gone", || host.live_entities() == 0).await;
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(1));
    assert_eq!(host.stop("probe", &id("a"), host.deadline_default()).await.unwrap(), StopOutcome::Stopped);
    assert_eq!(world.overlaps.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_drain_finishes_what_was_accepted_and_refuses_the_rest() {
    let (host, world) = host(quick()).await;
    let in_hand = asking(&host, "a", Order::Forward(id("b")));
    world.entered().await;
    let queued: Vec<_> = (0..10).map(|_| asking(&host, "a", Order::Add(1))).collect();
    eventually("all wait", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 10).await;
    let draining = host.clone();
    let mut drain = tokio::task::JoinSet::new();
    drain.spawn(async move { draining.drain().await });
    let refused = || host.tell::<Probe>(&id("c"), Order::Add(1)) == Err(AskError::Draining);
    eventually("new work is refused", refused).await;
    world.gate.add_permits(1);
    assert!(answer(in_hand).await.is_ok());
    for asker in queued {
        assert!(answer(asker).await.is_ok());
    }
    let report = drain.join_next().await.unwrap().unwrap();
    assert_eq!((report.left.len(), host.live_entities()), (0, 0));
}

#[tokio::test]
async fn a_drain_is_bounded_and_reports_what_it_had_to_end() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    assert_eq!(ask(&host, "done", Order::Add(1)).await, Ok(1));
    let held = asking(&host, "stuck", Order::Hold);
    world.entered().await;
    let draining = host.clone();
    let mut drain = tokio::task::JoinSet::new();
    drain.spawn(async move { draining.drain().await });
    eventually("the idle one has left", || host.live_entities() == 1).await;
    clock.advance(host.limits().drain_time_max);
    let report = drain.join_next().await.unwrap().unwrap();
    assert_eq!(report.finished, 1);
    assert_eq!(report.left.iter().map(|left| left.id.as_str()).collect::<Vec<_>>(), ["stuck"]);
    assert!(answer(held).await.is_err());
    eventually("nothing is left", || host.live_entities() == 0).await;
}

/// Moves the clock on, a quarter of `step` at a time, until `condition` holds.
async fn advance_until(clock: &ManualClock, step: Duration, condition: impl Fn() -> bool) {
    let mut steps = 0;
    while !condition() {
        clock.advance(step / 4);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        steps += 1;
        assert!(steps < 1_000, "it never happened");
    }
}
