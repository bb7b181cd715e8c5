//! What goes wrong on the way: kills of the outbox and of the node, strangers, fees too low, numbers out of turn.

use steward_adapters::Fee;
use steward_adapters::chain::{AnchoredHead, Broadcast, Chain, Consistency, TransactionStatus};
use steward_adapters::conformance::{point, send};
use steward_adapters::outbox::Effect;
use steward_adapters_cosmos::Pace;
use steward_chaos_chains::sender::When;

use crate::{anchor, chain, fee, sender, wasmd};

#[tokio::test]
async fn an_outbox_killed_before_or_after_any_effect_anchors_once() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let chain = chain(&wasmd);
    let mut sender = sender(&chain);
    for (round, (effect, when)) in (1..).zip([0, 1, 2, 3].into_iter().flat_map(|n| When::BOTH.map(|when| (n, when)))) {
        let key = format!("anchor {round}");
        sender.submit(&key, anchor(round));
        sender.settle_and_die_at(effect, when, async || {}).await;
        assert!(sender.intent(&key).outcome.clone().unwrap().succeeded);
        sender.acknowledge(&key);
        assert_eq!(chain.sequence(Consistency::Latest).await.unwrap(), Some(round), "one transaction an anchor");
    }
    assert_eq!(sender.failures, 0, "{:?}", sender.last_failure);
}

#[tokio::test]
async fn a_transaction_that_the_nodes_death_took_from_the_pool_is_sent_again() {
    let Some(mut wasmd) = wasmd(Pace::Slow).await else { return };
    let chain = chain(&wasmd);
    let mut sender = sender(&chain);
    sender.submit("anchor", anchor(1));
    sender.send().await;
    let (sent, genesis) = (sender.newest(), chain.genesis().await.unwrap());
    assert_eq!(chain.status(&sent).await.unwrap(), TransactionStatus::Pending);
    wasmd.kill().await.unwrap();
    let answer = chain.status(&sent).await;
    assert!(answer.is_err(), "a dead node knows nothing: {answer:?}");
    wasmd.start_again(Pace::Quick).await.unwrap();
    assert_eq!(chain.status(&sent).await.unwrap(), TransactionStatus::Unknown, "its pool is gone");
    sender.settle().await;
    assert_eq!(sender.newest(), sent, "the same bytes");
    assert_eq!(chain.genesis().await.unwrap(), genesis);
    assert_eq!(chain.sequence(Consistency::Final).await.unwrap(), Some(1));
    assert_eq!(chain.read_anchor("", &[7; 32]).await.unwrap(), Some(AnchoredHead::of(&point(1, 1))));
}

#[tokio::test]
async fn a_strangers_use_of_the_key_costs_an_intent_its_number_but_not_its_end() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let chain = chain(&wasmd);
    let mut sender = sender(&chain);
    sender.submit("anchor", anchor(2));
    sender.until(|effect| matches!(effect, Effect::Broadcast { .. })).await;
    let displaced = sender.newest();
    // Somebody else sends with the same key before our bytes arrive.
    send(&chain, "theirs", anchor(1)).await;
    assert_eq!(chain.status(&displaced).await.unwrap(), TransactionStatus::Replaced { is_final: true });
    sender.settle().await;
    let intent = sender.outbox.intent("anchor").unwrap();
    assert_eq!(intent.displaced, 1);
    assert!(intent.outcome.clone().unwrap().succeeded);
    assert_eq!(chain.sequence(Consistency::Latest).await.unwrap(), Some(2));
    assert_eq!(chain.read_anchor("", &[7; 32]).await.unwrap(), Some(AnchoredHead::of(&point(2, 2))));
}

#[tokio::test]
async fn the_pool_says_what_is_wrong_with_a_number_or_a_fee() {
    let Some(wasmd) = wasmd(Pace::Slow).await else { return };
    let chain = chain(&wasmd);
    let sign = async |size, sequence| chain.sign(&anchor(size), sequence, fee(&chain).await).await.unwrap();
    let (first, rival, second, fourth) = (sign(1, 0).await, sign(2, 0).await, sign(3, 1).await, sign(4, 3).await);
    let free = chain.sign(&anchor(1), 0, Fee { price: 1, tip: 0 }).await.unwrap();
    let broadcast = async |bytes: &[u8]| chain.broadcast(bytes).await.unwrap();
    let answer = broadcast(&free.bytes).await;
    assert!(matches!(&answer, Broadcast::Refused { reason } if reason.contains("insufficient fee")), "{answer:?}");
    assert_eq!(broadcast(&first.bytes).await, Broadcast::Accepted);
    assert_eq!(broadcast(&first.bytes).await, Broadcast::Accepted, "it waits already");
    assert_eq!(broadcast(&rival.bytes).await, Broadcast::Underpriced, "the pool is not outbid");
    let answer = broadcast(&fourth.bytes).await;
    assert!(matches!(&answer, Broadcast::Refused { reason } if reason.contains("expected 1, got 3")), "{answer:?}");
    assert_eq!(broadcast(&second.bytes).await, Broadcast::Accepted);
    let third = sign(4, 2).await;
    assert_eq!(broadcast(&third.bytes).await, Broadcast::Accepted, "signed over what waits");
    for (transaction, status) in [
        (&first, TransactionStatus::Pending),
        (&rival, TransactionStatus::Unknown),
        (&third, TransactionStatus::Pending),
    ] {
        assert_eq!(chain.status(transaction).await.unwrap(), status);
    }
    assert_eq!(chain.sequence(Consistency::Latest).await.unwrap(), Some(0), "no block was made meanwhile");
}
