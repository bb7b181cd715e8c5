//! What may be done to the world now, and when there may be more.

use steward_types::{Timestamp, limits};

use super::{Attempt, Effect, Intent, LookedAfter, Numbering, Outbox, OutboxPolicy, Settled, after};
use crate::chain::{Amount, SignedTransaction};

impl Outbox {
    /// What may be done at `now`. Effects of different intents may be carried out in any order; of one intent there is
    /// at most one.
    pub fn next(&self, now: Timestamp, policy: &OutboxPolicy) -> Vec<Effect> {
        if self.numbering.is_none() {
            return if now >= self.reconcile_at { vec![self.ask(now, policy)] } else { Vec::new() };
        }
        let is_wanted = || self.has_stuck(now, policy) || self.watch_at(policy).is_some() || self.begins_anew();
        if now >= self.reconcile_at && is_wanted() {
            return vec![self.ask(now, policy)];
        }
        let mut effects: Vec<Effect> =
            self.in_flight().filter_map(|(number, intent)| self.follow(number, intent, now, policy)).collect();
        effects.extend(self.begin(now, policy));
        effects
    }

    /// When [`Outbox::next`] may have something to do; `None` when there is nothing to wait for.
    pub fn wake_at(&self, policy: &OutboxPolicy) -> Option<Timestamp> {
        if self.is_settled() && self.head.stall.is_none() {
            return self.watch_at(policy);
        }
        if self.numbering.is_none() {
            return Some(self.reconcile_at);
        }
        let in_flight = self.in_flight().map(|(_, intent)| intent.act_at);
        let waiting = self.waiting().filter(|_| self.in_flight().count() < policy.in_flight_max || self.has_gap());
        in_flight.chain(waiting.map(|(_, intent)| intent.act_at)).chain(self.watch_at(policy)).min()
    }

    /// Asks where the chain stands, and after the newest final transaction while that is looked after.
    fn ask(&self, now: Timestamp, policy: &OutboxPolicy) -> Effect {
        let is_asked = self.looks_after(now, policy) || self.head.stall.is_some();
        let settled = self.head.settled.as_ref().filter(|_| is_asked).zip(self.head.genesis.clone());
        let looked_after =
            |(settled, genesis): (&Settled, _)| LookedAfter { transaction: settled.transaction.clone(), genesis };
        Effect::Reconcile { settled: settled.map(looked_after) }
    }

    /// When to ask again because the newest final transaction is looked after.
    fn watch_at(&self, policy: &OutboxPolicy) -> Option<Timestamp> {
        let settled = self.head.settled.as_ref()?;
        (self.reconcile_at <= settled.until(policy)).then_some(self.reconcile_at)
    }

    /// Whether something is to be signed while nothing is on its way.
    fn begins_anew(&self) -> bool {
        self.in_flight().next().is_none() && self.waiting().next().is_some()
    }

    /// What to do next about an intent that is signed and not final.
    fn follow(&self, number: u64, intent: &Intent, now: Timestamp, policy: &OutboxPolicy) -> Option<Effect> {
        let newest = intent.newest()?;
        if now < intent.act_at {
            return None;
        }
        // What the chain refused is outbid though it is not there: the same bytes would be refused for as long as prices are up.
        if (newest.sent || intent.is_refused) && self.is_stuck(intent, newest, now, policy) {
            let SignedTransaction { sequence, fee, .. } = newest.transaction;
            let (action, reserved) = (intent.action.clone(), self.reserved(number));
            return Some(Effect::Sign { intent: number, action, sequence, replaces: Some(fee), reserved });
        }
        if !newest.sent {
            return Some(Effect::Broadcast { intent: number, transaction: newest.transaction.clone() });
        }
        let transactions = intent.attempts.iter().map(|attempt| attempt.transaction.clone()).collect();
        Some(Effect::Query { intent: number, transactions })
    }

    /// Whether a transaction waits so long that the chain should be asked again where it stands.
    fn has_stuck(&self, now: Timestamp, policy: &OutboxPolicy) -> bool {
        let waits = |intent: &Intent| {
            intent.landing.is_none()
                && intent.newest().is_some_and(|newest| now >= after(newest.signed, policy.stuck_ms))
        };
        self.in_flight().any(|(_, intent)| waits(intent))
    }

    /// Whether to outbid the newest transaction: it waited too long, and for no other transaction of ours. Never without
    /// sequence numbers, where both could land.
    fn is_stuck(&self, intent: &Intent, newest: &Attempt, now: Timestamp, policy: &OutboxPolicy) -> bool {
        self.numbering == Some(Numbering::Chain)
            && intent.landing.is_none()
            && intent.is_asked
            && newest.transaction.sequence <= self.head.latest_sequence
            && intent.attempts.len() < limits::OUTBOX_ATTEMPTS_MAX
            && now >= intent.replace_at
            && now >= after(newest.signed, policy.stuck_ms)
    }

    /// Signs the waiting intent that is due longest, one at a time, so that sequence numbers leave no gap. One that could not
    /// be signed is due later each time, so that it keeps no other back.
    fn begin(&self, now: Timestamp, policy: &OutboxPolicy) -> Option<Effect> {
        // What closes a gap may pass the bound: nothing in flight would ever land without it.
        if self.in_flight().count() >= policy.in_flight_max && !self.has_gap() {
            return None;
        }
        let due = self.waiting().filter(|(_, intent)| now >= intent.act_at);
        let (number, intent) = due.min_by_key(|(number, intent)| (intent.act_at, *number))?;
        let sequence = if self.numbering == Some(Numbering::Outbox) { number } else { self.next_sequence() };
        let (action, reserved) = (intent.action.clone(), self.reserved(number));
        Some(Effect::Sign { intent: number, action, sequence, replaces: None, reserved })
    }

    /// What the transactions of all intents but this one may take that have not landed. No balance shows it yet.
    fn reserved(&self, besides: u64) -> Amount {
        let others = self.in_flight().filter(|(number, intent)| *number != besides && intent.landing.is_none());
        others.fold(Amount::ZERO, |sum, (_, intent)| sum.saturating_add(intent.most_taken()))
    }
}
