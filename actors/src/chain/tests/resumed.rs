//! What a node finds in its outbox that another configuration, or a process that died, left there.

use steward_adapters::chain::SignedTransaction;
use steward_adapters::fee::Fee;
use steward_adapters::outbox::{Event, Sequences, Standing};

use super::*;
use crate::chain::desk::{Desk, End};
use crate::chain::records::{AnchorWish, Stored};

/// A desk that anchors one root in `contract`, and the transaction that it signed and has not sent.
fn signed(contract: &str) -> (Desk, SignedTransaction) {
    let (policy, contract) = (OutboxPolicy::default(), Some(contract.to_owned()));
    let mut desk = Desk::new(Stored::default(), policy, contract, Timestamp::EPOCH);
    let standing = Standing {
        sequences: Some(Sequences { latest: 0, finalized: 0 }),
        genesis: "block-0-0".to_owned(),
        account: "account".to_owned(),
        settled: None,
    };
    tell(&mut desk, Event::Reconciled(standing));
    let (root, recorded) = (Hash::of(b"root"), Timestamp::EPOCH);
    let wish = AnchorWish { project: project("acme"), size: 1, root, checkpoint: String::new(), recorded };
    desk.submit(wish, Hash::of(b"log"), Timestamp::EPOCH).unwrap();
    let transaction = Ledger::new(1).sign(&desk.outbox.intents()[&0].action, 0, Fee::default());
    tell(&mut desk, Event::Signed { intent: 0, transaction: transaction.clone() });
    (desk, transaction)
}

fn tell(desk: &mut Desk, event: Event) {
    desk.outbox.apply(event, Timestamp::EPOCH, &desk.policy).unwrap();
}

#[test]
fn an_anchor_is_recorded_under_the_contract_that_it_went_to() {
    let (before, transaction) = signed("configured then");
    let now = Some("configured now".to_owned());
    let mut desk = Desk::new(before.stored(), before.policy, now, Timestamp::EPOCH);
    let mut ledger = Ledger::new(1);
    ledger.broadcast(&transaction.bytes).unwrap();
    ledger.mine();
    let statuses = vec![(transaction.hash.clone(), ledger.status(&transaction))];
    tell(&mut desk, Event::Observed { intent: 0, statuses });
    let ends = desk.conclude(&CHAIN.parse().unwrap(), "account", Timestamp::EPOCH).unwrap();
    let [End::Anchored { root, .. }] = &ends[..] else { panic!("{ends:?}") };
    assert_eq!(root.anchor.contract, "configured then");
}

/// A process sent it, and died before it said so; the next one is paused.
#[tokio::test]
async fn what_may_have_been_sent_is_asked_after_while_the_chain_is_paused() {
    let (store, chain) = parts(1);
    let (desk, transaction) = signed("contract");
    for (key, value) in &desk.stored().rows(&CHAIN.parse().unwrap()).unwrap() {
        let txn = store.begin();
        txn.set(key, value).unwrap();
        txn.commit().await.unwrap();
    }
    pause(&store).await;
    chain.with_ledger(|ledger| {
        ledger.broadcast(&transaction.bytes).unwrap();
        ledger.mine();
    });
    let node = Node::start(&store, &chain).await;
    node.ask(ChainRequest::Wake).await;
    node.until_anchored(&project("acme"), 1).await;
    assert_eq!(chain.broadcasts(), 0, "nothing was sent");
}

#[tokio::test]
async fn what_was_sent_is_sent_again_while_the_chain_is_paused_when_its_pool_lost_it() {
    let (store, chain) = memos(1, Mining::Manual);
    let node = Node::start(&store, &chain).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    let id = EntityId::new(CHAIN).unwrap();
    node.host.tell::<ChainActor>(&id, ChainRequest::Anchor(acme.clone())).unwrap();
    let until_it_waits = async || {
        let clock = SystemClock::new();
        while chain.with_ledger(|ledger| ledger.pool_len()) == 0 {
            clock.sleep(Duration::from_millis(2)).await;
        }
    };
    until_it_waits().await;
    pause(&store).await;
    for _ in 0..3 {
        chain.with_ledger(Ledger::forget_pool);
        until_it_waits().await;
    }
    chain.with_ledger(Ledger::mine);
    node.until_anchored(&acme, 1).await;
    assert_eq!(landed(&chain).len(), 1);
}
