//! An amount of money on a chain: a whole number of its smallest unit. No arithmetic on it wraps or rounds.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// So much of a chain's coin or of a token, in its smallest unit (wei, lamports, `ustake`). In JSON it is a decimal
/// string, because most readers of JSON lose digits of large numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Amount(u128);

/// The text is no amount.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{text:?} is no amount: write a whole number of the smallest unit below 2^128, in digits only")]
pub struct AmountError {
    text: String,
}

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The most that can be said.
    pub const MAX: Self = Self(u128::MAX);

    /// So many of the smallest unit.
    pub const fn new(units: u128) -> Self {
        Self(units)
    }

    /// How many of the smallest unit.
    pub const fn units(self) -> u128 {
        self.0
    }

    /// Both together; nothing when that cannot be said.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }

    /// Both together, or the most that can be said.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left; nothing when the other is more.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(units) => Some(Self(units)),
            None => None,
        }
    }
}

impl FromStr for Amount {
    type Err = AmountError;

    /// Reads decimal digits: no sign, no separator, no exponent.
    fn from_str(text: &str) -> Result<Self, AmountError> {
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let units = is_digits.then(|| text.parse().ok()).flatten();
        units.map(Self).ok_or_else(|| AmountError { text: text.chars().take(100).collect() })
    }
}

impl TryFrom<String> for Amount {
    type Error = AmountError;

    fn try_from(text: String) -> Result<Self, AmountError> {
        text.parse()
    }
}

impl From<Amount> for String {
    fn from(amount: Amount) -> Self {
        amount.0.to_string()
    }
}

impl From<u64> for Amount {
    fn from(units: u64) -> Self {
        Self(units.into())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_amount_is_digits_below_2_to_the_128th() {
        let check = |text: &str, good: bool| assert_eq!(text.parse::<Amount>().is_ok(), good, "{text:?}");
        check("0", true);
        check("340282366920938463463374607431768211455", true);
        for bad in ["", "-1", "+1", "1.0", "1e3", " 1", "1_000", "0x1", "340282366920938463463374607431768211456"] {
            check(bad, false);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_string_in_json_and_comes_back(units: u128) {
            let amount = Amount::new(units);
            let text = serde_json::to_string(&amount).unwrap();
            prop_assert_eq!(&text, &format!("\"{units}\""));
            prop_assert_eq!(serde_json::from_str::<Amount>(&text).unwrap(), amount);
        }

        #[test]
        fn arithmetic_is_exact_or_refused(a: u128, b: u128) {
            let (x, y) = (Amount::new(a), Amount::new(b));
            prop_assert_eq!(x.checked_add(y).map(Amount::units), a.checked_add(b));
            prop_assert_eq!(x.checked_sub(y).map(Amount::units), a.checked_sub(b));
        }
    }
}
