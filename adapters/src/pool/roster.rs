//! The endpoints of one chain side by side: who is asked first, who next, who is behind. Pure: time is given.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use steward_types::{Timestamp, limits};

use crate::breaker::Forced;
use crate::chain::Head;
use crate::endpoint::{Class, Endpoint, EndpointPolicy, EndpointStatus, Lag, Refusal};

/// How the endpoints of a chain are used together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PoolPolicy {
    /// How each of them is used.
    pub endpoint: EndpointPolicy,
    /// How many must say the same before it is believed, where it must not be undone: what is final, which chain it
    /// is. With 1 each is believed.
    pub quorum: usize,
    /// How much better another's score must be before it is asked first.
    pub stickiness: u32,
    /// A second endpoint is asked once the first took longer than so many percent of its answers.
    pub hedge_percent: usize,
}

impl Default for PoolPolicy {
    fn default() -> Self {
        Self { endpoint: EndpointPolicy::default(), quorum: 1, stickiness: 200, hedge_percent: 90 }
    }
}

/// The endpoints, by their place in the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    policy: PoolPolicy,
    endpoints: Vec<Endpoint>,
    primary: usize,
    /// When those that failed were last asked whether they are well again.
    tended: Timestamp,
}

impl Roster {
    /// Endpoints of these names, the first of them the primary.
    pub fn new(names: impl IntoIterator<Item = String>, policy: PoolPolicy, now: Timestamp) -> Self {
        let endpoints = names.into_iter().map(|name| Endpoint::new(name, policy.endpoint.clone(), now)).collect();
        Self { policy, endpoints, primary: 0, tended: Timestamp::EPOCH }
    }

    /// How they are used together.
    pub const fn policy(&self) -> &PoolPolicy {
        &self.policy
    }

    /// All of them, as configured.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// One of them.
    pub fn endpoint(&mut self, number: usize) -> &mut Endpoint {
        &mut self.endpoints[number]
    }

    /// Who may be asked now, in the order in which to ask: the primary, then by score, those who are behind last.
    ///
    /// # Errors
    /// Why each of them may not be asked, when none may.
    pub fn order(&mut self, class: Class, now: Timestamp) -> Result<Vec<usize>, Vec<(String, Refusal)>> {
        let refusals: Vec<Option<Refusal>> =
            self.endpoints.iter().map(|endpoint| endpoint.refusal(class, now)).collect();
        let mut order: Vec<usize> = (0..self.endpoints.len()).filter(|number| refusals[*number].is_none()).collect();
        if order.is_empty() {
            let named = self.endpoints.iter().zip(refusals);
            return Err(named.filter_map(|(endpoint, refusal)| Some((endpoint.name().to_owned(), refusal?))).collect());
        }
        self.choose_primary(&order, now);
        order.sort_by_key(|number| (*number != self.primary, self.rank(*number, now)));
        Ok(order)
    }

    /// How long to wait for an endpoint before another is asked the same.
    pub fn hedge_time(&self, number: usize, class: Class, now: Timestamp) -> Duration {
        let usual = self.endpoints[number].latency(class, self.policy.hedge_percent, now);
        usual.unwrap_or(limits::HEDGE_TIME_MAX).clamp(limits::HEDGE_TIME_MIN, limits::HEDGE_TIME_MAX)
    }

    /// Takes in which blocks the endpoints say they have, and which of them are behind. Of three and more one alone is
    /// not believed to be ahead.
    pub fn saw_heads(&mut self, heads: &[(usize, Head)], now: Timestamp) {
        let credible = if heads.len() >= 3 { 2 } else { 1 };
        let newest = nth_highest(heads.iter().map(|(_, head)| head.block), credible);
        let newest_final = nth_highest(heads.iter().map(|(_, head)| head.final_block), credible);
        let (Some(newest), Some(newest_final)) = (newest, newest_final) else { return };
        for (number, head) in heads {
            let lag = Lag {
                blocks: newest.saturating_sub(head.block),
                final_blocks: newest_final.saturating_sub(head.final_block),
            };
            self.endpoints[*number].saw_block(head.block);
            self.endpoints[*number].set_lag(lag, now);
        }
    }

    /// When to ask those that failed whether they are well again; nothing while all are well.
    pub fn tend_at(&self) -> Option<Timestamp> {
        let earliest = self.endpoints.iter().filter_map(|endpoint| endpoint.probe_at(self.tended)).min()?;
        Some(earliest.max(self.tended.saturating_add(limits::ENDPOINT_PROBE_TIME)))
    }

    /// Whom to ask now whether they are well again. They count as asked.
    pub fn due(&mut self, now: Timestamp) -> Vec<usize> {
        let numbered = self.endpoints.iter().enumerate();
        let is_due = |endpoint: &Endpoint| endpoint.probe_at(self.tended).is_some_and(|at| at <= now);
        let due = numbered.filter(|(_, endpoint)| is_due(endpoint)).map(|(number, _)| number).collect();
        self.tended = now;
        due
    }

    /// Sets an endpoint by hand, or gives it back to itself; false when there is none of that name.
    pub fn force(&mut self, name: &str, forced: Option<Forced>, now: Timestamp) -> bool {
        let named = self.endpoints.iter_mut().find(|endpoint| endpoint.name() == name);
        named.map(|endpoint| endpoint.force(forced, now)).is_some()
    }

    /// What operators see.
    pub fn status(&self, now: Timestamp) -> Vec<EndpointStatus> {
        let numbered = self.endpoints.iter().enumerate();
        numbered.map(|(number, endpoint)| endpoint.status(number == self.primary, now)).collect()
    }

    /// The primary stays while it may be asked, is not behind, and no other is much better.
    fn choose_primary(&mut self, available: &[usize], now: Timestamp) {
        let Some(best) = available.iter().copied().min_by_key(|number| self.rank(*number, now)) else { return };
        let primary = &self.endpoints[self.primary];
        let reason = if !available.contains(&self.primary) {
            format!("{} may not be asked", primary.name())
        } else if primary.is_lagging() && !self.endpoints[best].is_lagging() {
            format!("{} is behind", primary.name())
        } else {
            let (own, others) = (primary.score(now), self.endpoints[best].score(now));
            if others <= own.saturating_add(self.policy.stickiness)
                || primary.is_lagging() != self.endpoints[best].is_lagging()
            {
                return;
            }
            format!("{} scores {own}, this one {others}", primary.name())
        };
        self.primary = best;
        self.endpoints[best].became_primary(reason, now);
    }

    /// Smaller is better: not behind before behind, then by score, then as configured.
    fn rank(&self, number: usize, now: Timestamp) -> (bool, u32, usize) {
        let endpoint = &self.endpoints[number];
        (endpoint.is_lagging(), u32::MAX - endpoint.score(now), number)
    }
}

/// The value that at least `nth` of these reach.
pub(super) fn nth_highest<T: Ord + Copy>(values: impl Iterator<Item = T>, nth: usize) -> Option<T> {
    let mut values: Vec<T> = values.collect();
    values.sort_unstable_by(|a, b| b.cmp(a));
    values.get(nth.max(1) - 1).copied()
}
