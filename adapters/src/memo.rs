//! The anchor as a memo, for chains on which anchoring needs no contract: one text for Cosmos, Solana and whoever comes.
//!
//! Written in `contracts/receipts/FORMAT.md`, section "The anchor". There is one way to write an anchor, so that a reader
//! takes either exactly that or nothing.

use crate::chain::AnchorPoint;

/// What a memo that is an anchor begins with.
const NAME: &str = "steward-anchor/1";

impl AnchorPoint {
    /// The memo that anchors it: at most 167 bytes of ASCII.
    pub fn to_memo(&self) -> String {
        format!("{NAME} {} {} {}", hex::encode(self.log_id), self.tree_size, hex::encode(self.root))
    }

    /// What a memo anchors; nothing when it is no anchor, or one written in another way than [`to_memo`](Self::to_memo).
    pub fn from_memo(memo: &str) -> Option<Self> {
        let mut fields = memo.strip_prefix(NAME)?.strip_prefix(' ')?.splitn(3, ' ');
        let (log_id, tree_size, root) = (fields.next()?, fields.next()?, fields.next()?);
        let point = Self { log_id: bytes(log_id)?, tree_size: tree_size.parse().ok()?, root: bytes(root)? };
        // Capital digits, leading zeros and signs are read above, and are not how it is written.
        (point.to_memo() == memo).then_some(point)
    }
}

fn bytes(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn memos_are_those_of_the_shared_vectors() {
        let vectors: Value = serde_json::from_str(include_str!("../../contracts/receipts/vectors/notes.json")).unwrap();
        let text = |name: &str| vectors[name].as_str().unwrap();
        let (log_id, root) = (bytes(text("log_id")).unwrap(), bytes(text("root")).unwrap());
        let point = AnchorPoint { log_id, tree_size: vectors["size"].as_u64().unwrap(), root };
        assert_eq!(point.to_memo(), text("memo"));
        assert_eq!(AnchorPoint::from_memo(text("memo")), Some(point));
        let invalid = vectors["invalid_memos"].as_object().unwrap();
        assert!(!invalid.is_empty());
        for (name, memo) in invalid {
            assert_eq!(AnchorPoint::from_memo(memo.as_str().unwrap()), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_memo_is_read_back_and_is_short(log_id: [u8; 32], tree_size: u64, root: [u8; 32]) {
            let point = AnchorPoint { log_id, tree_size, root };
            prop_assert!(point.to_memo().len() <= 167);
            prop_assert_eq!(AnchorPoint::from_memo(&point.to_memo()), Some(point));
        }

        #[test]
        fn any_text_is_refused_or_written_the_same(text in "steward-anchor/1( [0-9a-fA-F+]{0,3}){2,4}|\\PC*") {
            if let Some(point) = AnchorPoint::from_memo(&text) {
                prop_assert_eq!(point.to_memo(), text);
            }
        }
    }
}
