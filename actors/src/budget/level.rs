//! One shared level of a budget: a project or an agent. Pure: amounts in, amounts out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_types::limits::ALLOWANCE_MICROS_DEFAULT;
use steward_types::{Micros, MoneyError};

use super::period::{Day, Period};

/// What settled steps cost, by the day on which they were settled.
pub type Daily = BTreeMap<Day, Micros>;

/// A level's limit and sums.
///
/// `settled` (in this period) and `outstanding` together never pass the limit through a grant; a limit that is lowered
/// later stops new grants and takes nothing back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The most that may be settled in one period; `None` for no limit of its own.
    pub limit: Option<Micros>,
    /// When `settled` starts again.
    pub period: Period,
    /// The first day of the period that `settled` belongs to.
    pub period_start: Day,
    /// Settled in this period, as far as accounts have reported it.
    pub settled: Micros,
    /// Settled ever, as far as accounts have reported it.
    pub settled_ever: Micros,
    /// Given to accounts and not reported back: free, held, or settled since the last report.
    pub outstanding: Micros,
    /// What an account takes at a time when it can.
    pub slice: Micros,
}

impl Level {
    /// A level that nothing was spent from.
    pub fn new(limit: Option<Micros>, period: Period, today: Day) -> Self {
        Self {
            limit,
            period,
            period_start: period.start(today),
            settled: Micros::ZERO,
            settled_ever: Micros::ZERO,
            outstanding: Micros::ZERO,
            slice: Micros::new(ALLOWANCE_MICROS_DEFAULT),
        }
    }

    /// Starts a new period when `today` lies after this one. A clock that steps back never reopens an old period.
    pub fn roll(&mut self, today: Day) {
        let start = self.period.start(today);
        if start > self.period_start {
            self.period_start = start;
            self.settled = Micros::ZERO;
        }
    }

    /// Sets limit and period. A changed period counts what was settled so far in the new one.
    pub fn set_limit(&mut self, limit: Option<Micros>, period: Period, today: Day) {
        self.roll(today);
        if period != self.period {
            self.period = period;
            self.period_start = period.start(today);
        }
        self.limit = limit;
    }

    /// What accounts may still take.
    pub fn available(&self) -> Micros {
        let Some(limit) = self.limit else {
            return Micros::new(u64::MAX - self.outstanding.get());
        };
        let taken = self.settled.get().saturating_add(self.outstanding.get());
        Micros::new(limit.get().saturating_sub(taken))
    }

    /// Gives an account `amount`, which must be available.
    ///
    /// # Errors
    /// [`MoneyError`] when the sum does not fit.
    pub fn give(&mut self, amount: Micros) -> Result<(), MoneyError> {
        self.outstanding = self.outstanding.add(amount)?;
        Ok(())
    }

    /// Takes an account's report: `settled` by day leaves what is outstanding, and counts in this period where its day
    /// does.
    ///
    /// # Errors
    /// [`MoneyError`] when more is reported than is outstanding.
    pub fn report(&mut self, settled: &Daily) -> Result<(), MoneyError> {
        for (&day, &amount) in settled {
            self.roll(day);
            self.outstanding = self.outstanding.sub(amount)?;
            self.settled_ever = self.settled_ever.add(amount)?;
            if self.period.start(day) == self.period_start {
                self.settled = self.settled.add(amount)?;
            }
        }
        Ok(())
    }

    /// Takes back what an account did not use.
    ///
    /// # Errors
    /// [`MoneyError`] when more comes back than is outstanding.
    pub fn take_back(&mut self, amount: Micros) -> Result<(), MoneyError> {
        self.outstanding = self.outstanding.sub(amount)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steward_types::Timestamp;

    fn day(number: u64) -> Day {
        Day::of(Timestamp::from_millis(number * 24 * 3600 * 1000))
    }

    #[test]
    fn a_new_period_resets_what_is_settled_and_keeps_what_is_outstanding() {
        let mut level = Level::new(Some(Micros::new(100)), Period::Daily, day(10));
        level.give(Micros::new(60)).unwrap();
        level.report(&Daily::from([(day(10), Micros::new(50))])).unwrap();
        assert_eq!((level.settled.get(), level.outstanding.get(), level.available().get()), (50, 10, 40));
        level.roll(day(11));
        assert_eq!((level.settled.get(), level.outstanding.get(), level.available().get()), (0, 10, 90));
        // Yesterday's settlement, reported late, counts for ever but not today.
        level.report(&Daily::from([(day(10), Micros::new(5))])).unwrap();
        assert_eq!((level.settled.get(), level.settled_ever.get(), level.outstanding.get()), (0, 55, 5));
        level.roll(day(9));
        assert_eq!(level.period_start, day(11));
    }

    #[test]
    fn a_lowered_limit_gives_nothing_more() {
        let mut level = Level::new(Some(Micros::new(100)), Period::None, day(1));
        level.give(Micros::new(80)).unwrap();
        level.set_limit(Some(Micros::new(50)), Period::None, day(1));
        assert_eq!(level.available(), Micros::ZERO);
        assert!(level.take_back(Micros::new(81)).is_err());
    }
}
