//! What was anchored can be read back and proved, and does not shrink.

use super::{fee, number, point, send};
use crate::chain::{Action, AnchorPoint, AnchoredHead, Chain, ChainError, InclusionClaim};

pub(super) async fn check(chain: &dyn Chain, contract: &str) {
    an_anchor_can_be_read_back_and_does_not_shrink(chain, contract).await;
    a_leaf_is_proved_by_the_newest_anchor(chain, contract).await;
}

async fn an_anchor_can_be_read_back_and_does_not_shrink(chain: &dyn Chain, contract: &str) {
    let anchored = point(50, 3);
    let outcome = send(chain, "anchor", Action::Anchor { contract: contract.to_owned(), point: anchored }).await;
    assert!(outcome.succeeded);
    let read = chain.read_anchor(contract, &anchored.log_id).await.expect("the chain answers");
    assert_eq!(read, Some(AnchoredHead::of(&anchored)));
    assert_eq!(chain.read_anchor(contract, &[0; 32]).await.expect("the chain answers"), None);
    let alone = InclusionClaim { log_id: anchored.log_id, leaf_hash: [9; 32], index: 0, path: Vec::new() };
    assert!(!chain.verify_inclusion(contract, &alone).await.expect("the chain answers"), "it has 50 leaves");
    for wrong in [point(49, 3), point(50, 4)] {
        // A driver may refuse to sign what cannot succeed, or the contract lets it fail. A memo that says it lands,
        // and changes nothing.
        let action = Action::Anchor { contract: contract.to_owned(), point: wrong };
        match chain.sign(&action, number(chain).await, fee(chain).await).await {
            Err(ChainError::Rejected { .. }) => {}
            Ok(_) => {
                let succeeded = send(chain, "wrong", action).await.succeeded;
                assert!(!succeeded || !chain.needs_contract(), "{wrong:?}");
            }
            Err(error) => panic!("{error}"),
        }
        let read = chain.read_anchor(contract, &anchored.log_id).await.expect("the chain answers");
        assert_eq!(read, Some(AnchoredHead::of(&anchored)));
    }
}

async fn a_leaf_is_proved_by_the_newest_anchor(chain: &dyn Chain, contract: &str) {
    // A tree of one leaf: its root is the leaf's hash, and the path is empty.
    let (log_id, leaf_hash) = ([8; 32], [5; 32]);
    let anchored = AnchorPoint { log_id, tree_size: 1, root: leaf_hash };
    assert!(send(chain, "leaf", Action::Anchor { contract: contract.to_owned(), point: anchored }).await.succeeded);
    let claim = InclusionClaim { log_id, leaf_hash, index: 0, path: Vec::new() };
    assert!(chain.verify_inclusion(contract, &claim).await.expect("the chain answers"));
    for wrong in [
        InclusionClaim { leaf_hash: [6; 32], ..claim.clone() },
        InclusionClaim { index: 1, ..claim.clone() },
        InclusionClaim { path: vec![[0; 32]], ..claim.clone() },
        InclusionClaim { log_id: [0; 32], ..claim },
    ] {
        assert!(!chain.verify_inclusion(contract, &wrong).await.expect("the chain answers"), "{wrong:?}");
    }
}
