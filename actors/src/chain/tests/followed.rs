//! Logs that are anchored by themselves: when enough receipts wait, or one has waited long enough, and once in either case.

use steward_types::limits::{ANCHOR_INTERVAL_MAX, ANCHOR_INTERVAL_MIN};

use super::*;
use crate::dying_store::{Death, live_until};
use crate::receipt_log::AnchoredRoot;

/// Anchored with every third receipt, and by time in no test's life.
fn every_third() -> Follow {
    Follow { interval_ms: u64::try_from(ANCHOR_INTERVAL_MAX.as_millis()).unwrap(), receipts: Some(3) }
}

/// The sizes that landed, each at most once.
fn sizes(chain: &MemoryChain) -> Vec<u64> {
    let size = |action: Action| match action {
        Action::Anchor { point, .. } => point.tree_size,
        other => panic!("{other:?} landed"),
    };
    landed(chain).into_iter().map(size).collect()
}

async fn follow(node: &Node, project: &ProjectId, follow: Follow) {
    let ChainResponse::Done = node.ask(ChainRequest::Follow(project.clone(), Some(follow))).await else { panic!() };
}

/// What is wanted and what is in the outbox, after the chain has looked.
async fn under_way(node: &Node) -> (u64, u64) {
    node.ask(ChainRequest::Wake).await;
    let ChainResponse::Status(status) = node.ask(ChainRequest::Status).await else { panic!("no status") };
    (status.wanted, status.intents)
}

/// Makes the log one receipt long and that anchored, an hour ago; the chain does not show it. Then the log is followed.
async fn one_anchored(store: &Arc<dyn Store>, chain: &Arc<MemoryChain>, acme: &ProjectId) {
    let node = Node::start(store, chain).await;
    follow(&node, acme, every_third()).await;
    node.append(acme, 0).await;
    let head = receipt_log::head(&**store, acme).await.unwrap().unwrap();
    let anchor = steward_receipts::proof::Anchor {
        chain: CHAIN.to_owned(),
        contract: String::new(),
        transaction: "earlier".to_owned(),
        block: 1,
    };
    let anchored_at = Timestamp::from_millis(SystemClock::new().now().as_millis() - 3_600_000);
    let (size, root, checkpoint) = (head.size(), head.root(), head.checkpoint);
    let anchored = AnchoredRoot { size, root, checkpoint, anchor, anchored_at, account: String::new() };
    let txn = store.begin();
    receipt_log::record_anchor(&txn, acme, &anchored).unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn a_log_is_anchored_with_the_receipt_that_is_one_too_many_to_wait() {
    let (store, chain) = memos(1, Mining::Automatic);
    let acme = project("acme");
    let node = Node::start(&store, &chain).await;
    follow(&node, &acme, every_third()).await;
    for last in [3, 6] {
        for number in last - 3..last {
            assert_eq!(under_way(&node).await, (0, 0), "before receipt {number}");
            node.append(&acme, number).await;
        }
        node.until_anchored(&acme, last.into()).await;
    }
    assert_eq!(sizes(&chain), [3, 6]);
}

#[tokio::test]
async fn the_time_counts_where_receipts_are_too_few_and_the_number_is_no_longer_counted_once_it_is_taken_back() {
    let (store, chain) = memos(1, Mining::Automatic);
    let acme = project("acme");
    let node = Node::start(&store, &chain).await;
    let soon = u64::try_from(ANCHOR_INTERVAL_MIN.as_millis()).unwrap();
    follow(&node, &acme, Follow { interval_ms: soon, ..every_third() }).await;
    node.append(&acme, 0).await;
    node.until_anchored(&acme, 1).await;
    follow(&node, &acme, Follow { receipts: None, ..every_third() }).await;
    for number in 1..5 {
        node.append(&acme, number).await;
    }
    assert_eq!(under_way(&node).await, (0, 0));
    // A smaller number is full at once, and then holds.
    follow(&node, &acme, Follow { receipts: Some(4), ..every_third() }).await;
    node.until_anchored(&acme, 5).await;
    assert_eq!(sizes(&chain), [1, 5]);
}

#[tokio::test]
async fn a_node_that_starts_again_does_not_anchor_before_the_time_and_counts_on() {
    let (store, chain) = memos(1, Mining::Automatic);
    let acme = project("acme");
    one_anchored(&store, &chain, &acme).await;
    for number in 1..3 {
        let node = Node::start(&store, &chain).await;
        follow(&node, &acme, every_third()).await;
        node.append(&acme, number).await;
        assert_eq!(under_way(&node).await, (0, 0), "receipt {number}");
    }
    let node = Node::start(&store, &chain).await;
    node.append(&acme, 3).await;
    node.ask(ChainRequest::Wake).await;
    node.until_anchored(&acme, 4).await;
    assert_eq!(sizes(&chain), [4]);
}

/// Settles the fourth step. Its receipt enters the log when a node has one.
async fn settle_fourth(store: &Arc<dyn Store>, acme: &ProjectId) {
    let txn = store.begin();
    append_pending(&txn, &leaf(acme, 3)).await.unwrap();
    txn.commit().await.unwrap();
}

/// Where the rule takes effect: every receipt is in the log, and the anchor of all is not recorded.
async fn is_full(store: &Arc<dyn Store>, acme: &ProjectId) -> bool {
    let head = receipt_log::head(&**store, acme).await.unwrap().unwrap();
    let anchored = receipt_log::newest_anchor_on(&**store, acme, CHAIN).await.unwrap().unwrap();
    (head.size(), anchored.size) == (4, 1)
}

#[tokio::test]
async fn whatever_commit_a_node_dies_at_when_enough_receipts_wait_they_are_anchored_once() {
    let mut deaths = 0;
    for death in [Death::Before, Death::Behind] {
        for commits in 1.. {
            let (store, chain) = memos(1, Mining::Automatic);
            let acme = project("acme");
            one_anchored(&store, &chain, &acme).await;
            let before = Node::start(&store, &chain).await;
            for number in 1..3 {
                before.append(&acme, number).await;
            }
            let start = async |dying| Node::try_start(&dying, &chain).await;
            let converse = async |node: &Node| {
                settle_fourth(&store, &acme).await;
                node.wake(&acme);
                until_anchored(&store, &acme, 4).await;
                true
            };
            let (first, survived) = live_until(&store, commits, death, start, converse).await;
            deaths += u32::from(!survived && is_full(&store, &acme).await);
            let node = Node::start(&store, &chain).await;
            if first.is_none() {
                settle_fourth(&store, &acme).await;
            }
            node.wake(&acme);
            until_anchored(&store, &acme, 4).await;
            assert_eq!(sizes(&chain), [4], "died {death:?} commit {commits}");
            if survived {
                break;
            }
        }
    }
    assert!(deaths >= 4, "the node died only {deaths} times between the last receipt and the anchor");
}

#[tokio::test]
async fn what_piles_up_while_a_chain_is_down_is_one_root_after_the_one_that_was_on_its_way() {
    let (store, chain) = memos(1, Mining::Automatic);
    let acme = project("acme");
    let node = Node::start(&store, &chain).await;
    chain.set_fault(Some(Outage::Down));
    for number in 0..40 {
        node.append(&acme, number).await;
        let answer = node.ask(ChainRequest::Anchor(acme.clone())).await;
        assert!(matches!(answer, ChainResponse::Refused(ErrorCode::ChainUnavailable, _)), "{answer:?}");
    }
    assert_eq!(under_way(&node).await, (1, 1), "one root is on its way, and one more is wanted");
    chain.set_fault(None);
    node.until_anchored(&acme, 40).await;
    assert_eq!(sizes(&chain), [1, 40]);
}
