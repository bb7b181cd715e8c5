//! Sessions' orders in the chain's hands: taken from their queue into the outbox, kept within their fee, and ended.

use std::sync::Arc;

use steward_adapters::chain::{ChainError, ChainId};
use steward_adapters::outbox::{Event, OutboxError};
use steward_types::Timestamp;
use steward_types::limits::{CHAIN_ORDERS_TAKEN_MAX, OUTBOX_INTENTS_MAX};

use super::desk::{Desk, End};
use super::entity::{ChainActor, bug};
use super::messages::ChainEvent;
use super::orders::{self, Ended, Waiter, waiting_orders};
use crate::host::{Context, EntityId, Fault};
use crate::session::{Session, SessionRequest};

impl ChainActor {
    /// Makes intents of waiting orders, as many as there is room for. Returns their rows, to be cleared in the transaction
    /// that stores the intents.
    pub(super) async fn take_orders(&mut self, context: &Context<Self>, now: Timestamp) -> Result<Vec<Vec<u8>>, Fault> {
        let room = CHAIN_ORDERS_TAKEN_MAX.saturating_sub(self.desk.orders.len());
        let room = room.min(OUTBOX_INTENTS_MAX.saturating_sub(self.desk.outbox.intents().len()));
        if room == 0 {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        for (row, order) in waiting_orders(&*context.environment().store, self.id.as_str(), room).await? {
            let key = order.id.to_string();
            let event = Event::Submitted { key: key.clone(), action: order.action.clone() };
            self.desk.outbox.apply(event, now, &self.desk.policy).map_err(bug)?;
            self.desk.orders.insert(key, order);
            taken.push(row);
        }
        Ok(taken)
    }
}

impl Desk {
    /// The event, or that nothing was signed where the fee could be more than is held for it: so it never can.
    pub(super) fn within_cap(&self, event: Event) -> Event {
        let Event::Signed { intent, transaction } = &event else { return event };
        let order = self.outbox.intents().get(intent).and_then(|intent| self.orders.get(&intent.key));
        let Some(order) = order else { return event };
        if transaction.fee_max.is_some_and(|fee| fee <= order.fee_max) {
            return event;
        }
        let fee = transaction.fee_max.map_or_else(|| "not known".to_owned(), |fee| fee.to_string());
        let reason = format!("its fee could be {fee}, and {} are the most: it waits for lower fees", order.fee_max);
        Event::SignFailed { intent: *intent, reason }
    }

    /// The order that ends because the chain says, before anything of it is signed, that it cannot succeed.
    pub(super) fn refused_order(&self, event: &Event, failure: Option<&ChainError>) -> Option<(String, String)> {
        let Event::SignFailed { intent, reason } = event else { return None };
        let intent = self.outbox.intents().get(intent)?;
        let is_refusal = matches!(failure, Some(ChainError::Rejected { .. }));
        let is_unsigned = intent.attempts.is_empty() && self.orders.contains_key(&intent.key);
        (is_refusal && is_unsigned).then(|| (intent.key.clone(), reason.clone()))
    }

    /// Ends the orders that were refused. An intent that was signed meanwhile is not forgotten by the outbox, and goes on.
    pub(super) fn conclude_refused(&mut self, now: Timestamp) -> Result<Vec<End>, OutboxError> {
        let mut ends = Vec::new();
        for (key, reason) in std::mem::take(&mut self.refused) {
            self.outbox.apply(Event::Withdrawn { key: key.clone() }, now, &self.policy)?;
            if self.outbox.intent(&key).is_none()
                && let Some(order) = self.orders.remove(&key)
            {
                ends.push(End::Ordered(Box::new(Ended { order, end: Err(reason) })));
            }
        }
        Ok(ends)
    }
}

/// Wakes the steps that waited for what has ended. One that does not answer now is told again after the next start, and
/// looks by itself before long.
pub(super) fn tell_sessions(context: &Context<ChainActor>, chain: &ChainId, waiting: Vec<Waiter>) {
    if waiting.is_empty() {
        return;
    }
    let (host, store, chain) = (context.host().clone(), Arc::clone(&context.environment().store), chain.clone());
    context.work(async move {
        for waiter in waiting {
            let request = SessionRequest::Fire { turn: waiter.turn, step: waiter.step.clone() };
            let (id, session) = (EntityId::from(&waiter.session), waiter.session);
            let told = match host.ask_from_inside::<Session>(&id, request, host.deadline_default()).await {
                Ok(_) => orders::told(&*store, chain.as_str(), &waiter).await.map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(error) = told {
                tracing::debug!(%session, %error, "a session could not be told that its transaction ended");
            }
        }
        ChainEvent::Told
    });
}

/// An order's end as operators read it.
pub(super) fn ordered_in_words(ended: &Ended) -> String {
    let id = &ended.order.id;
    match &ended.end {
        Ok(landed) if landed.succeeded => format!("{id}: final in block {}", landed.block),
        Ok(landed) => format!("{id}: failed in block {}", landed.block),
        Err(reason) => format!("{id}: refused: {reason}"),
    }
}
