//! A token bucket of compute units, in whole thousandths of a unit, so that no time is lost to rounding. Pure.

use steward_types::Timestamp;

use super::EndpointPolicy;

const THOUSANDTHS: i64 = 1_000;

/// What may be spent at an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bucket {
    /// Thousandths of a unit that are left, as of `filled`; below nothing where some are owed, at most a full bucket.
    left: i64,
    filled: Timestamp,
}

impl Bucket {
    /// A full bucket.
    pub(super) fn new(policy: &EndpointPolicy, now: Timestamp) -> Self {
        Self { left: capacity(policy), filled: now }
    }

    /// Units that are left; nothing where there is no limit.
    pub(super) fn units_left(&self, policy: &EndpointPolicy, now: Timestamp) -> Option<u64> {
        policy.units_per_second.map(|_| self.left_at(policy, now).max(0).unsigned_abs() / THOUSANDTHS.unsigned_abs())
    }

    /// When this much can be spent; nothing when it can be now. What costs more than the bucket holds can be spent
    /// once it is full.
    pub(super) fn ready_at(&self, cost: u32, policy: &EndpointPolicy, now: Timestamp) -> Option<Timestamp> {
        let rate = u64::from(policy.units_per_second?.max(1));
        let missing = needed(cost, policy).saturating_sub(self.left_at(policy, now));
        let missing = u64::try_from(missing).ok().filter(|missing| *missing > 0)?;
        // A thousandth of a unit comes `rate` times in a millisecond.
        let wait = std::time::Duration::from_millis(missing.div_ceil(rate));
        Some(now.saturating_add(wait))
    }

    /// Spends it, whether or not it was there.
    pub(super) fn spend(&mut self, cost: u32, policy: &EndpointPolicy, now: Timestamp) {
        self.left = self.left_at(policy, now).saturating_sub(needed(cost, policy)).max(-capacity(policy));
        self.filled = self.filled.max(now);
    }

    /// Takes what was spent beyond that; what is not there is owed, but no more than a full bucket, so that one long call
    /// does not silence an endpoint.
    pub(super) fn owe(&mut self, cost: u32, policy: &EndpointPolicy, now: Timestamp) {
        let cost = i64::from(cost).saturating_mul(THOUSANDTHS);
        self.left = self.left_at(policy, now).saturating_sub(cost).max(-capacity(policy));
        self.filled = self.filled.max(now);
    }

    fn left_at(&self, policy: &EndpointPolicy, now: Timestamp) -> i64 {
        let rate = i64::from(policy.units_per_second.unwrap_or_default().max(1));
        let passed = i64::try_from(now.saturating_since(self.filled).as_millis()).unwrap_or(i64::MAX);
        self.left.saturating_add(passed.saturating_mul(rate)).min(capacity(policy))
    }
}

fn capacity(policy: &EndpointPolicy) -> i64 {
    i64::from(policy.units_burst.max(1)).saturating_mul(THOUSANDTHS)
}

fn needed(cost: u32, policy: &EndpointPolicy) -> i64 {
    i64::from(cost).saturating_mul(THOUSANDTHS).min(capacity(policy))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn policy(rate: u32, burst: u32) -> EndpointPolicy {
        EndpointPolicy { units_per_second: Some(rate), units_burst: burst, ..EndpointPolicy::default() }
    }

    #[test]
    fn what_a_call_took_beyond_its_price_is_owed_and_paid_back_before_the_next() {
        let policy = policy(10, 20);
        let mut bucket = Bucket::new(&policy, at(0));
        bucket.spend(1, &policy, at(0));
        bucket.owe(24, &policy, at(0));
        assert_eq!(bucket.units_left(&policy, at(0)), Some(0));
        assert_eq!(bucket.ready_at(1, &policy, at(0)), Some(at(600)), "five are owed, and one is needed");
        bucket.owe(1_000, &policy, at(0));
        assert_eq!(bucket.ready_at(1, &policy, at(0)), Some(at(2_100)), "at most a full bucket is owed");
        bucket.owe(1_000, &EndpointPolicy::default(), at(0));
        assert_eq!(bucket.ready_at(1, &EndpointPolicy::default(), at(0)), None, "without a rate nothing is owed");
    }

    #[test]
    fn without_a_rate_there_is_no_limit() {
        let policy = EndpointPolicy::default();
        let mut bucket = Bucket::new(&policy, at(0));
        for _ in 0..1_000 {
            assert_eq!(bucket.ready_at(u32::MAX, &policy, at(0)), None);
            bucket.spend(u32::MAX, &policy, at(0));
        }
    }

    proptest! {
        #[test]
        fn no_second_spends_more_than_the_burst_and_a_seconds_units(
            rate in 1..200u32, burst in 1..100u32, steps in prop::collection::vec((1..30u32, 0..400u64), 1..200)
        ) {
            let policy = policy(rate, burst);
            let (mut bucket, mut now, mut spent) = (Bucket::new(&policy, at(0)), 0, Vec::new());
            for (cost, wait) in steps {
                now += wait;
                if bucket.ready_at(cost, &policy, at(now)).is_none() {
                    bucket.spend(cost, &policy, at(now));
                    spent.push((now, u64::from(cost.min(burst))));
                }
            }
            for (begin, _) in &spent {
                let within = spent.iter().filter(|(time, _)| (*begin..begin + 1_000).contains(time));
                prop_assert!(within.map(|(_, cost)| cost).sum::<u64>() <= u64::from(burst) + u64::from(rate));
            }
        }

        #[test]
        fn what_it_says_is_ready_is_ready_and_not_before(rate in 1..200u32, burst in 1..100u32, cost in 1..200u32) {
            let policy = policy(rate, burst);
            let mut bucket = Bucket::new(&policy, at(0));
            bucket.spend(burst, &policy, at(0));
            let ready = bucket.ready_at(cost, &policy, at(0)).unwrap();
            prop_assert_eq!(bucket.ready_at(cost, &policy, ready), None);
            let before = at(ready.as_millis() - 1);
            prop_assert!(bucket.ready_at(cost, &policy, before).is_some());
        }
    }
}
