//! Anchors as memos: read back, proved, and whose they are.

use std::collections::BTreeMap;

use steward_adapters::chain::{Action, AnchorPoint, AnchoredHead, Chain, ChainError, InclusionClaim};
use steward_adapters::conformance::{point, send};
use steward_adapters_cosmos::{Pace, verify_anchored};
use steward_receipts::{Frontier, Hash, NodeId, merkle};

use crate::{anchor, chain, chain_of_second_account, fee, wasmd};

#[tokio::test]
async fn true_proofs_are_told_from_false_ones_at_every_size() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let chain = chain(&wasmd);
    let log_id = *steward_receipts::log_id("example.org/log").as_bytes();
    let (mut frontier, mut nodes) = (Frontier::new(), BTreeMap::<NodeId, Hash>::new());
    for size in 1..=5_u64 {
        let leaf = |number: u64| Hash::of_leaf(&number.to_be_bytes());
        frontier.append(leaf(size - 1), |id, hash| {
            nodes.insert(id, hash);
        });
        let point = AnchorPoint { log_id, tree_size: size, root: *frontier.root().as_bytes() };
        let outcome = send(&chain, "anchor", Action::Anchor { contract: String::new(), point }).await;
        assert!(outcome.succeeded);
        for index in 0..size {
            let path = merkle::inclusion_path(index, size, &nodes).unwrap();
            let path: Vec<[u8; 32]> = path.iter().map(|hash| *hash.as_bytes()).collect();
            let claim = InclusionClaim { log_id, leaf_hash: *leaf(index).as_bytes(), index, path };
            assert!(chain.verify_inclusion("", &claim).await.unwrap(), "leaf {index} of {size}");
            let config = wasmd.config();
            let online = verify_anchored(config.chain, config.endpoint, &outcome.hash, &point, &claim);
            assert!(online.await.unwrap(), "leaf {index} of {size}");
            let wrong_leaf = InclusionClaim { leaf_hash: *leaf(index + 1).as_bytes(), ..claim.clone() };
            let wrong_log = InclusionClaim { log_id: [0; 32], ..claim };
            for wrong in [wrong_leaf, wrong_log] {
                assert!(!chain.verify_inclusion("", &wrong).await.unwrap(), "{wrong:?} in {size}");
            }
        }
    }
}

#[tokio::test]
async fn a_strangers_anchor_stands_under_the_strangers_name() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let (owner, stranger) = (chain(&wasmd), chain_of_second_account(&wasmd));
    send(&owner, "ours", anchor(2)).await;
    let theirs = send(&stranger, "theirs", anchor(1)).await;
    assert!(theirs.succeeded);
    for (chain, size) in [(&owner, 2), (&stranger, 1)] {
        let head = chain.read_anchor("", &[7; 32]).await.unwrap();
        assert_eq!(head, Some(AnchoredHead::of(&point(size, size as u8))));
    }
    // Whoever verifies a transaction is told what it anchored and nothing else.
    let config = wasmd.config();
    let claim = InclusionClaim { log_id: [7; 32], leaf_hash: [1; 32], index: 0, path: Vec::new() };
    let verify = async |hash: &str, point: AnchorPoint| {
        verify_anchored(config.chain.clone(), config.endpoint.clone(), hash, &point, &claim).await
    };
    assert!(verify(&theirs.hash, point(1, 1)).await.unwrap());
    let error = verify(&theirs.hash, point(2, 2)).await.unwrap_err();
    assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
    let unknown = "00".repeat(32);
    let error = verify(&unknown, point(1, 1)).await.unwrap_err();
    assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
}

#[tokio::test]
async fn what_has_no_contract_deploys_none_and_takes_none() {
    let Some(wasmd) = wasmd(Pace::Quick).await else { return };
    let chain = chain(&wasmd);
    let with_contract = Action::Anchor { contract: chain.account().to_owned(), point: point(1, 1) };
    for action in [Action::DeployReceiptLog, with_contract] {
        let error = chain.sign(&action, 0, fee(&chain).await).await.unwrap_err();
        assert!(matches!(error, ChainError::Rejected { .. }), "{error}");
    }
}
