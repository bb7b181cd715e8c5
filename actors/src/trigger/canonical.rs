//! Filters as their chains write them: so a trigger whose address or event is only spelled in another way goes on where it
//! was, and does not begin anew.

use steward_adapters::chain::{EventFilter, read_filter};

use super::record::{TriggerSpec, TriggerState};
use crate::chain::Chains;

/// The filter as its chain writes it. What the chain cannot read, or whose chain is not here, stays as it is: it is told of
/// where it is used.
pub(crate) fn canonical(filter: EventFilter, chain: &str, chains: &Chains) -> EventFilter {
    chains.get(chain).and_then(|settings| read_filter(&*settings.chain, &filter).ok()).unwrap_or(filter)
}

impl TriggerSpec {
    /// The same as its chain writes it; it may have been stored before that was done.
    pub(super) fn canonical(self, chains: &Chains) -> Self {
        Self { filter: canonical(self.filter, &self.chain, chains), ..self }
    }
}

impl TriggerState {
    /// The same as its chain writes it; it may have been stored before that was done.
    pub(super) fn canonical(self, chains: &Chains) -> Self {
        Self { filter: canonical(self.filter, &self.chain, chains), ..self }
    }
}
