//! Calls, refusals and who is let in.

use super::super::*;
use super::cluster::*;
use bytes::Bytes;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_in_one_process_call_each_other_on_both_lanes() {
    let authority = authority();
    let nodes = [node(&authority, 1).await, node(&authority, 2).await, node(&authority, 3).await];
    for from in &nodes {
        for to in &nodes {
            for lane in [Lane::Control, Lane::Data] {
                let answer = from.links.call(&to.peer(), lane, ECHO, "hello".into(), PATIENCE).await;
                assert_eq!(answer, Ok("hello".into()));
            }
        }
    }
    assert_eq!(nodes[0].links.peer_state(&nodes[1].links.node()), Some(PeerState::Up));
    for node in &nodes {
        node.links.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_handler_sees_the_node_of_the_certificate_and_its_refusal_comes_back() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    call(&left, &right.peer(), RECORD, "x").await.unwrap();
    assert_eq!(*right.recorder.calls.lock(), [(id(1), Bytes::from("x"))]);
    let refused = call(&left, &right.peer(), REFUSE, "why").await;
    assert_eq!(refused, Err(CallError::Refused { node: id(2), code: 404, message: "why".into() }));
    let panicked = call(&left, &right.peer(), PANIC, "").await;
    assert!(matches!(panicked, Err(CallError::Refused { code: REFUSED_PANIC, .. })), "{panicked:?}");
    assert_eq!(call(&left, &right.peer(), ECHO, "alive").await, Ok("alive".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_payloads_arrive_and_too_large_ones_are_refused_at_once() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    let limit = LinkLimits::default().payload_bytes;
    let whole = Bytes::from(vec![7; limit]);
    let answer = left.links.call(&right.peer(), Lane::Data, ECHO, whole.clone(), PATIENCE).await;
    assert_eq!(answer, Ok(whole));
    let over = Bytes::from(vec![7; limit + 1]);
    let answer = left.links.call(&right.peer(), Lane::Data, ECHO, over, PATIENCE).await;
    let bytes = limit as u64 + 1;
    assert_eq!(answer, Err(CallError::TooLarge { what: "call", bytes, limit: limit as u64 }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_not_answered_ends_with_its_deadline() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    call(&left, &right.peer(), ECHO, "").await.unwrap();
    let deadline = Duration::from_millis(50);
    let answer = left.links.call(&right.peer(), Lane::Data, WAIT, "late".into(), deadline).await;
    assert_eq!(answer, Err(CallError::DeadlineExceeded { node: id(2) }));
    until("the call arrived", || right.recorder.calls.lock().len() == 1).await;
}
