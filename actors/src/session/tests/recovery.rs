//! A node that takes over sessions while it has all the turns in flight that it should have.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::poll;
use steward_types::limits::{RECOVERY_PAGE_TIME, RECOVERY_SESSIONS_MAX, RECOVERY_STALL_TIME, RECOVERY_TURNS_MAX};
use steward_types::{ManualClock, Timestamp};

use super::harness::*;
use super::operators::{pause, resume};
use crate::pause::PauseSubject;

const SESSIONS: u8 = 200;

/// Lets everything else that can go on do so.
async fn others_go_on() {
    for _ in 0..10_000 {
        tokio::task::yield_now().await;
    }
}

/// A node with so many sessions that have something to do, and that nobody has woken.
async fn with_runnable(sessions: u8, clock: &Arc<ManualClock>) -> (Outside, Node) {
    let mut outside = Outside::new().await;
    outside.clock = Arc::clone(clock) as _;
    outside.agents.add("caller", r#"fn on_message(msg) { reply("done"); }"#);
    let subject = PauseSubject::Project(project());
    pause(&outside, subject.clone()).await;
    let node = outside.start().await;
    for number in 1..=sessions {
        node.open(session(number), "caller").await;
        node.send(session(number), "go").await;
    }
    resume(&outside, subject).await;
    (outside, node)
}

#[tokio::test]
async fn sessions_are_recovered_as_turns_end_and_only_a_page_at_a_time_while_none_does() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let (_outside, node) = with_runnable(SESSIONS, &clock).await;
    let mut busy: Vec<_> = (0..RECOVERY_TURNS_MAX).map(|_| node.activity.turn()).collect();

    let mut recovery = pin!(node.waker.recover());
    for pages in 0..3 {
        // Room for none while a turn ends now and then, as one does here and those of the page before did.
        busy.push(node.activity.turn());
        for round in 0..2 {
            for _ in 0..2 {
                assert!(matches!(poll!(recovery.as_mut()), Poll::Pending));
                others_go_on().await;
            }
            let others = RECOVERY_TURNS_MAX + pages + 1;
            assert_eq!(node.activity.count().turns, others + pages * RECOVERY_SESSIONS_MAX as u64);
            if round == 0 {
                busy.remove(0);
            }
            clock.advance(RECOVERY_STALL_TIME);
        }
    }
    drop(busy);
    assert_eq!(recovery.await.unwrap(), usize::from(SESSIONS));
    for number in 1..=SESSIONS {
        node.turn(session(number), 1).await;
    }
}

#[tokio::test]
async fn a_page_waits_no_longer_than_its_time_for_turns_of_others() {
    let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
    let (_outside, node) = with_runnable(1, &clock).await;
    let mut busy: VecDeque<_> = (0..RECOVERY_TURNS_MAX).map(|_| node.activity.turn()).collect();

    let mut recovery = pin!(node.waker.recover());
    assert!(matches!(poll!(recovery.as_mut()), Poll::Pending));
    let (mut waited, mut begun) = (Duration::ZERO, RECOVERY_TURNS_MAX);
    while node.activity.count().turns == begun && waited <= RECOVERY_PAGE_TIME {
        busy.push_back(node.activity.turn());
        begun += 1;
        busy.pop_front();
        clock.advance(RECOVERY_STALL_TIME);
        waited += RECOVERY_STALL_TIME;
        assert!(matches!(poll!(recovery.as_mut()), Poll::Pending));
        others_go_on().await;
    }
    assert_eq!(waited, RECOVERY_PAGE_TIME);
    recovery.await.unwrap();
    node.turn(session(1), 1).await;
}
