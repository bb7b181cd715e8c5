//! Budget periods: which span of UTC time a settlement counts in.

use serde::{Deserialize, Serialize};
use steward_types::Timestamp;

const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// A day of UTC time, counted from the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Day(u32);

impl Day {
    /// The day that `time` falls in.
    pub fn of(time: Timestamp) -> Self {
        Self(u32::try_from(time.as_millis() / DAY_MILLIS).unwrap_or(u32::MAX))
    }

    /// The number of the day, counted from the Unix epoch.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The first day of this day's month, by Howard Hinnant's `civil_from_days`.
    fn month_start(self) -> Self {
        let shifted = self.0 + 719_468;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_shifted = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * month_shifted + 2) / 5;
        Self(self.0 - day_of_month)
    }
}

/// How often a level's settled sum starts again from nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// Never: the limit is for good.
    #[default]
    None,
    /// At midnight UTC.
    Daily,
    /// At midnight UTC of the first day of a month.
    Monthly,
}

impl Period {
    /// The first day of the period that `day` falls in.
    pub fn start(self, day: Day) -> Day {
        match self {
            Self::None => Day(0),
            Self::Daily => day,
            Self::Monthly => day.month_start(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_starts_at_midnight_of_its_first_day() {
        let check = |millis: u64, daily: u32, monthly: u32| {
            let day = Day::of(Timestamp::from_millis(millis));
            assert_eq!(Period::None.start(day), Day(0));
            assert_eq!(Period::Daily.start(day), Day(daily));
            assert_eq!(Period::Monthly.start(day), Day(monthly));
        };
        check(0, 0, 0);
        check(DAY_MILLIS - 1, 0, 0);
        check(DAY_MILLIS * 31, 31, 31);
        // 2000-02-29 and 2000-03-01.
        check(951_782_400_000, 11_016, 10_988);
        check(951_868_800_000, 11_017, 11_017);
        // 2026-11-21T11:59:59.999Z; the month began on 2026-11-01.
        check(1_795_262_399_999, 20_778, 20_758);
    }
}
