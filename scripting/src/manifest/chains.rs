//! What may be done on a chain: whom to pay, what to call, how much of what. An agent's manifest says it for the agent,
//! and the node's configuration, in the same words, for a project.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_types::Amount;

/// Everybody, in the place of an address; every method, in the place of a method.
pub const ANYBODY: &str = "*";

/// What may be done on one chain. What is not named may not be done. Names are compared as they are: whoever asks has had
/// them written in the chain's one way, here and there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SpendingRules {
    /// Addresses that may be paid, or `*` for any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pay: Vec<String>,
    /// Contracts and their methods that may be called, as `CONTRACT:METHOD`: `0x…:transfer(address,uint256)`,
    /// `wasm1…:mint`, `0x…:*`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub call: Vec<String>,
    /// How much of the chain's own coin may be spent, fees apart.
    pub coin: Caps,
    /// The same of tokens, denoms and mints. One that is not named may not be sent.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub assets: BTreeMap<String, Caps>,
}

/// How much may be spent, in the smallest unit, as text. What is left out is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Caps {
    /// In one transaction.
    pub max_per_transaction: Amount,
    /// In one day of UTC, all together.
    pub max_per_day: Amount,
    /// More than this in one transaction only when a person agrees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approve_above: Option<Amount>,
}

impl SpendingRules {
    /// The caps of an asset, or of the chain's own coin; nothing when it is not named.
    pub fn caps(&self, asset: Option<&str>) -> Option<&Caps> {
        let Some(asset) = asset else { return Some(&self.coin) };
        self.assets.get(asset)
    }

    /// Whether this account may be paid.
    pub fn may_pay(&self, account: &str) -> bool {
        self.pay.iter().any(|allowed| allowed == ANYBODY || allowed == account)
    }

    /// Whether this method of this contract may be called.
    pub fn may_call(&self, contract: &str, method: &str) -> bool {
        let allows = |rule: &String| {
            rule.split_once(':')
                .is_some_and(|(allowed, name)| allowed == contract && (name == ANYBODY || name == method))
        };
        self.call.iter().any(allows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_may_be_done() {
        let rules = SpendingRules {
            pay: vec!["0xab".to_owned(), "wasm1a".to_owned()],
            call: vec!["0xc0:transfer(address,uint256)".to_owned(), "wasm1c:*".to_owned()],
            assets: BTreeMap::from([("0xdd".to_owned(), Caps::default())]),
            ..SpendingRules::default()
        };
        assert!(rules.may_pay("0xab") && rules.may_pay("wasm1a") && !rules.may_pay("WASM1A") && !rules.may_pay("0xa"));
        assert!(rules.may_call("0xc0", "transfer(address,uint256)") && rules.may_call("wasm1c", "mint"));
        assert!(!rules.may_call("0xc0", "approve(address,uint256)") && !rules.may_call("0xab", "mint"));
        assert!(rules.caps(None).is_some() && rules.caps(Some("0xdd")).is_some() && rules.caps(Some("0xab")).is_none());
        let anybody = SpendingRules { pay: vec![ANYBODY.to_owned()], ..SpendingRules::default() };
        assert!(anybody.may_pay("anyone") && !anybody.may_call("anyone", "mint"));
    }
}
