//! What agents may spend on chains: the agent's manifest and the operator's terms, of which the narrower holds, and what
//! was spent today. Pure: the rules, the sums and the time are given.

mod canonical;
mod policy;
mod tally;
mod terms;

pub use canonical::{RuleProblem, canonical_rules, canonical_terms};
pub use policy::{Act, Policy, Spend, SpendRefused, Spent, Verdict};
pub use tally::Tally;
pub use terms::{FeePrice, SpendingTerms};

#[cfg(test)]
mod tests;
