//! Asking and telling: activation, order, deadlines and bounds.

use super::*;

#[tokio::test]
async fn an_entity_is_activated_by_its_first_message_and_keeps_its_state() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::Add(2)).await, Ok(2));
    assert_eq!(ask(&host, "a", Order::Add(3)).await, Ok(5));
    assert_eq!(ask(&host, "b", Order::Add(1)).await, Ok(1));
    assert_eq!((world.activations(), host.live_entities()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_thousand_askers_at_once_activate_an_entity_once() {
    let (host, world) = host(HostLimits { mailbox_messages_max: 1_000, ..quick() }).await;
    let mut askers = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let host = host.clone();
        askers.spawn(async move { ask(&host, "a", Order::Add(1)).await.unwrap() });
    }
    let mut answers = askers.join_all().await;
    answers.sort_unstable();
    assert_eq!(answers, (1..=1_000).collect::<Vec<_>>());
    assert_eq!(world.activations(), 1);
}

#[tokio::test]
async fn a_slow_entity_delays_nobody_else() {
    let (host, world) = host(quick()).await;
    let slow = asking(&host, "slow", Order::Hold);
    world.entered().await;
    assert_eq!(ask(&host, "other", Order::Add(1)).await, Ok(1));
    world.gate.add_permits(1);
    assert_eq!(answer(slow).await, Ok(0));
}

#[tokio::test]
async fn messages_are_handled_in_the_order_they_were_told() {
    let (host, world) = host(quick()).await;
    host.tell::<Probe>(&id("a"), Order::Hold).unwrap();
    world.entered().await;
    host.tell::<Probe>(&id("a"), Order::Add(5)).unwrap();
    let last = asking(&host, "a", Order::Add(1));
    eventually("both wait", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 2).await;
    world.gate.add_permits(1);
    assert_eq!(answer(last).await, Ok(6));
}

#[tokio::test]
async fn a_mailbox_over_its_count_refuses_with_a_time_to_retry() {
    let (host, world) = host(HostLimits { mailbox_messages_max: 2, ..quick() }).await;
    host.tell::<Probe>(&id("a"), Order::Hold).unwrap();
    world.entered().await;
    host.tell::<Probe>(&id("a"), Order::Add(1)).unwrap();
    host.tell::<Probe>(&id("a"), Order::Add(1)).unwrap();
    let refused = ask(&host, "a", Order::Add(1)).await.unwrap_err();
    assert!(matches!(refused, AskError::Overloaded { retry_after } if !retry_after.is_zero()));
    assert_eq!(refused.code(), steward_types::ErrorCode::MailboxFull);
    world.gate.add_permits(1);
    eventually("the mailbox drains", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 0).await;
    assert_eq!(ask(&host, "a", Order::Add(1)).await, Ok(3));
}

#[tokio::test]
async fn a_mailbox_over_its_bytes_refuses_and_an_oversized_message_is_named_so() {
    let limits = HostLimits { mailbox_bytes_max: 150, message_bytes_max: 200, ..quick() };
    let (host, world) = host(limits).await;
    host.tell::<Probe>(&id("a"), Order::Hold).unwrap();
    world.entered().await;
    host.tell::<Probe>(&id("a"), Order::Large(vec![0; 100])).unwrap();
    let refused = host.tell::<Probe>(&id("a"), Order::Large(vec![0; 51]));
    assert!(matches!(refused, Err(AskError::Overloaded { .. })));
    let refused = host.tell::<Probe>(&id("a"), Order::Large(vec![0; 201]));
    assert_eq!(refused, Err(AskError::TooLarge { bytes: 201, limit: 200 }));
    world.gate.add_permits(1);
}

#[tokio::test]
async fn a_message_whose_deadline_passed_in_the_queue_is_never_handled() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    let holder = asking(&host, "a", Order::Hold);
    world.entered().await;
    let late = {
        let host = host.clone();
        let mut asker = tokio::task::JoinSet::new();
        asker.spawn(async move {
            host.ask::<Probe>(&id("a"), Order::Add(1), host.deadline(Duration::from_millis(5))).await
        });
        asker
    };
    eventually("it waits", || host.list("probe", None, 1).unwrap().entities[0].mailbox_messages == 1).await;
    clock.advance(Duration::from_millis(5));
    assert_eq!(answer(late).await, Err(AskError::DeadlineExceeded));
    world.gate.add_permits(1);
    assert_eq!(answer(holder).await, Ok(0));
    assert_eq!(ask(&host, "a", Order::Add(0)).await, Ok(0));
    assert_eq!(world.handled.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_call_whose_deadline_has_passed_does_nothing() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    let deadline = host.deadline(Duration::from_millis(1));
    clock.advance(Duration::from_millis(1));
    let refused = host.ask::<Probe>(&id("a"), Order::Add(1), deadline).await;
    assert_eq!(refused, Err(AskError::DeadlineExceeded));
    assert_eq!(world.activations(), 0);
}

#[tokio::test]
async fn a_nested_call_has_only_the_time_that_is_left() {
    let (host, world, clock) = host_at_will(HostLimits::default()).await;
    let mut asker = tokio::task::JoinSet::new();
    let outer = host.clone();
    asker.spawn(async move {
        let deadline = outer.deadline(Duration::from_millis(100));
        outer.ask::<Probe>(&id("a"), Order::Forward(id("b")), deadline).await
    });
    world.entered().await;
    clock.advance(Duration::from_millis(40));
    world.gate.add_permits(1);
    assert_eq!(answer(asker).await, Ok(60));

    let mut asker = tokio::task::JoinSet::new();
    let outer = host.clone();
    asker.spawn(async move {
        let deadline = outer.deadline(Duration::from_millis(100));
        outer.ask::<Probe>(&id("a"), Order::Forward(id("b")), deadline).await
    });
    world.entered().await;
    clock.advance(Duration::from_millis(100));
    assert_eq!(answer(asker).await, Err(AskError::DeadlineExceeded));
    world.gate.add_permits(1);
}

#[tokio::test]
async fn a_reply_that_is_dropped_is_answered_all_the_same() {
    let (host, _world) = host(quick()).await;
    assert!(matches!(ask(&host, "a", Order::Ignore).await, Err(AskError::Poison { .. })));
}

#[tokio::test]
async fn a_worker_answers_with_an_event() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::Work(7)).await, Ok(0));
    world.entered().await;
    assert_eq!(ask(&host, "a", Order::Add(0)).await, Ok(7));
}

#[tokio::test]
async fn a_thread_outside_of_the_runtime_can_tell_an_entity() {
    let (host, world) = host(quick()).await;
    let outside = host.clone();
    let thread = std::thread::spawn(move || outside.tell::<Probe>(&id("a"), Order::Work(1)));
    thread.join().unwrap().unwrap();
    world.entered().await;
}
