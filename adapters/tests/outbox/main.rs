//! The outbox against every order of mining, loss, reorganisation, strangers and crashes that fits the bounds, and
//! against long random ones: an intent lands at most once, and once the chain is well again exactly once.

#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

mod coverage;
mod expiring;
mod explore;
mod funds;
mod moves;
mod spaces;
mod undone;
mod world;

use std::time::Duration;

use proptest::prelude::*;
use steward_adapters::fee::{FeePolicy, MarketFee};
use steward_adapters::ledger::Lost;
use steward_adapters::outbox::{Effect, Event, Outbox, Sequences, Stall, Standing};
use steward_types::Timestamp;

use crate::moves::{Answer, Carry, Fault, Move};
use crate::world::{POLICY, RAISED_PRICE, World, action};

/// How an effect may go, seldom badly.
fn any_carry() -> impl Strategy<Value = Carry> {
    prop_oneof![
        4 => Just(Carry::Whole),
        1 => Just(Carry::ThenCrash),
        1 => Just(Carry::ReplyLost),
        1 => Just(Carry::NotSent),
        1 => prop::sample::select(vec![Answer::Accepted, Answer::SequenceUsed, Answer::Underpriced, Answer::Refused])
            .prop_map(Carry::Swallowed),
        1 => prop::sample::select(vec![Carry::Untold, Carry::AskedInstead]),
        1 => prop::sample::select(vec![Fault::Own, Fault::Others]).prop_map(Carry::NotSigned),
    ]
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (0..3usize, any_carry()).prop_map(|(number, carry)| Move::Carry(number, carry)),
        4 => (0..3usize, any_carry()).prop_map(|(number, carry)| Move::Begin(number, carry)),
        4 => Just(Move::Finish),
        1 => Just(Move::Crash),
        1 => Just(Move::ChangeKey),
        1 => (0..2u64).prop_map(Move::Withdraw),
        3 => Just(Move::Mine),
        1 => Just(Move::Stranger),
        1 => Just(Move::Reorganize(Lost::Yes)),
        1 => Just(Move::Reorganize(Lost::No)),
        1 => Just(Move::ForgetPool),
        1 => Just(Move::RaisePrice),
        3 => (1..150u64).prop_map(Move::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_happened_every_intent_lands_once_in_the_end(moves in prop::collection::vec(any_move(), 0..120)) {
        let mut world = World::new(2);
        for step in moves {
            world.make(step);
            world.check();
        }
        world.heal();
    }
}

#[test]
fn a_restart_sends_the_same_bytes_again() {
    let mut world = World::new(2);
    world.make(Move::Carry(0, Carry::Whole)); // reconcile
    world.make(Move::Carry(0, Carry::Whole)); // sign
    let before = sent(&world);
    world.make(Move::Carry(0, Carry::ThenCrash)); // broadcast, and be killed
    world.ledger.forget_pool();
    assert_eq!(world.effects(), [Effect::Reconcile { settled: None }], "nothing is sent before the chain was asked");
    world.make(Move::Carry(0, Carry::Whole));
    assert_eq!(sent(&world), before);
}

#[test]
fn a_stuck_transaction_is_replaced_under_its_sequence_number_with_a_higher_fee() {
    let mut world = World::new(2);
    for _ in 0..6 {
        world.make(Move::Carry(0, Carry::Whole));
    }
    let first = world.outbox.intents()[&0].attempts[0].transaction.clone();
    world.make(Move::Wait(POLICY.stuck_ms));
    assert_eq!(
        world.effects(),
        [Effect::Reconcile { settled: None }],
        "the chain is asked first whether it stands where we think"
    );
    world.make(Move::Carry(0, Carry::Whole));
    let sign = world.effects().into_iter().find(|effect| matches!(effect, Effect::Sign { intent: 0, .. })).unwrap();
    world.carry_out(sign);
    let attempts = &world.outbox.intents()[&0].attempts;
    assert_eq!(attempts.len(), 2);
    assert_eq!(attempts[1].transaction.sequence, first.sequence);
    assert!(attempts[1].transaction.fee.price * 10 >= first.fee.price * 11);
    assert!(world.outbox.intents()[&1].attempts.len() <= 1, "one that waits for another is not replaced");
    world.heal();
}

/// Signed for a price that is too low by the time when it is sent: no pool has it, and the same bytes would be refused for
/// ever, with every later transaction behind them.
#[test]
fn what_no_pool_takes_any_more_is_replaced_with_a_higher_fee() {
    let mut world = World::new(2);
    world.make(Move::Carry(0, Carry::Whole)); // reconcile
    world.make(Move::Carry(0, Carry::Whole)); // sign
    let first = world.outbox.intents()[&0].attempts[0].transaction.clone();
    assert!(first.fee.price < RAISED_PRICE);
    world.make(Move::RaisePrice);
    let mut refusals = 0;
    while world.outbox.intents()[&0].attempts.len() == 1 {
        assert!(world.now <= 2 * POLICY.stuck_ms, "it is never outbid: {:#?}", world.outbox);
        for effect in world.effects() {
            refusals += u32::from(matches!(effect, Effect::Broadcast { intent: 0, .. }));
            world.carry_out(effect);
        }
        world.now += POLICY.poll_ms;
    }
    assert!(refusals > 1 && world.ledger.pool_len() == 0, "it was sent {refusals} times and refused");
    let second = &world.outbox.intents()[&0].attempts[1].transaction;
    assert_eq!(second.sequence, first.sequence);
    assert!(second.fee.price >= RAISED_PRICE);
    world.heal();
}

#[test]
fn a_key_submitted_again_is_one_intent_and_goes_when_it_is_acknowledged() {
    let mut world = World::new(2);
    let again = Event::Submitted { key: "intent 0".to_owned(), action: action(0) };
    world.outbox.apply(again, Timestamp::EPOCH, &POLICY).unwrap();
    assert_eq!(world.outbox.intents().len(), 2);
    let acknowledged = Event::Acknowledged { key: "intent 0".to_owned() };
    world.outbox.apply(acknowledged.clone(), Timestamp::EPOCH, &POLICY).unwrap();
    assert_eq!(world.outbox.intents().len(), 2, "what is not done is not forgotten");
    while !world.outbox.is_settled() {
        world.effects().into_iter().for_each(|effect| world.carry_out(effect));
        world.ledger.mine();
        world.now += POLICY.poll_ms;
    }
    world.outbox.apply(acknowledged, world.now(), &POLICY).unwrap();
    assert!(world.outbox.intent("intent 0").is_none());
}

#[test]
fn a_chain_that_is_reset_meanwhile_stops_what_is_under_way() {
    let mut outbox = World::new(2).outbox;
    let standing = |genesis: &str| {
        let sequences = Some(Sequences { latest: 5, finalized: 5 });
        Event::Reconciled(Standing {
            sequences,
            genesis: genesis.to_owned(),
            account: "account".to_owned(),
            settled: None,
        })
    };
    outbox.apply(standing("a"), Timestamp::EPOCH, &POLICY).unwrap();
    assert!(matches!(outbox.next(Timestamp::EPOCH, &POLICY)[..], [Effect::Sign { .. }]));
    outbox.apply(standing("b"), Timestamp::EPOCH, &POLICY).unwrap();
    let reset = |known: &str, found: &str| Stall::ChainReset { known: known.to_owned(), found: found.to_owned() };
    assert_eq!(outbox.head().stall, Some(reset("a", "b")));
    let later = Timestamp::EPOCH.saturating_add(Duration::from_millis(POLICY.retry_ms));
    assert_eq!(outbox.next(later, &POLICY), [Effect::Reconcile { settled: None }], "no start was needed to notice it");
}

#[test]
fn a_chain_that_was_reset_stalls_the_outbox_until_it_is_the_old_one() {
    let mut outbox = World::new(2).outbox;
    let standing = |genesis: &str, finalized| {
        let (genesis, account) = (genesis.to_owned(), "account".to_owned());
        let sequences = Some(Sequences { latest: 5, finalized });
        Event::Reconciled(Standing { sequences, genesis, account, settled: None })
    };
    outbox.apply(standing("a", 5), Timestamp::EPOCH, &POLICY).unwrap();
    outbox = Outbox::from_parts(outbox.head().clone(), outbox.intents().clone());
    let reset = Stall::ChainReset { known: "a".to_owned(), found: "b".to_owned() };
    let back = Stall::SequenceWentBack { known: 5, found: 4 };
    for (wrong, stall) in [(standing("b", 5), reset), (standing("a", 4), back)] {
        outbox.apply(wrong, Timestamp::EPOCH, &POLICY).unwrap();
        assert_eq!(outbox.head().stall, Some(stall));
        assert!(outbox.next(Timestamp::EPOCH, &POLICY).is_empty());
        let later = Timestamp::EPOCH.saturating_add(Duration::from_millis(POLICY.retry_ms));
        assert_eq!(outbox.next(later, &POLICY), [Effect::Reconcile { settled: None }]);
    }
    outbox.apply(standing("a", 5), Timestamp::EPOCH, &POLICY).unwrap();
    assert_eq!(outbox.head().stall, None);
    assert!(matches!(outbox.next(Timestamp::EPOCH, &POLICY)[..], [Effect::Sign { sequence: 5, .. }]));
}

#[test]
fn another_key_takes_over_once_nothing_of_the_old_one_can_land() {
    let mut outbox = World::new(1).outbox;
    let standing = |account: &str, sequence| {
        let (genesis, account) = ("genesis".to_owned(), account.to_owned());
        let sequences = Some(Sequences { latest: sequence, finalized: sequence });
        Event::Reconciled(Standing { sequences, genesis, account, settled: None })
    };
    let restarted = |outbox: &mut Outbox, event| {
        *outbox = Outbox::from_parts(outbox.head().clone(), outbox.intents().clone());
        outbox.apply(event, Timestamp::EPOCH, &POLICY).unwrap();
    };
    restarted(&mut outbox, standing("old", 7));
    restarted(&mut outbox, standing("new", 2));
    assert_eq!(outbox.head().stall, None);
    let [Effect::Sign { intent, sequence: 2, action, .. }] = &outbox.next(Timestamp::EPOCH, &POLICY)[..] else {
        panic!("{outbox:?}")
    };
    let fee = FeePolicy::default().choose(MarketFee { base: 10, tip: 1 }, None).unwrap();
    let transaction = World::new(0).ledger.sign(action, 2, fee);
    outbox.apply(Event::Signed { intent: *intent, transaction }, Timestamp::EPOCH, &POLICY).unwrap();
    restarted(&mut outbox, standing("third", 0));
    let stall = Stall::OtherAccount { known: "new".to_owned(), found: "third".to_owned() };
    assert_eq!(outbox.head().stall, Some(stall));
    assert!(outbox.next(Timestamp::EPOCH, &POLICY).is_empty(), "nothing is sent with either key");
    restarted(&mut outbox, standing("new", 2));
    assert_eq!(outbox.head().stall, None);
    assert!(matches!(outbox.next(Timestamp::EPOCH, &POLICY)[..], [Effect::Broadcast { .. }]));
}

fn sent(world: &World) -> Vec<Effect> {
    world.effects().into_iter().filter(|effect| matches!(effect, Effect::Broadcast { .. })).collect()
}
