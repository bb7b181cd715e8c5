//! The wire's promises under any order of sends, losses and reconnects, without a network.

use bytes::Bytes;
use proptest::prelude::*;

use super::super::frame::decode;
use super::*;

const NOW: Duration = Duration::ZERO;

fn request(call: u64, bytes: usize) -> Frame {
    let payload = Bytes::from(vec![0; bytes]);
    Frame::Request { call, id: None, kind: 1, due: Duration::from_secs(1), payload }
}

fn calls(frames: &[Frame]) -> Vec<u64> {
    frames
        .iter()
        .map(|frame| match frame {
            Frame::Request { call, .. } | Frame::Response { call, .. } => *call,
        })
        .collect()
}

fn deliver(batch: Vec<u8>, to: &mut Wire) -> Vec<u64> {
    let (header, frames) = decode(batch.into(), NOW).expect("a wire writes what can be read");
    let repeated = to.on_batch(&header, frames.len()).expect("a wire keeps the protocol");
    calls(&frames[repeated..])
}

/// Two ends that have greeted each other, so that both know their credit.
fn pair(limits: LinkLimits) -> (Wire, Wire) {
    let (mut left, mut right) = (Wire::new(limits), Wire::new(limits));
    connect(&mut left, &mut right);
    (left, right)
}

fn connect(left: &mut Wire, right: &mut Wire) {
    let (left_received, right_received) = (left.received(), right.received());
    left.attach([1; 16], right_received).unwrap();
    right.attach([2; 16], left_received).unwrap();
    let hello = right.next_batch(NOW, 0).expect("a fresh connection says what it grants");
    deliver(hello, left);
}

#[test]
fn a_small_frame_goes_out_at_once_and_further_ones_share_the_next_batch() {
    let limits = LinkLimits { batches_in_flight: 1, ..LinkLimits::default() };
    let (mut left, mut right) = pair(limits);
    left.enqueue(request(1, 10)).unwrap();
    let first = left.next_batch(NOW, 0).unwrap();
    left.enqueue(request(2, 10)).unwrap();
    left.enqueue(request(3, 10)).unwrap();
    assert_eq!(left.next_batch(NOW, 0), None);
    assert_eq!(deliver(first, &mut right), [1]);
    deliver(right.next_batch(NOW, 0).unwrap(), &mut left);
    assert_eq!(deliver(left.next_batch(NOW, 0).unwrap(), &mut right), [2, 3]);
}

#[test]
fn without_credit_calls_wait_until_some_is_given_back() {
    let limits = LinkLimits { credit_messages: 1, ..LinkLimits::default() };
    let (mut left, mut right) = pair(limits);
    left.enqueue(request(1, 10)).unwrap();
    left.enqueue(request(2, 10)).unwrap();
    assert_eq!(deliver(left.next_batch(NOW, 0).unwrap(), &mut right), [1]);
    assert_eq!(left.next_batch(NOW, 0), None);
    right.give_back(10);
    deliver(right.next_batch(NOW, 0).unwrap(), &mut left);
    assert_eq!(deliver(left.next_batch(NOW, 0).unwrap(), &mut right), [2]);
}

#[test]
fn the_queue_is_bounded_in_messages_and_in_bytes() {
    let check = |limits: LinkLimits, bytes: usize, fit: u64| {
        let mut wire = Wire::new(limits);
        let taken = (0..100).filter(|&call| wire.enqueue(request(call, bytes)).is_ok()).count();
        assert_eq!(taken as u64, fit);
    };
    check(LinkLimits { queue_messages: 5, ..LinkLimits::default() }, 10, 5);
    check(LinkLimits { queue_bytes: 4_000, ..LinkLimits::default() }, 1_000, 3);
}

#[test]
fn a_peer_that_forgot_the_channel_leaves_the_sent_lost_and_the_queued_unsent() {
    let limits = LinkLimits { credit_messages: 1, ..LinkLimits::default() };
    let (mut left, _) = pair(limits);
    left.enqueue(request(1, 10)).unwrap();
    left.enqueue(request(2, 10)).unwrap();
    left.next_batch(NOW, 0).unwrap();
    assert_eq!(calls(&left.restart()), [1]);
    assert!(left.withdraw(2));
    assert!(!left.withdraw(1));
}

#[test]
fn a_gap_or_an_acknowledgement_of_the_unsent_is_a_violation() {
    let mut wire = Wire::new(LinkLimits::default());
    let header =
        |first, acknowledged| Header { tag: [0; 16], flags: 0, acknowledged, granted: Credit::default(), first };
    assert!(wire.on_batch(&header(2, 0), 1).is_err());
    assert!(wire.on_batch(&header(1, 1), 0).is_err());
    assert!(wire.attach([0; 16], 1).is_err());
}

#[derive(Debug, Clone)]
enum Event {
    Send(usize),
    Flush,
    Back,
    Finish,
    Reset,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0usize..3_000).prop_map(Event::Send),
        3 => Just(Event::Flush),
        2 => Just(Event::Back),
        2 => Just(Event::Finish),
        1 => Just(Event::Reset),
    ]
}

proptest! {
    /// Batches are lost whenever the connection is reset; yet each frame arrives once and in order.
    #[test]
    fn nothing_is_lost_doubled_or_reordered_over_resets(events in proptest::collection::vec(event(), 0..200)) {
        let limits = LinkLimits {
            credit_messages: 8,
            credit_bytes: 8_000,
            batch_bytes: 2_000,
            batches_in_flight: 1,
            unacknowledged_frames: 6,
            ..LinkLimits::default()
        };
        let (mut left, mut right) = pair(limits);
        let (mut next, mut arrived, mut unfinished) = (0, Vec::new(), VecDeque::new());
        let mut there: VecDeque<Vec<u8>> = VecDeque::new();
        let mut sizes = Vec::new();
        let mut arrive = |batch, right: &mut Wire, unfinished: &mut VecDeque<u64>| {
            for call in deliver(batch, right) {
                unfinished.push_back(call);
                arrived.push(call);
            }
        };
        for event in events {
            match event {
                Event::Send(bytes) => {
                    left.enqueue(request(next, bytes)).unwrap();
                    sizes.push(bytes as u64);
                    next += 1;
                }
                Event::Flush => there.extend(left.next_batch(NOW, 0)),
                Event::Back => {
                    if let Some(batch) = there.pop_front() {
                        arrive(batch, &mut right, &mut unfinished);
                    }
                    if let Some(batch) = right.next_batch(NOW, 0) {
                        deliver(batch, &mut left);
                    }
                }
                Event::Finish => {
                    if let Some(call) = unfinished.pop_front() {
                        right.give_back(sizes[call as usize]);
                    }
                }
                Event::Reset => {
                    there.clear();
                    left.detach();
                    right.detach();
                    connect(&mut left, &mut right);
                }
            }
        }
        for _ in 0..2 * next + 4 {
            for batch in there.drain(..).chain(left.next_batch(NOW, 0)).collect::<Vec<_>>() {
                arrive(batch, &mut right, &mut unfinished);
            }
            for call in unfinished.drain(..) {
                right.give_back(sizes[call as usize]);
            }
            right.owe_answer();
            deliver(right.next_batch(NOW, 0).unwrap(), &mut left);
        }
        prop_assert_eq!(arrived, (0..next).collect::<Vec<_>>());
    }
}
