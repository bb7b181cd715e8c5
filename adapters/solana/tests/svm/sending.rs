//! Every intent once: whatever is killed, lost or late.

use std::ops::Range;

use solana_pubkey::Pubkey;
use steward_adapters::chain::{Chain as _, TransactionStatus};
use steward_adapters::outbox::{Effect, Event};
use steward_chaos_chains::sender::When;

use crate::cluster::{balance, payment, sender, start};

/// Enough for an account to exist.
pub const LAMPORTS: u64 = 1_000_000;

/// Of an intent's effects, those that come however slow the machine is: it is signed, sent, and asked after. A transaction
/// that is final when it is first asked after has no more.
pub const SURE_EFFECTS: Range<usize> = 0..3;

pub fn wallet(number: u64) -> String {
    let mut bytes = [0x77; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Pubkey::new_from_array(bytes).to_string()
}

#[tokio::test]
async fn an_outbox_killed_before_or_after_any_effect_pays_once() {
    let cluster = start().await;
    let mut sender = sender(&cluster.ours);
    let moments = SURE_EFFECTS.flat_map(|effect| When::BOTH.map(|when| (effect, when)));
    for (round, (effect, when)) in (0..).zip(moments) {
        let key = format!("payment {round}");
        sender.submit(&key, payment(&wallet(round), LAMPORTS, None));
        sender.settle_and_die_at(effect, when, async || {}).await;
        assert!(sender.intent(&key).outcome.clone().unwrap().succeeded);
        assert_eq!(balance(&cluster.ours, &wallet(round), None).await, u128::from(LAMPORTS), "round {round}");
        sender.acknowledge(&key);
    }
}

#[tokio::test]
async fn a_payment_that_was_signed_and_never_sent_is_signed_again_when_it_has_expired_for_good() {
    let cluster = start().await;
    let mut sender = sender(&cluster.ours);
    sender.submit("payment", payment(&wallet(0), LAMPORTS, None));
    sender.until(|effect| matches!(effect, Effect::Broadcast { .. })).await;
    let first = sender.newest();
    sender.die();
    // The node is away for longer than the transaction lives.
    while cluster.ours.status(&first).await.unwrap() != TransactionStatus::Expired {
        sender.wait().await;
    }
    let effect = sender.until(|effect| matches!(effect, Effect::Broadcast { .. })).await;
    let Effect::Broadcast { transaction, .. } = &effect else { unreachable!() };
    assert_eq!(*transaction, first, "nothing else is sent before the chain said that it has expired");
    sender.settle().await;
    let intent = sender.intent("payment");
    assert_eq!(intent.expired, 1);
    let outcome = intent.outcome.clone().unwrap();
    assert!(outcome.succeeded && outcome.hash != first.hash);
    cluster.ours.broadcast(&first.bytes).await.unwrap();
    assert_eq!(cluster.ours.status(&first).await.unwrap(), TransactionStatus::Expired);
    assert_eq!(balance(&cluster.ours, &wallet(0), None).await, u128::from(LAMPORTS));
}

#[tokio::test]
async fn a_payment_whose_reply_was_lost_is_found_and_not_signed_again() {
    let cluster = start().await;
    let mut sender = sender(&cluster.ours);
    sender.submit("payment", payment(&wallet(0), LAMPORTS, None));
    let effect = sender.until(|effect| matches!(effect, Effect::Broadcast { .. })).await;
    let Effect::Broadcast { intent, transaction } = effect else { unreachable!() };
    cluster.ours.broadcast(&transaction.bytes).await.unwrap();
    let lost = Err("the reply was lost".to_owned());
    sender.apply(Event::Broadcast { intent, hash: transaction.hash.clone(), result: lost });
    sender.settle().await;
    assert_eq!(sender.intent("payment").expired, 0);
    assert_eq!(sender.intent("payment").outcome.clone().unwrap().hash, transaction.hash);
    assert_eq!(balance(&cluster.ours, &wallet(0), None).await, u128::from(LAMPORTS));
}

#[tokio::test]
async fn two_payments_that_are_the_same_are_both_made() {
    let cluster = start().await;
    let mut sender = sender(&cluster.ours);
    sender.submit("one", payment(&wallet(0), LAMPORTS, None));
    sender.submit("another", payment(&wallet(0), LAMPORTS, None));
    sender.settle().await;
    assert_eq!(balance(&cluster.ours, &wallet(0), None).await, 2 * u128::from(LAMPORTS));
}
