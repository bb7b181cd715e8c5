//! Resets, silence, dead and restarted peers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use steward_chaos_proxy::{Hold, Proxy};
use tokio_util::task::TaskTracker;

use super::super::*;
use super::cluster::*;

/// Resets that the test makes when `LINK_RESETS` does not say.
const RESETS: usize = 1_000;
const IN_FLIGHT: usize = 64;

/// Sends numbers in order until told to stop; returns how many.
async fn send_numbers(links: Links, peer: PeerAddress, stop: Arc<AtomicBool>) -> u32 {
    let numbers = futures::stream::iter(0u32..).take_while(|_| {
        let go = !stop.load(Ordering::SeqCst);
        async move { go }
    });
    let calls = numbers.map(|number| {
        let payload = Bytes::copy_from_slice(&number.to_be_bytes());
        let (links, peer) = (&links, &peer);
        async move { links.call(peer, Lane::Data, RECORD, payload, PATIENCE).await }
    });
    let answers: Vec<_> = calls.buffered(IN_FLIGHT).collect().await;
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(*answer, Ok(Bytes::new()), "call {number}");
    }
    u32::try_from(answers.len()).unwrap()
}

fn numbers_at(node: &Node) -> Vec<u32> {
    node.recorder.calls.lock().iter().map(|(_, bytes)| u32::from_be_bytes(bytes[..].try_into().unwrap())).collect()
}

fn count_at(node: &Node) -> usize {
    node.recorder.calls.lock().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_many_resets_nothing_is_lost_doubled_or_reordered_for_a_pair() {
    let wanted = std::env::var("LINK_RESETS").map_or(RESETS, |text| text.parse().unwrap());
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    let there = Proxy::to(right.links.address()).await.unwrap();
    let back = Proxy::to(left.links.address()).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let tasks = TaskTracker::new();
    let from_left = tasks.spawn(send_numbers(left.links.clone(), right.at(there.address()), stop.clone()));
    let from_right = tasks.spawn(send_numbers(right.links.clone(), left.at(back.address()), stop.clone()));
    while there.resets() + back.resets() < wanted {
        let (at_left, at_right) = (count_at(&left), count_at(&right));
        until("both sides go on", || count_at(&left) > at_left && count_at(&right) > at_right).await;
        let before = there.resets() + back.resets();
        there.reset();
        back.reset();
        until("a connection was reset", || there.resets() + back.resets() > before).await;
    }
    stop.store(true, Ordering::SeqCst);
    let (sent_left, sent_right) = (from_left.await.unwrap(), from_right.await.unwrap());
    assert_eq!(numbers_at(&right), (0..sent_left).collect::<Vec<_>>());
    assert_eq!(numbers_at(&left), (0..sent_right).collect::<Vec<_>>());
    println!("{} resets, {} messages", there.resets() + back.resets(), sent_left + sent_right);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_to_a_peer_that_is_not_there_says_so_and_that_nothing_was_done() {
    let authority = authority();
    let left = node(&authority, 1).await;
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let answer = call(&left, &PeerAddress { node: id(9), address: nobody }, ECHO, "").await;
    assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
    until("the peer is down", || {
        left.links.connect(&PeerAddress { node: id(9), address: nobody });
        left.links.peer_state(&id(9)) == Some(PeerState::Down)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_behind_a_black_hole_is_unreachable_within_the_deadline() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    let proxy = Proxy::to(right.links.address()).await.unwrap();
    proxy.hold(Hold::BOTH);
    let deadline = Duration::from_millis(200);
    let answer = left.links.call(&right.at(proxy.address()), Lane::Data, ECHO, Bytes::new(), deadline).await;
    assert!(matches!(answer, Err(CallError::Unreachable { .. })), "{answer:?}");
    until("the black hole has swallowed the connection", || proxy.live() > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_hears_but_is_not_heard_is_silent_and_up_again_once_it_is() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    let proxy = Proxy::to(right.links.address()).await.unwrap();
    let mut events = left.links.peer_events();
    left.links.connect(&right.at(proxy.address()));
    assert_eq!(events.recv().await, Ok(PeerEvent::Up(id(2))));
    proxy.hold(Hold::BACK);
    assert_eq!(events.recv().await, Ok(PeerEvent::Silent(id(2))));
    proxy.hold(Hold::NONE);
    assert_eq!(events.recv().await, Ok(PeerEvent::Up(id(2))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_stays_silent_is_dialled_again_and_its_calls_go_on() {
    let authority = authority();
    let fast = |config: &mut LinkConfig| {
        config.timing.heartbeat = Duration::from_millis(20);
        config.timing.data_dead = Duration::from_millis(300);
    };
    let (left, right) = (node_with(&authority, 1, fast).await, node_with(&authority, 2, fast).await);
    let proxy = Proxy::to(right.links.address()).await.unwrap();
    let peer = right.at(proxy.address());
    call(&left, &peer, RECORD, "1").await.unwrap();
    proxy.hold(Hold::BOTH);
    let tasks = TaskTracker::new();
    let (links, to) = (left.links.clone(), peer.clone());
    let waiting = tasks.spawn(async move { links.call(&to, Lane::Data, RECORD, "2".into(), PATIENCE).await });
    until("the connection was given up", || proxy.live() == 0 || proxy.resets() > 0 || proxy.live() > 1).await;
    proxy.hold(Hold::NONE);
    assert_eq!(waiting.await.unwrap(), Ok(Bytes::new()));
    let arrived: Vec<_> = right.recorder.calls.lock().iter().map(|(_, payload)| payload.clone()).collect();
    assert_eq!(arrived, ["1", "2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_a_restarted_peer_forgot_is_lost_unless_it_may_be_repeated() {
    let authority = authority();
    let (left, right) = (node(&authority, 1).await, node(&authority, 2).await);
    let address = right.links.address();
    let peer = right.peer();
    let tasks = TaskTracker::new();
    let (links, to) = (left.links.clone(), peer.clone());
    let once = tasks.spawn(async move { links.call(&to, Lane::Data, WAIT, "once".into(), PATIENCE).await });
    let (links, to) = (left.links.clone(), peer.clone());
    let again =
        tasks.spawn(async move { links.call_idempotent(&to, Lane::Data, WAIT, "again".into(), PATIENCE).await });
    until("both calls arrived", || right.recorder.calls.lock().len() == 2).await;
    right.links.stop().await;
    drop(right);
    let right = node_with(&authority, 2, |config| config.listen = address).await;
    right.recorder.gate.add_permits(1);
    assert_eq!(once.await.unwrap(), Err(CallError::Lost { node: id(2) }));
    assert_eq!(again.await.unwrap(), Ok("again".into()));
    assert_eq!(right.recorder.calls.lock().len(), 1);
}
