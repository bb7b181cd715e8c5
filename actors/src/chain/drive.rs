//! Carries out what the outbox allows, one effect at a time, behind the breaker, and wakes when there is more.

use std::sync::Arc;

use steward_adapters::breaker::Admission;
use steward_adapters::courier::{Carried, carry_out};
use steward_types::limits::{CHAIN_ORDERS_LOOKED_TIME, CHAIN_PAUSED_TIME, CHAIN_TICK_MIN, ENDPOINTS_SEEN_TIME};
use steward_types::{ErrorCode, Timestamp};

use super::entity::{ChainActor, bug};
use super::messages::{ChainEvent, ChainResponse};
use crate::host::{Context, Fault};

impl ChainActor {
    /// Takes in how an effect went. Nothing is stored yet.
    pub(super) fn take_in(&mut self, carried: Carried, now: Timestamp) -> Result<(), Fault> {
        let Carried { event, failure } = carried;
        match &failure {
            // What taught us nothing must not be repeated at once, whoever is at fault.
            Some(failure) if failure.is_endpoint_failure() || event.is_none() => {
                let reason = failure.in_full();
                tracing::warn!(chain = %self.id, %reason, "a chain did not answer as it should");
                self.breaker.failed(now, &reason);
            }
            _ => self.breaker.succeeded(),
        }
        let Some(event) = event else { return Ok(()) };
        let event = self.desk.weigh(event, failure.as_ref());
        let was_stalled = self.desk.outbox.head().stall.is_some();
        self.desk.outbox.apply(event, now, &self.desk.policy).map_err(bug)?;
        if let Some(reason) = self.desk.outbox.head().stall.as_ref().filter(|_| !was_stalled) {
            tracing::error!(chain = %self.id, %reason, "nothing is sent on a chain until it is what it was");
        }
        Ok(())
    }

    /// Begins the next effect, when there is one and none is under way; otherwise waits for its time.
    pub(super) fn drive(&mut self, context: &Context<Self>) {
        let now = context.clock().now();
        self.look_at_endpoints(now, context);
        if self.is_busy {
            return;
        }
        let mut wake_at = self.desk.follows.keys().map(|project| self.due_at(project)).min();
        if self.desk.outbox.wake_at(&self.desk.policy).is_some() {
            let effects = self.desk.outbox.next(now, &self.desk.policy).into_iter();
            let effect = effects.filter_map(|effect| self.allowed(effect)).next();
            match effect.map(|effect| (effect, self.breaker.admit(now))) {
                Some((effect, Admission::Admitted)) => {
                    let (chain, fees) = (Arc::clone(&self.settings.chain), self.settings.fees.clone());
                    context.work(async move { ChainEvent::Carried(Box::new(carry_out(&*chain, &fees, effect).await)) });
                    self.is_busy = true;
                    return;
                }
                Some((_, Admission::Refused { retry_at })) => {
                    self.refuse_waiters();
                    wake_at = wake_at.into_iter().chain([retry_at]).min();
                }
                None if self.paused.is_some() => {
                    // What is due and may not be done waits for the pause's end.
                    let follow_at = self.desk.outbox.wake_at(&self.desk.policy).filter(|wake_at| *wake_at > now);
                    let look_at = now.saturating_add(CHAIN_PAUSED_TIME);
                    wake_at = wake_at.into_iter().chain(follow_at).chain([look_at]).min();
                }
                None => wake_at = wake_at.into_iter().chain(self.desk.outbox.wake_at(&self.desk.policy)).min(),
            }
        }
        self.refuse_while_paused();
        // A session's word that it has an order may be lost.
        let look_at = now.saturating_add(CHAIN_ORDERS_LOOKED_TIME);
        self.set_timer(wake_at.into_iter().chain([look_at]).min(), now, context);
    }

    /// While there is something to do, asks the endpoints now and then for their newest blocks: so one that is behind is
    /// noticed, and one that was left alone is used again.
    fn look_at_endpoints(&mut self, now: Timestamp, context: &Context<Self>) {
        let Some(pool) = self.settings.pool.clone().filter(|pool| pool.len() > 1) else { return };
        let is_due = self.endpoints_seen.is_some_and(|seen| now.saturating_since(seen) >= ENDPOINTS_SEEN_TIME);
        if self.desk.outbox.is_settled() || !is_due {
            return;
        }
        self.endpoints_seen = None;
        let chain = self.id.clone();
        context.work(async move {
            if let Err(failure) = pool.look().await {
                tracing::debug!(%chain, reason = %failure.in_full(), "the endpoints could not be looked at");
            }
            ChainEvent::Looked
        });
    }

    /// Waits until an endpoint that failed should be asked whether it is well again, and asks it, whether or not the chain
    /// has anything to do.
    pub(super) fn tend_endpoints(&self, context: &Context<Self>) {
        let Some(pool) = self.settings.pool.clone() else { return };
        context.work(async move {
            pool.tend_when_due().await;
            ChainEvent::Tended
        });
    }

    /// Nobody waits for a chain that is down. What they asked for stays in the outbox.
    pub(super) fn refuse_waiters(&mut self) {
        let reason = self.breaker.last_failure().unwrap_or("an operator opened its breaker");
        let message = format!("{}: {reason}; it is anchored when the chain is back", self.id);
        let why = format!("{}: {reason}", self.id);
        for waiter in self.waiters.drain(..) {
            waiter.reply.send(ChainResponse::Refused(ErrorCode::ChainUnavailable, message.clone()));
        }
        self.refuse_deployment_waiters(ErrorCode::ChainUnavailable, &why);
    }

    pub(super) fn set_timer(&mut self, wake_at: Option<Timestamp>, now: Timestamp, context: &Context<Self>) {
        if let Some(timer) = self.timer.take() {
            timer.cancel();
        }
        let Some(wake_at) = wake_at else { return };
        let (clock, wait) = (Arc::clone(context.clock()), wake_at.saturating_since(now).max(CHAIN_TICK_MIN));
        self.timer = Some(context.work(async move {
            clock.sleep(wait).await;
            ChainEvent::Woken
        }));
    }
}
