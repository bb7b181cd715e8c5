//! Asking and telling: activation, order, deadlines, bounds.

use super::*;

#[tokio::test]
async fn an_entity_is_activated_by_its_first_message_and_keeps_its_state() {
    let (host, world) = host(quick()).await;
    assert_eq!(ask(&host, "a", Order::Add(2)).await, Ok(2));
    assert_eq!(ask(&host, "a", Order::Add(3)).await, Ok(5));
    assert_eq!(ask(&host, "b", Order::Add(1)).await, Ok(1));
    assert_eq!(world.activations.load(Ordering::SeqCst), 2);
    assert_eq!(host.live_entities(), 2);
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
    assert_eq!(world.activations.load(Ordering::SeqCst), 1);
}
