//! Anchors of a trial on chains where they are memos.

use steward_adapters::chain::{Action, AnchorPoint};
use steward_adapters::conformance::point;

/// Anchors of one log are so many anchors apart, so that no two are under way at once: then they keep their order.
const LOGS: u64 = 64;

/// What the anchor of this number says.
pub fn memo_point(number: u64) -> AnchorPoint {
    let mut log_id = [9; 32];
    log_id[..8].copy_from_slice(&(number % LOGS).to_be_bytes());
    AnchorPoint { log_id, ..point(number / LOGS + 1, 1) }
}

/// The anchor of this number.
pub fn memo_anchor(number: u64) -> Action {
    Action::Anchor { contract: String::new(), point: memo_point(number) }
}
