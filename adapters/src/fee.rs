//! Fees and their caps. Pure: the market is given, the choice comes back.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What a transaction offers, in the chain's smallest unit for each unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Fee {
    /// The most that is paid in all.
    pub price: u64,
    /// What of it goes to whoever includes the transaction.
    pub tip: u64,
}

/// What the chain asks now, in the chain's smallest unit for each unit of gas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct MarketFee {
    /// What every transaction pays in the next block.
    pub base: u64,
    /// What is usual on top of it.
    pub tip: u64,
}

/// How fees are chosen and where they end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FeePolicy {
    /// The most that may be offered for each unit of gas, in the chain's smallest unit.
    pub price_max: u64,
    /// The most gas that one transaction may need.
    pub gas_max: u64,
    /// How many times the base fee is offered, so that the transaction survives some full blocks.
    pub base_multiple: u64,
    /// By how many percent a replacement raises the fee. Nodes of Ethereum ask for at least 10.
    pub bump_percent: u64,
}

/// The fee that is needed is above the cap.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{needed} for each unit of gas are needed and {price_max} are allowed")]
pub struct FeeCapped {
    /// What is needed.
    pub needed: u64,
    /// What the policy allows.
    pub price_max: u64,
}

impl Default for FeePolicy {
    /// At most 200 gwei, 5 M gas, twice the base fee, 15 % more for a replacement.
    fn default() -> Self {
        Self { price_max: 200_000_000_000, gas_max: 5_000_000, base_multiple: 2, bump_percent: 15 }
    }
}

impl FeePolicy {
    /// The fee to offer: what the market asks with a margin, but at least what replaces `replaced`.
    ///
    /// # Errors
    /// [`FeeCapped`] when the base fee and the tip, or the replacement, are above the cap. A margin alone is cut.
    pub fn choose(&self, market: MarketFee, replaced: Option<Fee>) -> Result<Fee, FeeCapped> {
        let bumped = replaced.map(|fee| Fee { price: self.bump(fee.price), tip: self.bump(fee.tip) });
        let least = bumped.unwrap_or_default();
        let tip = market.tip.max(least.tip);
        let needed = market.base.saturating_add(tip).max(least.price);
        if needed > self.price_max {
            return Err(FeeCapped { needed, price_max: self.price_max });
        }
        let generous = market.base.saturating_mul(self.base_multiple).saturating_add(tip);
        Ok(Fee { price: generous.clamp(needed, self.price_max), tip })
    }

    fn bump(&self, amount: u64) -> u64 {
        let more = u128::from(amount) * u128::from(self.bump_percent);
        amount.saturating_add(u64::try_from(more.div_ceil(100)).unwrap_or(u64::MAX)).max(amount.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fee_above_the_cap_is_refused_and_a_margin_above_it_is_cut() {
        let policy = FeePolicy { price_max: 100, ..FeePolicy::default() };
        assert_eq!(policy.choose(MarketFee { base: 10, tip: 1 }, None), Ok(Fee { price: 21, tip: 1 }));
        assert_eq!(policy.choose(MarketFee { base: 90, tip: 1 }, None), Ok(Fee { price: 100, tip: 1 }));
        let capped = FeeCapped { needed: 101, price_max: 100 };
        assert_eq!(policy.choose(MarketFee { base: 100, tip: 1 }, None), Err(capped));
    }

    proptest! {
        #[test]
        fn a_fee_covers_the_market_beats_what_it_replaces_and_keeps_the_cap(
            base: u64, tip: u64, replaced in prop::option::of((any::<u64>(), any::<u64>())), price_max: u64,
        ) {
            let policy = FeePolicy { price_max, ..FeePolicy::default() };
            let replaced = replaced.map(|(price, tip)| Fee { price, tip });
            if let Ok(fee) = policy.choose(MarketFee { base, tip }, replaced) {
                prop_assert!(fee.price <= price_max && fee.tip <= fee.price);
                prop_assert!(fee.price >= base && fee.tip >= tip);
                if let Some(old) = replaced {
                    let enough = |new: u64, old: u64| u128::from(new) * 10 >= u128::from(old) * 11;
                    prop_assert!(enough(fee.price, old.price) && enough(fee.tip, old.tip));
                }
            }
        }
    }
}
