//! One spender's account: an allowance taken from the levels above, and what became of it. Pure: amounts in, amounts
//! out.

use serde::{Deserialize, Serialize};
use steward_types::{AgentId, Micros, MoneyError, Timestamp};

use super::level::Daily;
use super::period::Day;

/// What a spender has of its budget. `free + held + Σ unreported` is the part of each level's `outstanding` that is
/// this account's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// The agent whose level counts.
    pub agent: Option<AgentId>,
    /// The most that may ever be settled; `None` for no limit of its own.
    pub limit: Option<Micros>,
    /// Taken from the levels and not used.
    pub free: Micros,
    /// In open holds.
    pub held: Micros,
    /// Settled ever.
    pub settled: Micros,
    /// Settled and not yet reported to the levels, by day.
    pub unreported: Daily,
    /// How many holds there ever were; numbers them.
    pub holds: u64,
    /// When it was last used.
    pub used_at: Timestamp,
    /// When the allowance is looked at again, and returned if it was not used meanwhile; `None` while there is none.
    pub lease_until: Option<Timestamp>,
    /// Takes no new holds; whatever becomes free returns at once.
    pub closed: bool,
}

impl Account {
    /// An account with nothing in it.
    pub fn new(agent: Option<AgentId>, limit: Option<Micros>, now: Timestamp) -> Self {
        Self {
            agent,
            limit,
            free: Micros::ZERO,
            held: Micros::ZERO,
            settled: Micros::ZERO,
            unreported: Daily::new(),
            holds: 0,
            used_at: now,
            lease_until: None,
            closed: false,
        }
    }

    /// What its own limit still allows to hold.
    pub fn limit_left(&self) -> Micros {
        let used = self.settled.get().saturating_add(self.held.get());
        Micros::new(self.limit.map_or(u64::MAX - used, |limit| limit.get().saturating_sub(used)))
    }

    /// Whether nothing of the levels' money is here, not even to be reported.
    pub fn is_empty(&self) -> bool {
        self.free.is_zero() && self.held.is_zero() && self.unreported.is_empty()
    }

    /// Takes what the levels gave.
    ///
    /// # Errors
    /// [`MoneyError`] when the sum does not fit.
    pub fn receive(&mut self, amount: Micros) -> Result<(), MoneyError> {
        self.free = self.free.add(amount)?;
        Ok(())
    }

    /// Moves `amount` from free to held.
    ///
    /// # Errors
    /// [`MoneyError`] when so much is not free.
    pub fn hold(&mut self, amount: Micros) -> Result<(), MoneyError> {
        let free = self.free.sub(amount)?;
        self.held = self.held.add(amount)?;
        self.free = free;
        Ok(())
    }

    /// Ends a hold of `held` with a price, which must not be more: the rest is free again.
    ///
    /// # Errors
    /// [`MoneyError`] when the price is more than held, or so much is not held.
    pub fn settle(&mut self, held: Micros, price: Micros, today: Day) -> Result<Micros, MoneyError> {
        let released = held.sub(price)?;
        let (still_held, free) = (self.held.sub(held)?, self.free.add(released)?);
        let settled = self.settled.add(price)?;
        if !price.is_zero() {
            // A clock that steps back must not reopen a day that may have been reported.
            let day = self.unreported.last_key_value().map_or(today, |(&last, _)| last.max(today));
            let sum = self.unreported.entry(day).or_default();
            *sum = sum.add(price)?;
        }
        (self.held, self.free, self.settled) = (still_held, free, settled);
        Ok(released)
    }

    /// Hands over what is to be reported to the levels.
    pub fn take_unreported(&mut self) -> Daily {
        std::mem::take(&mut self.unreported)
    }

    /// Hands over what is free.
    pub fn take_free(&mut self) -> Micros {
        std::mem::take(&mut self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_settlement_frees_the_rest_and_never_more_than_was_held() {
        let mut account = Account::new(None, Some(Micros::new(50)), Timestamp::EPOCH);
        account.receive(Micros::new(40)).unwrap();
        account.hold(Micros::new(30)).unwrap();
        assert_eq!(account.limit_left(), Micros::new(20));
        assert!(account.hold(Micros::new(11)).is_err());
        assert!(account.settle(Micros::new(30), Micros::new(31), Day::default()).is_err());
        assert!(account.settle(Micros::new(31), Micros::new(1), Day::default()).is_err());
        assert_eq!(account.settle(Micros::new(30), Micros::new(12), Day::default()), Ok(Micros::new(18)));
        assert_eq!((account.free.get(), account.held.get(), account.settled.get()), (28, 0, 12));
        assert_eq!(account.take_unreported().into_values().collect::<Vec<_>>(), [Micros::new(12)]);
        assert_eq!(account.take_free(), Micros::new(28));
        assert!(account.is_empty());
    }
}
