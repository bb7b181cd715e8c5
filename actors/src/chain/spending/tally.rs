//! What was spent today, and how many orders are open: one row a project and one an agent, counted in the transaction
//! that records an order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_types::Amount;

use crate::budget::Day;

/// Sums of one project, or one agent, on one chain.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// The day that the sums are of.
    day: Day,
    /// What was spent of each asset; of the chain's own coin under the empty name.
    spent: BTreeMap<String, Amount>,
    /// Orders that have not ended. Only a project's tally counts them.
    pub open: u32,
}

impl Tally {
    /// What was spent of an asset on this day.
    pub fn spent(&self, asset: Option<&str>, today: Day) -> Amount {
        if today > self.day {
            return Amount::ZERO;
        }
        self.spent.get(&name(asset)).copied().unwrap_or_default()
    }

    /// Counts what is spent; false when the sum cannot be said, and nothing is counted then. A clock that steps back
    /// counts in the newest day, so that no day is begun twice.
    #[must_use]
    pub fn count(&mut self, asset: Option<&str>, amount: Amount, today: Day) -> bool {
        if today > self.day {
            (self.day, self.spent) = (today, BTreeMap::new());
        }
        let sum = self.spent.entry(name(asset)).or_default();
        let counted = sum.checked_add(amount);
        *sum = counted.unwrap_or(*sum);
        counted.is_some()
    }
}

/// One name for all ways to write an address: in hexadecimal, capitals are a checksum and nothing more.
fn name(asset: Option<&str>) -> String {
    let asset = asset.unwrap_or_default();
    if asset.starts_with("0x") { asset.to_ascii_lowercase() } else { asset.to_owned() }
}
