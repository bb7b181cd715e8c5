//! The outbox on a chain without sequence numbers, whose transactions expire: no two transactions of one intent can
//! ever land both, because the next is signed only when the last block that could have had the one before is final.

use proptest::prelude::*;
use steward_adapters::chain::{SignedTransaction, TransactionStatus};
use steward_adapters::fee::Fee;
use steward_adapters::ledger::{Ledger, Lost};
use steward_adapters::outbox::{Effect, Event, OutboxError};

use crate::any_carry;
use crate::moves::{Carry, Move};
use crate::world::{POLICY, World, action};

/// A transaction can land in the two blocks after it was signed; a block is final when one stands on it.
fn world(intents: u64) -> World {
    World::on(Ledger::expiring(2, 2), intents)
}

fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => (0..3usize, any_carry()).prop_map(|(number, carry)| Move::Carry(number, carry)),
        4 => (0..3usize, any_carry()).prop_map(|(number, carry)| Move::Begin(number, carry)),
        4 => Just(Move::Finish),
        1 => Just(Move::Crash),
        1 => Just(Move::ChangeKey),
        1 => (0..2u64).prop_map(Move::Withdraw),
        1 => Just(Move::Mine),
        3 => Just(Move::MineEmpty),
        1 => Just(Move::Reorganize(Lost::Yes)),
        1 => Just(Move::Reorganize(Lost::No)),
        1 => Just(Move::ForgetPool),
        3 => (1..150u64).prop_map(Move::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn whatever_happened_every_expiring_intent_lands_once_in_the_end(
        moves in prop::collection::vec(any_move(), 0..160),
    ) {
        let mut world = world(2);
        for step in moves {
            world.make(step);
            world.check();
        }
        world.heal();
    }
}

/// Steps until the intent's transaction has reached the chain.
fn until_sent(world: &mut World) -> SignedTransaction {
    while !world.outbox.intents()[&0].attempts.first().is_some_and(|attempt| attempt.sent) {
        world.make(Move::Carry(0, Carry::Whole));
    }
    world.outbox.intents()[&0].attempts[0].transaction.clone()
}

/// Asks the chain again and again, and sends again what it does not know, until there is nothing to do at this moment.
fn until_quiet(world: &mut World) {
    world.now += POLICY.poll_ms;
    while !world.effects().is_empty() {
        world.make(Move::Carry(0, Carry::Whole));
        world.check();
    }
}

#[test]
fn the_same_bytes_are_sent_until_the_last_block_is_final_and_then_others_are_signed() {
    let mut world = world(1);
    let first = until_sent(&mut world);
    assert_eq!((first.sequence, first.expires), (0, Some(2)));
    for block in 1..=2 {
        world.ledger.forget_pool();
        world.ledger.mine_empty();
        until_quiet(&mut world);
        let attempts = &world.outbox.intents()[&0].attempts;
        assert_eq!(attempts[0].transaction, first, "block {block}: the last block is not final yet");
    }
    world.ledger.mine_empty();
    assert_eq!(world.ledger.status(&first), TransactionStatus::Expired);
    until_quiet(&mut world);
    until_quiet(&mut world);
    let intent = &world.outbox.intents()[&0];
    assert_eq!(intent.expired, 1);
    assert_ne!(intent.attempts[0].transaction.hash, first.hash);
    assert_eq!(intent.attempts[0].transaction.expires, Some(5));
    world.heal();
}

#[test]
fn a_transaction_that_waits_long_is_never_outbid() {
    let mut world = world(1);
    until_sent(&mut world);
    world.make(Move::Wait(2 * POLICY.stuck_ms));
    for _ in 0..4 {
        assert!(!world.effects().iter().any(|effect| matches!(effect, Effect::Sign { .. })));
        world.make(Move::Carry(0, Carry::Whole));
    }
    world.heal();
}

#[test]
fn a_second_transaction_is_refused_while_the_first_can_land() {
    let mut world = world(1);
    let first = until_sent(&mut world);
    world.ledger.mine_empty();
    let transaction = world.ledger.sign(&action(0), 0, Fee::default());
    assert_ne!(transaction.hash, first.hash);
    let before = world.outbox.clone();
    let now = world.now();
    let refused = world.outbox.apply(Event::Signed { intent: 0, transaction }, now, &POLICY).unwrap_err();
    assert_eq!(refused, OutboxError::MayLandTwice(0));
    assert_eq!(world.outbox, before);
}

#[test]
fn two_intents_that_do_the_same_are_two_transactions() {
    let mut world = world(2);
    let both: Vec<SignedTransaction> =
        [0, 1].map(|number| world.ledger.sign(&action(0), number, Fee::default())).to_vec();
    assert_ne!(both[0].hash, both[1].hash);
    world.make(Move::Carry(0, Carry::Whole)); // reconcile
    let numbers: Vec<u64> = (0..2)
        .map(|_| {
            let effect = world.effects().into_iter().find(|effect| matches!(effect, Effect::Sign { .. }));
            let Some(Effect::Sign { intent, sequence, .. }) = effect.clone() else { panic!("{effect:?}") };
            world.carry_out(effect.unwrap());
            assert_eq!(intent, sequence, "an intent's number tells its transactions from others'");
            sequence
        })
        .collect();
    assert_eq!(numbers, [0, 1]);
}
