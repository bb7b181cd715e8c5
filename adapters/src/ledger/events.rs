//! The events of a ledger: each payment and each call that succeeded emits one.

use serde_json::{Map, Value};

use super::{Ledger, Transaction};
use crate::chain::{Action, ChainError, EmittedEvent, EventFilter, EventId};

/// What a payment emits, under the address that it pays.
pub const TRANSFER: &str = "Transfer";
/// What a call emits, under the contract's address.
pub const CALLED: &str = "Called";

impl Ledger {
    /// Refuses what a ledger never emits.
    pub(crate) fn check_event_filter(filter: &EventFilter) -> Result<(), ChainError> {
        if [TRANSFER, CALLED].contains(&filter.event.as_str()) {
            return Ok(());
        }
        let reason = format!("there is no event {:?}: write {TRANSFER} or {CALLED}", filter.event);
        Err(ChainError::Rejected { reason })
    }

    /// The events of these blocks, as far as they are there, oldest first.
    pub fn events(&self, filter: &EventFilter, from: u64, to: u64) -> Vec<EmittedEvent> {
        let end = usize::try_from(to).map_or(self.blocks.len(), |to| self.blocks.len().min(to.saturating_add(1)));
        let begin = usize::try_from(from).map_or(end, |from| from.min(end));
        let mut state = self.state_before(begin);
        let mut found = Vec::new();
        for (block, transactions) in self.blocks.iter().enumerate().take(end).skip(begin) {
            for (place, transaction) in transactions.iter().enumerate() {
                let Some(action) = &transaction.action else { continue };
                if state.apply(action) {
                    found.extend(
                        emitted(filter, action).map(|arguments| event(filter, block, place, transaction, arguments)),
                    );
                }
            }
        }
        found
    }
}

fn event(
    filter: &EventFilter,
    block: usize,
    place: usize,
    transaction: &Transaction,
    arguments: Map<String, Value>,
) -> EmittedEvent {
    let id = EventId { block: block as u64, transaction: transaction.hash.clone(), index: place as u64 };
    EmittedEvent { id, name: filter.event.clone(), arguments: Ok(arguments) }
}

/// The arguments of the event that an action emits, if it is one of the filter's.
fn emitted(filter: &EventFilter, action: &Action) -> Option<Map<String, Value>> {
    let (name, address, arguments) = match action {
        Action::Transfer { to, amount, .. } => (TRANSFER, to, [("to", to.clone()), ("value", amount.to_string())]),
        Action::Call { contract, input, value } => {
            (CALLED, contract, [("input", hex::encode(input)), ("value", value.to_string())])
        }
        Action::DeployReceiptLog | Action::Deploy { .. } | Action::Anchor { .. } | Action::Fill => return None,
    };
    let is_meant = filter.event == name && filter.address == *address;
    is_meant.then(|| arguments.into_iter().map(|(name, text)| (name.to_owned(), Value::String(text))).collect())
}
