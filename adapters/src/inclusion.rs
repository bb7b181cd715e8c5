//! What a receipt log's contract checks, for chains whose anchors are memos: that a leaf is in a tree, and that a tree
//! only grows.

use sha2::{Digest as _, Sha256};

use crate::chain::{AnchorPoint, InclusionClaim};

impl AnchorPoint {
    /// Whether it may be anchored after `newest`, the newest anchor of the same log: the tree is larger, or the same.
    pub fn may_follow(&self, newest: &Self) -> bool {
        self.tree_size > newest.tree_size || self == newest
    }
}

impl InclusionClaim {
    /// Whether the leaf is in this tree of the same log: RFC 9162, section 2.1.3.2.
    pub fn is_in(&self, point: &AnchorPoint) -> bool {
        if self.log_id != point.log_id || self.index >= point.tree_size {
            return false;
        }
        let (mut node, mut last, mut hash) = (self.index, point.tree_size - 1, self.leaf_hash);
        for sibling in &self.path {
            if last == 0 {
                return false;
            }
            if node & 1 == 1 || node == last {
                hash = hash_children(sibling, &hash);
                while node & 1 == 0 && node != 0 {
                    (node, last) = (node >> 1, last >> 1);
                }
            } else {
                hash = hash_children(&hash, sibling);
            }
            (node, last) = (node >> 1, last >> 1);
        }
        last == 0 && hash == point.root
    }
}

fn hash_children(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn the_shared_vectors_paths_hold_and_no_other_do() {
        let vectors: Value = serde_json::from_str(include_str!("../../contracts/receipts/vectors/tree.json")).unwrap();
        let hash = |value: &Value| <[u8; 32]>::try_from(hex::decode(value.as_str().unwrap()).unwrap()).unwrap();
        let cases = vectors["inclusion"].as_array().unwrap();
        assert!(!cases.is_empty());
        for case in cases {
            let (index, tree_size) = (case["index"].as_u64().unwrap(), case["size"].as_u64().unwrap());
            let root = hash(&vectors["roots"][tree_size as usize]);
            let point = AnchorPoint { log_id: [7; 32], tree_size, root };
            let path: Vec<_> = case["path"].as_array().unwrap().iter().map(hash).collect();
            let leaf_hash = hash(&vectors["leaf_hashes"][index as usize]);
            let claim = InclusionClaim { log_id: [7; 32], leaf_hash, index, path };
            assert!(claim.is_in(&point), "{case}");
            let mut longer = claim.clone();
            longer.path.push([0; 32]);
            let another_leaf = InclusionClaim { leaf_hash: [0; 32], ..claim.clone() };
            let another_place = InclusionClaim { index: index + 1, ..claim.clone() };
            let another_log = InclusionClaim { log_id: [8; 32], ..claim };
            for wrong in [longer, another_leaf, another_place, another_log] {
                assert!(!wrong.is_in(&point), "{wrong:?}");
            }
        }
    }

    #[test]
    fn a_tree_does_not_shrink_nor_change() {
        let point = |tree_size, byte| AnchorPoint { log_id: [7; 32], tree_size, root: [byte; 32] };
        let check = |next, may| assert_eq!(point(next, 1).may_follow(&point(10, 1)), may, "{next}");
        check(9, false);
        check(10, true);
        check(11, true);
        assert!(!point(10, 2).may_follow(&point(10, 1)));
    }
}
