//! Sessions' orders in the chain's hands: taken from their queue into the outbox, kept within their fee, and ended.

use std::sync::Arc;

use steward_adapters::chain::{Amount, ChainError, ChainId};
use steward_adapters::outbox::{Event, OutboxError};
use steward_types::limits::{
    CHAIN_ORDER_REFUSALS_MAX, CHAIN_ORDER_UNSIGNED_TIME_MAX, CHAIN_ORDERS_TAKEN_MAX, CHAIN_ORDERS_TAKEN_PROJECT_MAX,
    OUTBOX_INTENTS_MAX,
};
use steward_types::{ProjectId, Timestamp};

use super::desk::{Desk, End};
use super::entity::{ChainActor, bug};
use super::messages::ChainEvent;
use super::orders::{self, Ended, Order, Waiter, waiting_orders};
use crate::host::{Context, EntityId, Fault};
use crate::session::{Session, SessionRequest};

impl ChainActor {
    /// Makes intents of waiting orders, as many as there is room for, of each project in turn and its share at most: orders
    /// that cannot be signed take nobody else's place. Returns their rows, to be cleared in the transaction that stores the
    /// intents.
    pub(super) async fn take_orders(&mut self, context: &Context<Self>, now: Timestamp) -> Result<Vec<Vec<u8>>, Fault> {
        let room = CHAIN_ORDERS_TAKEN_MAX.saturating_sub(self.desk.orders.len());
        let room = room.min(OUTBOX_INTENTS_MAX.saturating_sub(self.desk.outbox.intents().len()));
        if room == 0 {
            return Ok(Vec::new());
        }
        let store = &*context.environment().store;
        let (mut taken, first) = (Vec::new(), self.taken_last.clone());
        let (mut behind, mut has_turned) = (first.clone(), first.is_none());
        while taken.len() < room {
            let left = room - taken.len();
            let share = |project: &ProjectId| left.min(self.desk.share_left(project));
            let Some((project, waiting)) = waiting_orders(store, self.id.as_str(), behind.as_ref(), share).await?
            else {
                if has_turned {
                    break;
                }
                (behind, has_turned) = (None, true);
                continue;
            };
            if has_turned && first.as_ref().is_some_and(|first| project > *first) {
                break;
            }
            for (row, order) in waiting {
                self.take_order(order, now)?;
                self.taken_last = Some(project.clone());
                taken.push(row);
            }
            behind = Some(project);
        }
        Ok(taken)
    }

    fn take_order(&mut self, order: Order, now: Timestamp) -> Result<(), Fault> {
        let key = order.id.to_string();
        let event = Event::Submitted { key: key.clone(), action: order.action.clone() };
        self.desk.outbox.apply(event, now, &self.desk.policy).map_err(bug)?;
        self.desk.orders.insert(key, order);
        Ok(())
    }
}

impl Desk {
    /// How many more orders of a project may be in the outbox.
    fn share_left(&self, project: &ProjectId) -> usize {
        let of_project = self.orders.values().filter(|order| order.project == *project).count();
        CHAIN_ORDERS_TAKEN_PROJECT_MAX.saturating_sub(of_project)
    }

    /// What is taken of an event: that nothing was signed where the fee could be more than is held for it, so that it never
    /// can. What refuses an order is counted.
    pub(super) fn weigh(&mut self, event: Event, failure: Option<&ChainError>) -> Event {
        let refused = self.refused_deposit(&event);
        let event = self.within_cap(event);
        self.count_refusal(&event, refused.as_ref().or(failure));
        event
    }

    fn within_cap(&self, event: Event) -> Event {
        let Event::Signed { intent, transaction } = &event else { return event };
        let Some(order) = self.order_of(*intent) else { return event };
        if transaction.fee_max.is_some_and(|fee| fee <= order.fee_max) {
            return event;
        }
        let fee = transaction.fee_max.map_or_else(|| "not known".to_owned(), |fee| fee.to_string());
        let reason = match transaction.deposit {
            Amount::ZERO => {
                format!("its fee could be {fee}, and {} are the most: it waits for lower fees", order.fee_max)
            }
            deposit => format!(
                "it could cost {fee}, with {deposit} as the deposit of the account that it makes, and {} are the most: pay \
                 a wallet that has an account, or let the operator raise fee_max",
                order.fee_max
            ),
        };
        Event::SignFailed { intent: *intent, reason, is_own: true }
    }

    /// That an order makes an account whose deposit alone is above its cap: no wait makes that less.
    fn refused_deposit(&self, event: &Event) -> Option<ChainError> {
        let Event::Signed { intent, transaction } = event else { return None };
        let order = self.order_of(*intent)?;
        let reason = || format!("the deposit is {}, and {} are the most", transaction.deposit, order.fee_max);
        (transaction.deposit > order.fee_max).then(|| ChainError::Rejected { reason: reason() })
    }

    fn order_of(&self, intent: u64) -> Option<&Order> {
        self.outbox.intents().get(&intent).and_then(|intent| self.orders.get(&intent.key))
    }

    /// Counts a refusal of an order or a deployment before anything of it is signed. It ends when that comes again and
    /// again: one endpoint's single word is not the chain's.
    fn count_refusal(&mut self, event: &Event, failure: Option<&ChainError>) {
        let (Event::SignFailed { intent, .. } | Event::Signed { intent, .. }) = event else { return };
        let Some(intent) = self.outbox.intents().get(intent) else { return };
        let key = &intent.key;
        let Event::SignFailed { reason, is_own: true, .. } = event else {
            self.refusals.remove(key);
            return;
        };
        let is_refusal = matches!(failure, Some(ChainError::Rejected { .. }));
        if !is_refusal || !intent.attempts.is_empty() || !(self.orders.contains_key(key) || self.is_deploying(key)) {
            return;
        }
        let refusals = self.refusals.entry(key.clone()).or_default();
        *refusals += 1;
        if *refusals >= CHAIN_ORDER_REFUSALS_MAX {
            self.refused.insert(key.clone(), reason.clone());
        }
    }

    /// Refuses the orders and deployments of which nothing could be signed for so long that their holds and places must
    /// come free.
    pub(super) fn refuse_unsigned(&mut self, now: Timestamp) {
        let unfinished = self.deployments.iter().filter(|(_, deployment)| deployment.deployed.is_none());
        for key in self.orders.keys().chain(unfinished.map(|(key, _)| key)) {
            let Some(intent) = self.outbox.intent(key).filter(|intent| intent.outcome.is_none()) else { continue };
            let Some(since) = intent.unsigned_since().map(|since| since.max(self.running_since)) else { continue };
            if now.saturating_since(since) >= CHAIN_ORDER_UNSIGNED_TIME_MAX {
                let minutes = CHAIN_ORDER_UNSIGNED_TIME_MAX.as_secs() / 60;
                let why = intent.last_error.as_deref().unwrap_or("others were before it");
                let reason = format!("nothing of it could be signed in {minutes} minutes: {why}");
                self.refused.entry(key.clone()).or_insert(reason);
            }
        }
    }

    /// Ends the orders that were refused. An intent that was signed meanwhile is not forgotten by the outbox, and goes on.
    pub(super) fn conclude_refused(&mut self, now: Timestamp) -> Result<Vec<End>, OutboxError> {
        let mut ends = Vec::new();
        self.refuse_unsigned(now);
        for (key, reason) in std::mem::take(&mut self.refused) {
            self.refusals.remove(&key);
            self.outbox.apply(Event::Withdrawn { key: key.clone() }, now, &self.policy)?;
            if self.outbox.intent(&key).is_some() {
                continue;
            }
            ends.extend(match self.orders.remove(&key) {
                Some(order) => Some(End::Ordered(Box::new(Ended { order, end: Err(reason) }))),
                None => self.refuse_deployment(key, reason),
            });
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
