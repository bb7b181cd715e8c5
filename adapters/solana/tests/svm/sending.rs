//! Every intent once: whatever is killed, lost or late.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use solana_pubkey::Pubkey;
use steward_adapters::chain::{Action, Chain as _, TransactionStatus};
use steward_adapters::conformance::point;
use steward_adapters::outbox::{Effect, Event};
use steward_adapters_solana::SolanaChain;

use crate::cluster::{balance, payment, start};
use crate::sender::Sender;

/// Enough for an account to exist.
const LAMPORTS: u64 = 1_000_000;

fn wallet(number: u64) -> String {
    let mut bytes = [0x77; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Pubkey::new_from_array(bytes).to_string()
}

fn anchor(number: u64) -> Action {
    let mut point = point(number + 1, 1);
    point.log_id[..8].copy_from_slice(&number.to_be_bytes());
    Action::Anchor { contract: String::new(), point }
}

#[tokio::test]
async fn an_outbox_killed_before_or_after_any_effect_pays_once() {
    let cluster = start().await;
    let mut sender = Sender::new(&cluster.ours);
    for round in 0..10_u64 {
        let key = format!("payment {round}");
        sender.submit(&key, payment(&wallet(round), LAMPORTS, None));
        // In round n the process dies around its n-th effect: even rounds before it, odd ones after it.
        let mut effects = 0;
        while !sender.outbox.is_settled() {
            for effect in sender.effects() {
                if effects == round / 2 {
                    if round % 2 == 0 {
                        sender.die();
                    } else {
                        sender.carry_and_die(effect).await;
                    }
                    effects += 1;
                    break;
                }
                sender.carry(effect).await;
                effects += 1;
            }
            sender.pass_time().await;
        }
        assert!(effects > round / 2, "the kill happened");
        assert!(sender.intent(&key).outcome.clone().unwrap().succeeded);
        assert_eq!(balance(&cluster.ours, &wallet(round), None).await, u128::from(LAMPORTS), "round {round}");
        sender.apply(Event::Acknowledged { key });
    }
}

#[tokio::test]
async fn a_payment_that_was_signed_and_never_sent_is_signed_again_when_it_has_expired_for_good() {
    let cluster = start().await;
    let mut sender = Sender::new(&cluster.ours);
    sender.submit("payment", payment(&wallet(0), LAMPORTS, None));
    sender.until(|effect| matches!(effect, Effect::Broadcast { .. })).await;
    let first = sender.transaction("payment");
    sender.die();
    // The node is away for longer than the transaction lives.
    while cluster.ours.status(&first).await.unwrap() != TransactionStatus::Expired {
        sender.pass_time().await;
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
    let mut sender = Sender::new(&cluster.ours);
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
    let mut sender = Sender::new(&cluster.ours);
    sender.submit("one", payment(&wallet(0), LAMPORTS, None));
    sender.submit("another", payment(&wallet(0), LAMPORTS, None));
    sender.settle().await;
    assert_eq!(balance(&cluster.ours, &wallet(0), None).await, 2 * u128::from(LAMPORTS));
}

/// Payments and anchors each: short by default, as many as `STEWARD_SOLANA_INTENTS` says.
fn intents() -> u64 {
    std::env::var("STEWARD_SOLANA_INTENTS").map_or(12, |intents| intents.parse().unwrap())
}

#[tokio::test]
async fn many_payments_and_anchors_are_each_made_once_through_kills_and_lost_replies() {
    let cluster = start().await;
    let mut sender = Sender::new(&cluster.ours);
    let mut random = StdRng::seed_from_u64(4);
    let (mut kills, mut lost) = (0, 0);
    let mut done = BTreeSet::new();
    for number in 0..intents() {
        sender.submit(&format!("payment {number}"), payment(&wallet(number), LAMPORTS, None));
        sender.submit(&format!("anchor {number}"), anchor(number));
    }
    while !sender.outbox.intents().is_empty() {
        for effect in sender.effects() {
            match (random.random_range(0..40), effect) {
                (0, _) => {
                    sender.die();
                    kills += 1;
                    break;
                }
                (1, effect) => {
                    sender.carry_and_die(effect).await;
                    kills += 1;
                    break;
                }
                (2..6, Effect::Broadcast { intent, transaction }) => {
                    cluster.ours.broadcast(&transaction.bytes).await.unwrap();
                    let result = Err("the reply was lost".to_owned());
                    sender.apply(Event::Broadcast { intent, hash: transaction.hash, result });
                    lost += 1;
                }
                (_, effect) => sender.carry(effect).await,
            }
        }
        acknowledge(&mut sender, &mut done);
        sender.pass_time().await;
    }
    assert!(kills > 0 && lost > 0, "{kills} kills, {lost} replies lost");
    assert_eq!(done.len() as u64, 2 * intents(), "every intent has a transaction of its own");
    for number in 0..intents() {
        assert_eq!(balance(&cluster.ours, &wallet(number), None).await, u128::from(LAMPORTS), "payment {number}");
        check_anchored(&cluster.ours, number).await;
    }
    println!("{} intents through {kills} kills and {lost} lost replies", done.len());
}

/// Takes note of what is done: the hashes of the transactions that landed.
fn acknowledge(sender: &mut Sender<'_>, done: &mut BTreeSet<String>) {
    let finished: Vec<(String, String)> = sender
        .outbox
        .intents()
        .values()
        .filter_map(|intent| {
            let outcome = intent.outcome.as_ref()?;
            assert!(outcome.succeeded, "{intent:?}");
            Some((intent.key.clone(), outcome.hash.clone()))
        })
        .collect();
    for (key, hash) in finished {
        assert!(done.insert(hash), "{key} landed with another's transaction");
        sender.apply(Event::Acknowledged { key });
    }
}

async fn check_anchored(chain: &SolanaChain, number: u64) {
    let Action::Anchor { point, .. } = anchor(number) else { unreachable!() };
    let read = chain.read_anchor("", &point.log_id).await.unwrap();
    assert_eq!(read.map(|head| head.tree_size), Some(point.tree_size), "anchor {number}");
}
