//! Many intents, each exactly once, while the outbox and the node are killed again and again.

use steward_adapters::chain::{Action, Amount, AnchoredHead, Chain, Consistency};
use steward_adapters::conformance::point;
use steward_adapters_cosmos::{Pace, Wasmd};
use steward_types::{Entropy as _, SeededEntropy};

use crate::sender::Sender;
use crate::{SOMEBODY, anchor, chain, wasmd};

const PAYMENT: Amount = Amount::new(1_000);
/// One effect in so many is the last of its process.
const KILL_EVERY: u64 = 7;
/// The node is killed once in so many intents.
const INTENTS_A_NODE: usize = 50;

/// How many anchors, and how many payments.
fn intents() -> usize {
    std::env::var("STEWARD_COSMOS_INTENTS").map_or(30, |intents| intents.parse().unwrap())
}

/// Drives the outbox until nothing is left, killing it around its effects.
async fn settle(sender: &mut Sender<'_>, entropy: &SeededEntropy, kills: &mut u64) {
    while !sender.outbox.is_settled() {
        for effect in sender.effects() {
            match entropy.next_u64() % KILL_EVERY {
                0 => sender.carry_and_die(effect).await,
                1 => sender.die(),
                _ => {
                    sender.carry(effect).await;
                    continue;
                }
            }
            *kills += 1;
            break;
        }
        sender.wait().await;
    }
}

async fn kill_node(wasmd: &mut Wasmd, sender: &mut Sender<'_>) {
    // Some of what was submitted is signed and sent, some not, when the node goes.
    for _ in 0..5 {
        sender.step().await;
    }
    wasmd.kill().await.unwrap();
    let failures = sender.failures.len();
    while sender.failures.len() == failures && !sender.outbox.is_settled() {
        sender.step().await;
    }
    wasmd.start_again(Pace::Quick).await.unwrap();
}

#[tokio::test]
async fn anchors_and_payments_land_exactly_once_through_kills_of_both_sides() {
    let Some(mut wasmd) = wasmd(Pace::Quick).await else { return };
    let (chain, entropy, intents) = (chain(&wasmd), SeededEntropy::new(4), intents());
    let mut sender = Sender::new(&chain);
    let mut kills = 0;
    for first in (0..intents).step_by(INTENTS_A_NODE / 2) {
        let batch = first..intents.min(first + INTENTS_A_NODE / 2);
        for number in batch.clone() {
            sender.submit(&format!("anchor {number}"), anchor(number as u64 + 1));
            let pay = Action::Transfer { to: SOMEBODY.to_owned(), amount: PAYMENT, asset: None };
            sender.submit(&format!("payment {number}"), pay);
        }
        kill_node(&mut wasmd, &mut sender).await;
        settle(&mut sender, &entropy, &mut kills).await;
        for key in batch.flat_map(|number| [format!("anchor {number}"), format!("payment {number}")]) {
            let intent = sender.outbox.intent(&key).unwrap();
            assert!(intent.outcome.as_ref().unwrap().succeeded, "{intent:?}");
            assert_eq!(intent.displaced, 0, "{intent:?}");
            sender.acknowledge(&key);
        }
    }
    let count = intents as u64;
    assert_eq!(chain.sequence(Consistency::Final).await.unwrap(), Some(2 * count), "one transaction an intent");
    let paid = chain.balance(SOMEBODY, None, Consistency::Final).await.unwrap();
    assert_eq!(paid.units(), PAYMENT.units() * u128::from(count));
    let newest = chain.read_anchor("", &[7; 32]).await.unwrap();
    assert_eq!(newest, Some(AnchoredHead::of(&point(count, count as u8))));
    assert!(kills > 0, "the outbox was killed");
    assert!(!sender.failures.is_empty(), "the node was gone for a while");
    println!("{count} anchors and {count} payments, each once, through {kills} kills of the outbox");
}
