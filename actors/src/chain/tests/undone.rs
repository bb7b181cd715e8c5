//! What was final and is undone: an entity with nothing to do notices, says so, and brings it back.

use steward_adapters::outbox::Stall;

use super::*;

/// Asks until the status is as it should be.
async fn until_status(node: &Node, is_so: impl Fn(&ChainStatus) -> bool) -> ChainStatus {
    let clock = SystemClock::new();
    let end = clock.now().saturating_add(Duration::from_secs(30));
    loop {
        let ChainResponse::Status(status) = node.ask(ChainRequest::Status).await else { panic!("no status") };
        if is_so(&status) {
            return *status;
        }
        assert!(clock.now() < end, "it never came to be so: {status:?}");
        clock.sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_reorganisation_of_what_was_final_is_shown_and_the_anchor_comes_back() {
    let (store, chain) = memos(2, Mining::Manual);
    let mut settings = ChainSettings::new(Arc::clone(&chain) as _);
    settings.outbox.stuck_ms = 200;
    let node = Node::start_with(&store, settings).await;
    let acme = project("acme");
    node.append(&acme, 0).await;
    let mine = async {
        let clock = SystemClock::new();
        loop {
            chain.with_ledger(|ledger| ledger.mine());
            clock.sleep(Duration::from_millis(5)).await;
        }
    };
    let answer = tokio::select! {
        answer = node.ask(ChainRequest::Anchor(acme.clone())) => answer,
        () = mine => unreachable!(),
    };
    assert!(matches!(answer, ChainResponse::Anchored(_)), "{answer:?}");
    assert_eq!(landed(&chain).len(), 1);

    let blocks = chain.with_ledger(|ledger| ledger.head().block);
    chain.with_ledger(|ledger| ledger.undo_final(blocks));
    assert!(landed(&chain).is_empty(), "the reorganisation undid the anchor");
    let status = until_status(&node, |status| status.stall.is_some()).await;
    assert!(matches!(status.stall, Some(Stall::Undone { .. })), "{status:?}");
    assert_eq!(status.intents, 0, "there was nothing to do");

    until_status(&node, |_| chain.with_ledger(|ledger| ledger.pool_len()) == 1).await;
    chain.with_ledger(|ledger| (0..2).for_each(|_| ledger.mine()));
    until_status(&node, |status| status.stall.is_none()).await;
    assert_eq!(landed(&chain).len(), 1, "the same bytes landed again, once");
}
