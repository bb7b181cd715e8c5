//! Money: whole micro-units with checked arithmetic. Never a float.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// How many micro-units make one unit.
pub const MICROS_PER_UNIT: u64 = 1_000_000;

/// An amount of money that is not negative, in micro-units: 1 000 000 are one unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Micros(u64);

/// What can be wrong with an amount.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum MoneyError {
    /// The result would not fit, or would be below zero.
    #[error("the amount {left} {operation} {right} is out of range")]
    OutOfRange {
        /// The left operand, in micro-units.
        left: u64,
        /// The operation, as a sign.
        operation: char,
        /// The right operand, in micro-units.
        right: u64,
    },
    /// The text is not an amount.
    #[error(
        "{text:?} is not an amount: write units with at most six decimals, such as 12.5, or micro-units such as 300u"
    )]
    Malformed {
        /// The text as it was given.
        text: String,
    },
}

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount.
    pub const MAX: Self = Self(u64::MAX);

    /// From micro-units.
    pub const fn new(micros: u64) -> Self {
        Self(micros)
    }

    /// In micro-units.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Whether this is nothing.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] when it does not fit.
    #[expect(clippy::should_implement_trait, reason = "the operator could not say that it failed")]
    pub fn add(self, other: Self) -> Result<Self, MoneyError> {
        let sum = self.0.checked_add(other.0);
        sum.map(Self).ok_or(MoneyError::OutOfRange { left: self.0, operation: '+', right: other.0 })
    }

    /// The difference.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] when `other` is more than this.
    #[expect(clippy::should_implement_trait, reason = "the operator could not say that it failed")]
    pub fn sub(self, other: Self) -> Result<Self, MoneyError> {
        let difference = self.0.checked_sub(other.0);
        difference.map(Self).ok_or(MoneyError::OutOfRange { left: self.0, operation: '-', right: other.0 })
    }

    /// This amount `count` times.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] when it does not fit.
    pub fn times(self, count: u64) -> Result<Self, MoneyError> {
        let product = self.0.checked_mul(count);
        product.map(Self).ok_or(MoneyError::OutOfRange { left: self.0, operation: '*', right: count })
    }

    /// The sum of many.
    ///
    /// # Errors
    /// [`MoneyError::OutOfRange`] when it does not fit.
    pub fn sum(amounts: impl IntoIterator<Item = Self>) -> Result<Self, MoneyError> {
        amounts.into_iter().try_fold(Self::ZERO, Self::add)
    }
}

impl fmt::Display for Micros {
    /// Units with six decimals, such as `12.500000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}.{:06}", self.0 / MICROS_PER_UNIT, self.0 % MICROS_PER_UNIT))
    }
}

impl FromStr for Micros {
    type Err = MoneyError;

    /// Reads `12`, `12.5` (units) or `300u` (micro-units). More than six decimals are refused, never rounded.
    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let malformed = || MoneyError::Malformed { text: text.to_owned() };
        let digits = |part: &str| -> Result<u64, MoneyError> {
            if part.is_empty() || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(malformed());
            }
            part.parse().map_err(|_| malformed())
        };
        if let Some(micros) = text.strip_suffix('u') {
            return digits(micros).map(Self);
        }
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        if decimals.len() > 6 {
            return Err(malformed());
        }
        let micros = digits(&format!("{decimals:0<6}"))?;
        let decimals_given = digits(decimals).is_ok();
        let units = digits(units)?.checked_mul(MICROS_PER_UNIT).and_then(|units| units.checked_add(micros));
        units.filter(|_| decimals_given).map(Self).ok_or_else(malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_amount_reads_units_and_micro_units_and_refuses_the_rest() {
        let check = |text: &str, micros: Option<u64>| {
            assert_eq!(text.parse::<Micros>().ok(), micros.map(Micros::new), "{text}");
        };
        check("12", Some(12_000_000));
        check("12.5", Some(12_500_000));
        check("0.000001", Some(1));
        check("300u", Some(300));
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0.0000001", "1,5", "u", "18446744073710"] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn an_amount_survives_printing(micros: u64) {
            let amount = Micros::new(micros);
            prop_assert_eq!(amount.to_string().parse(), Ok(amount));
        }

        #[test]
        fn arithmetic_never_wraps(a: u64, b: u64) {
            let (left, right) = (Micros::new(a), Micros::new(b));
            prop_assert_eq!(left.add(right).ok().map(Micros::get), a.checked_add(b));
            prop_assert_eq!(left.sub(right).ok().map(Micros::get), a.checked_sub(b));
            prop_assert_eq!(left.times(b).ok().map(Micros::get), a.checked_mul(b));
        }
    }
}
