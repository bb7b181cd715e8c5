//! Bounds under load, and the control lane beside a full data lane.

use bytes::Bytes;
use std::time::Duration;
use tokio_util::task::TaskTracker;

use super::super::*;
use super::cluster::*;

fn tight(config: &mut LinkConfig) {
    config.limits.credit_messages = 4;
    config.limits.queue_messages = 8;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beyond_credit_and_queue_a_call_is_refused_at_once_and_the_others_are_done() {
    let authority = authority();
    let (left, right) = (node_with(&authority, 1, tight).await, node_with(&authority, 2, tight).await);
    call(&left, &right.peer(), ECHO, "").await.unwrap();
    let tasks = TaskTracker::new();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let (links, peer) = (left.links.clone(), right.peer());
            tasks.spawn(async move { links.call(&peer, Lane::Data, WAIT, Bytes::new(), PATIENCE).await })
        })
        .collect();
    until("the peer's credit is used", || right.recorder.calls.lock().len() == 4).await;
    // Calls above the bound are refused while nobody answers any: four are at the peer and eight may wait.
    until("all but twelve calls are refused", || calls.iter().filter(|call| call.is_finished()).count() >= 88).await;
    assert_eq!(right.recorder.calls.lock().len(), 4, "no call went out without credit");
    right.recorder.gate.add_permits(12);
    let (mut done, mut refused) = (0, 0);
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => done += 1,
            Err(CallError::Overloaded { retry_after, .. }) if !retry_after.is_zero() => refused += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!((8..=12).contains(&done), "{done} calls were taken");
    assert_eq!(done + refused, 100);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_gets_no_credit_until_its_deadline_was_not_done() {
    let authority = authority();
    let (left, right) = (node_with(&authority, 1, tight).await, node_with(&authority, 2, tight).await);
    let tasks = TaskTracker::new();
    for _ in 0..4 {
        let (links, peer) = (left.links.clone(), right.peer());
        tasks.spawn(async move { links.call(&peer, Lane::Data, WAIT, Bytes::new(), PATIENCE).await });
    }
    until("the peer's credit is used", || right.recorder.calls.lock().len() == 4).await;
    let deadline = Duration::from_millis(50);
    let answer = left.links.call(&right.peer(), Lane::Data, RECORD, Bytes::new(), deadline).await;
    assert!(matches!(answer, Err(CallError::Overloaded { .. })), "{answer:?}");
    right.recorder.gate.add_permits(4);
    call(&left, &right.peer(), ECHO, "").await.unwrap();
    assert_eq!(right.recorder.calls.lock().len(), 4, "the call that had no credit never arrived");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_lane_answers_while_the_data_lane_is_full() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    let tasks = TaskTracker::new();
    let megabyte = Bytes::from(vec![0; 1 << 20]);
    let calls: Vec<_> = (0..64)
        .map(|_| {
            let (links, peer, payload) = (left.links.clone(), right.peer(), megabyte.clone());
            tasks.spawn(async move { links.call(&peer, Lane::Data, WAIT, payload, PATIENCE).await })
        })
        .collect();
    let credit = (LinkLimits::default().credit_bytes >> 20) as usize;
    until("the data lane's credit is used", || right.recorder.calls.lock().len() == credit).await;
    let answer = left.links.call(&right.peer(), Lane::Control, ECHO, "quick".into(), PATIENCE).await;
    assert_eq!(answer, Ok("quick".into()));
    assert_eq!(right.recorder.calls.lock().len(), credit, "the data lane is still full");
    right.recorder.gate.add_permits(64);
    let mut done = 0;
    for call in calls {
        match call.await.unwrap() {
            Ok(_) => done += 1,
            Err(CallError::Overloaded { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(done > credit);
}
