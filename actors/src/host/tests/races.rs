//! Senders against passivation, stops, crashes and quarantine, in schedules that a generator draws.

use proptest::prelude::*;

use super::*;

/// One thing that a random actor of the schedule does.
#[derive(Debug, Clone, Copy)]
enum Act {
    Add(u8),
    Tell(u8),
    Stop(u8),
    Crash(u8),
    Yield(u8),
}

fn act() -> impl Strategy<Value = Act> {
    let name = 0..3_u8;
    prop_oneof![
        6 => name.clone().prop_map(Act::Add),
        2 => name.clone().prop_map(Act::Tell),
        3 => name.clone().prop_map(Act::Stop),
        1 => name.prop_map(Act::Crash),
        3 => (0..4_u8).prop_map(Act::Yield),
    ]
}

async fn play(host: Host, acts: Vec<Act>) -> usize {
    let mut handled = 0;
    for act in acts {
        match act {
            Act::Add(name) => {
                ask(&host, &name.to_string(), Order::Add(1)).await.expect("no message is lost");
                handled += 1;
            }
            Act::Tell(name) => {
                host.tell::<Probe>(&id(&name.to_string()), Order::Add(1)).expect("no message is refused");
                handled += 1;
            }
            Act::Stop(name) => {
                host.stop("probe", &id(&name.to_string()), host.deadline_default()).await.unwrap();
            }
            Act::Crash(name) => {
                ask(&host, &name.to_string(), Order::Panic).await.expect_err("it panics");
                handled += 1;
            }
            Act::Yield(times) => {
                for _ in 0..times {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    handled
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_message_is_handled_once_whatever_leaves_memory_meanwhile(
        lanes in proptest::collection::vec(proptest::collection::vec(act(), 1..40), 2..6),
        threads in 1..4_usize,
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
        runtime.block_on(async {
            let (host, world) = host(quick()).await;
            let mut playing = tokio::task::JoinSet::new();
            for acts in lanes {
                playing.spawn(play(host.clone(), acts));
            }
            let expected: usize = playing.join_all().await.into_iter().sum();
            let handled = Arc::clone(&world.handled);
            eventually("all are handled", || handled.load(Ordering::SeqCst) >= expected).await;
            let report = host.drain().await;
            assert_eq!(world.handled.load(Ordering::SeqCst), expected, "each is handled once");
            assert_eq!(world.overlaps.load(Ordering::SeqCst), 0, "activations never overlap");
            assert!(report.left.is_empty() && host.live_entities() == 0);
        });
    }
}
