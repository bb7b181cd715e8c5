//! What a unit of gas costs. Chains of the Cosmos write it as a decimal fraction of a coin; it is kept as an integer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use steward_adapters::chain::Amount;
use thiserror::Error;

/// Millionths of the fee's coin for a unit of gas: `0.025` is 25,000. It is the unit of [`steward_adapters::Fee`] here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GasPrice(u64);

/// The text is not a price.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{text:?} is not a price of gas: write a decimal number such as 0.025")]
pub struct GasPriceError {
    text: String,
}

/// Millionths in a coin.
const MILLION: u64 = 1_000_000;
/// Digits after the point that are kept; those after them round up.
const DIGITS: usize = 6;

impl GasPrice {
    /// From millionths of a coin.
    pub const fn from_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// In millionths of a coin.
    pub const fn millionths(self) -> u64 {
        self.0
    }

    /// What this much gas costs, in whole coins and rounded up.
    pub fn of(self, gas: u64) -> Amount {
        Amount::new((u128::from(gas) * u128::from(self.0)).div_ceil(u128::from(MILLION)))
    }
}

impl FromStr for GasPrice {
    type Err = GasPriceError;

    /// Reads a decimal number, rounded up to a millionth, so that what is offered is never below what is asked.
    fn from_str(text: &str) -> Result<Self, GasPriceError> {
        let wrong = || GasPriceError { text: text.chars().take(40).collect() };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return Err(wrong());
        }
        let (kept, rest) = fraction.split_at(fraction.len().min(DIGITS));
        let round_up = u64::from(rest.bytes().any(|digit| digit != b'0'));
        let whole = whole.parse::<u64>().ok().and_then(|whole| whole.checked_mul(MILLION));
        let millionths = format!("{kept:0<DIGITS$}").parse::<u64>().ok();
        let price = whole.zip(millionths).and_then(|(whole, part)| whole.checked_add(part)?.checked_add(round_up));
        price.map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for GasPrice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / MILLION, self.0 % MILLION)
    }
}

impl TryFrom<String> for GasPrice {
    type Error = GasPriceError;

    fn try_from(text: String) -> Result<Self, GasPriceError> {
        text.parse()
    }
}

impl From<GasPrice> for String {
    fn from(price: GasPrice) -> Self {
        price.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_price_is_read_as_written_and_rounded_up() {
        let check = |text: &str, millionths: u64| assert_eq!(text.parse(), Ok(GasPrice(millionths)), "{text}");
        check("0", 0);
        check("0.025", 25_000);
        check("0.025000000000000000", 25_000);
        check("12500000000", 12_500_000_000_000_000);
        check("0.0000001", 1);
        check("1.0000000000001", 1_000_001);
        for bad in ["", ".", "1.", ".5", "-1", "1e3", "0,1", "0.025uatom", "99999999999999999999", "18446744073709.6"] {
            assert!(bad.parse::<GasPrice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fee_is_whole_coins_rounded_up() {
        let check =
            |price: u64, gas: u64, fee: u128| assert_eq!(GasPrice(price).of(gas), Amount::new(fee), "{price} {gas}");
        check(25_000, 100_000, 2_500);
        check(25_000, 100_001, 2_501);
        check(0, 100_000, 0);
        check(u64::MAX, u64::MAX, (u128::from(u64::MAX) * u128::from(u64::MAX)).div_ceil(1_000_000));
    }

    proptest! {
        #[test]
        fn a_price_is_written_as_it_is_read(millionths: u64) {
            let price = GasPrice(millionths);
            prop_assert_eq!(price.to_string().parse(), Ok(price));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "[0-9.]{0,30}|\\PC*") {
            let _ = text.parse::<GasPrice>();
        }
    }
}
