//! What an operator lets projects do with a chain's wallet. Without such terms nobody may send anything.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_scripting::manifest::{ANYBODY, SpendingRules};
use steward_types::{Amount, Micros, ProjectId};

/// An operator's terms for one chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpendingTerms {
    /// The most that the chain may take as the fee of one transaction, in the smallest unit of the coin that fees are paid
    /// in. A session's budget holds its price until the transaction is final.
    pub fee_max: Amount,
    /// What projects pay for that coin.
    pub fee_price: FeePrice,
    /// What each project may do; `*` is every project without an entry of its own.
    pub projects: BTreeMap<String, SpendingRules>,
}

/// What so many of the coin's smallest unit cost a budget: a ratio of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeePrice {
    /// Micro-units of the budget.
    pub micros: u64,
    /// For so many of the smallest unit; not 0.
    pub per: Amount,
}

impl SpendingTerms {
    /// What a project may do.
    pub fn of(&self, project: &ProjectId) -> Option<&SpendingRules> {
        self.projects.get(project.as_str()).or_else(|| self.projects.get(ANYBODY))
    }
}

impl FeePrice {
    /// What a fee costs, rounded up to a micro-unit; nothing when that cannot be said.
    pub fn of(&self, fee: Amount) -> Option<Micros> {
        let fine = fee.units().checked_mul(self.micros.into())?;
        let micros = fine.checked_add(self.per.units().checked_sub(1)?)?.checked_div(self.per.units())?;
        u64::try_from(micros).ok().map(Micros::new)
    }
}
