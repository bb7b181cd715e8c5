//! Rules as their chain writes addresses, assets and methods: done once, where rules come in, so that everything after it
//! compares text with text. What the chain cannot read is refused there, and named.

use std::collections::BTreeMap;

use steward_adapters::chain::{Chain, ChainError, ChainId, read_address, read_asset};
use steward_scripting::manifest::{ANYBODY, Caps, SpendingRules};
use thiserror::Error;

use super::SpendingTerms;

/// A rule that the chain cannot read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{key}: {reason}")]
pub struct RuleProblem {
    /// Where it stands, as in the file: `pay[1]`, `assets."0x…"`.
    pub key: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Rules in the chain's one way of writing, and what of them it cannot read. Without that, they allow what they allowed: what
/// is no name of the chain is never asked for.
pub fn canonical_rules(rules: &SpendingRules, chain: &dyn Chain) -> (SpendingRules, Vec<RuleProblem>) {
    let mut problems = Vec::new();
    let pay = each(&rules.pay, "pay", &mut problems, |account| match account {
        ANYBODY => Ok(ANYBODY.to_owned()),
        account => read_address(chain, account),
    });
    let call = each(&rules.call, "call", &mut problems, |rule| canonical_call(rule, chain));
    let (mut coin, mut assets) = (rules.coin, BTreeMap::new());
    for (name, caps) in &rules.assets {
        let mut problem = |reason| problems.push(RuleProblem { key: format!("assets.{name:?}"), reason });
        match read_asset(chain, name) {
            Ok(None) if coin == Caps::default() => coin = *caps,
            Ok(None) => problem("it is the chain's own coin, whose caps stand under `coin` already".to_owned()),
            Ok(Some(asset)) if assets.contains_key(&asset) => problem("this asset stands there twice".to_owned()),
            Ok(Some(asset)) => drop(assets.insert(asset, *caps)),
            Err(error) => problem(reason_of(error)),
        }
    }
    (SpendingRules { pay, call, coin, assets }, problems)
}

/// An operator's terms in the chain's one way of writing.
///
/// # Errors
/// [`RuleProblem`], the first.
pub fn canonical_terms(terms: &SpendingTerms, chain: &dyn Chain) -> Result<SpendingTerms, RuleProblem> {
    let mut projects = BTreeMap::new();
    for (project, rules) in &terms.projects {
        let (rules, problems) = canonical_rules(rules, chain);
        if let Some(RuleProblem { key, reason }) = problems.into_iter().next() {
            return Err(RuleProblem { key: format!("spending.projects.{project}.{key}"), reason });
        }
        projects.insert(project.clone(), rules);
    }
    Ok(SpendingTerms { projects, ..terms.clone() })
}

fn canonical_call(rule: &str, chain: &dyn Chain) -> Result<String, ChainError> {
    // The contract may be written with its chain, as CAIP-10 has it: then a chain alone is what stands before no method.
    let parts = rule.trim().rsplit_once(':').filter(|(contract, _)| contract.parse::<ChainId>().is_err());
    let (contract, method) = parts.ok_or_else(|| ChainError::Rejected {
        reason: format!("{rule:?} is no call: write CONTRACT:METHOD, or CONTRACT:* for every method"),
    })?;
    let contract = read_address(chain, contract.trim())?;
    let method = match method.trim() {
        ANYBODY => ANYBODY.to_owned(),
        method => chain.canonical_method(method)?,
    };
    Ok(format!("{contract}:{method}"))
}

fn each(
    names: &[String],
    list: &str,
    problems: &mut Vec<RuleProblem>,
    canonical: impl Fn(&str) -> Result<String, ChainError>,
) -> Vec<String> {
    let mut read = Vec::new();
    for (place, name) in names.iter().enumerate() {
        match canonical(name) {
            Ok(name) => read.push(name),
            Err(error) => problems.push(RuleProblem { key: format!("{list}[{place}]"), reason: reason_of(error) }),
        }
    }
    read
}

fn reason_of(error: ChainError) -> String {
    match error {
        ChainError::Rejected { reason } => reason,
        other => other.in_full(),
    }
}
