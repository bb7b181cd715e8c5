//! Price lists: what a step costs, in integers, rounded up once a step.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use steward_types::Micros;
use thiserror::Error;

/// Millionths of a micro-unit in one micro-unit: the fine unit in which a step is added up before it is rounded.
const FINE_PER_MICRO: u128 = 1_000_000;
/// Fine units that one micro-unit a second makes in one millisecond.
const FINE_PER_MILLI: u128 = 1_000;

/// What one model, or one function, costs.
///
/// Every rate is a whole number of micro-units. Rates for tokens are per million tokens and the rate for time is per
/// second, so that a token may cost less than a micro-unit. A step is added up exactly and rounded **up, once**, to
/// whole micro-units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Price {
    /// Micro-units for a million input (prompt) tokens.
    pub per_million_input_tokens: Micros,
    /// Micro-units for a million output (completion) tokens.
    pub per_million_output_tokens: Micros,
    /// Micro-units for a second of work, charged by the millisecond.
    pub per_second: Micros,
    /// Micro-units for the call itself.
    pub per_call: Micros,
}

/// What a step used, or may use at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens made.
    pub output_tokens: u64,
    /// Milliseconds of work.
    pub millis: u64,
}

/// What is wrong with a price.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PriceError {
    /// The step's price does not fit into an amount.
    #[error("the price of {usage:?} is more than an amount can hold")]
    TooLarge {
        /// What was to be priced.
        usage: Usage,
    },
    /// The list has neither an entry nor a default for it.
    #[error("the price list has no price for {name:?} and no default")]
    Missing {
        /// The model or function.
        name: String,
    },
}

impl Price {
    /// The price of a step that used `usage`. It never falls when the usage grows, so the price of a step's largest
    /// possible usage is its worst case.
    ///
    /// # Errors
    /// [`PriceError::TooLarge`] when it does not fit.
    pub fn cost(&self, usage: Usage) -> Result<Micros, PriceError> {
        let too_large = || PriceError::TooLarge { usage };
        let fine = self.fine(usage).ok_or_else(too_large)?;
        let micros = u64::try_from(fine.div_ceil(FINE_PER_MICRO)).map_err(|_| too_large())?;
        Ok(Micros::new(micros))
    }

    fn fine(&self, usage: Usage) -> Option<u128> {
        let part = |rate: Micros, count: u128| u128::from(rate.get()).checked_mul(count);
        let parts = [
            part(self.per_million_input_tokens, u128::from(usage.input_tokens)),
            part(self.per_million_output_tokens, u128::from(usage.output_tokens)),
            part(self.per_second, u128::from(usage.millis) * FINE_PER_MILLI),
            part(self.per_call, FINE_PER_MICRO),
        ];
        parts.into_iter().try_fold(0_u128, |sum, part| sum.checked_add(part?))
    }

    /// The price of a generation that reads `input_tokens` and makes at most `output_tokens_max` in at most
    /// `millis_max`: what to hold before it starts.
    ///
    /// # Errors
    /// [`PriceError::TooLarge`] when it does not fit.
    pub fn worst_case(&self, input_tokens: u64, output_tokens_max: u64, millis_max: u64) -> Result<Micros, PriceError> {
        self.cost(Usage { input_tokens, output_tokens: output_tokens_max, millis: millis_max })
    }

    /// How many output tokens `amount` pays for at most, after `spent` (whose `output_tokens` is ignored). `None` when
    /// output tokens are free and the rest is paid for, so that there is no such bound; zero when even the rest is not
    /// paid for.
    pub fn output_tokens_within(&self, amount: Micros, spent: Usage) -> Option<u64> {
        let Some(fixed) = self.fine(Usage { output_tokens: 0, ..spent }) else { return Some(0) };
        let Some(left) = (u128::from(amount.get()) * FINE_PER_MICRO).checked_sub(fixed) else { return Some(0) };
        let rate = u128::from(self.per_million_output_tokens.get());
        left.checked_div(rate).map(|tokens| u64::try_from(tokens).unwrap_or(u64::MAX))
    }
}

/// A project's prices: models by name, functions and tools by name, and a default for each.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PriceList {
    /// Models by name.
    pub models: BTreeMap<String, Price>,
    /// What a model costs that has no entry; without it such a model is refused.
    pub model_default: Option<Price>,
    /// Host functions and tools by name (`http`, `remember`, `recall`, `embed`, …).
    pub functions: BTreeMap<String, Price>,
    /// What a function costs that has no entry; without it such a function is refused.
    pub function_default: Option<Price>,
}

impl Default for PriceList {
    /// A list that a first project can start with: a model's tokens cost, its time does not, functions cost a little.
    fn default() -> Self {
        let model = Price {
            per_million_input_tokens: Micros::new(150_000),
            per_million_output_tokens: Micros::new(600_000),
            ..Price::default()
        };
        let call = |micros| Price { per_call: Micros::new(micros), ..Price::default() };
        let functions = [("http", 10), ("remember", 2), ("recall", 1), ("call", 10)];
        Self {
            models: BTreeMap::new(),
            model_default: Some(model),
            functions: functions.into_iter().map(|(name, micros)| (name.to_owned(), call(micros))).collect(),
            function_default: Some(call(1)),
        }
    }
}

impl PriceList {
    /// A list in which nothing costs anything.
    pub fn free() -> Self {
        let free = Some(Price::default());
        Self { models: BTreeMap::new(), model_default: free, functions: BTreeMap::new(), function_default: free }
    }

    /// What the model of this name costs.
    ///
    /// # Errors
    /// [`PriceError::Missing`] when the list has neither the name nor a default.
    pub fn model(&self, name: &str) -> Result<Price, PriceError> {
        find(&self.models, self.model_default, name)
    }

    /// What the function or tool of this name costs.
    ///
    /// # Errors
    /// [`PriceError::Missing`] when the list has neither the name nor a default.
    pub fn function(&self, name: &str) -> Result<Price, PriceError> {
        find(&self.functions, self.function_default, name)
    }
}

fn find(prices: &BTreeMap<String, Price>, default: Option<Price>, name: &str) -> Result<Price, PriceError> {
    prices.get(name).copied().or(default).ok_or_else(|| PriceError::Missing { name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn price(input: u64, output: u64, second: u64, call: u64) -> Price {
        Price {
            per_million_input_tokens: Micros::new(input),
            per_million_output_tokens: Micros::new(output),
            per_second: Micros::new(second),
            per_call: Micros::new(call),
        }
    }

    #[test]
    fn a_step_is_rounded_up_once() {
        let check = |price: Price, usage: (u64, u64, u64), micros: u64| {
            let usage = Usage { input_tokens: usage.0, output_tokens: usage.1, millis: usage.2 };
            assert_eq!(price.cost(usage), Ok(Micros::new(micros)), "{price:?} {usage:?}");
        };
        check(price(1_000_000, 0, 0, 0), (7, 0, 0), 7);
        check(price(1, 0, 0, 0), (1, 0, 0), 1);
        // Two halves and a quarter are rounded together: 1.25 becomes 2, not 1 + 1 + 1.
        check(price(500_000, 500_000, 250, 0), (1, 1, 1), 2);
        check(price(0, 0, 1_000, 5), (0, 0, 3), 8);
        check(price(150_000, 600_000, 0, 0), (1_000, 100, 9), 210);
        check(Price::default(), (u64::MAX, u64::MAX, u64::MAX), 0);
    }

    #[test]
    fn a_price_that_does_not_fit_is_refused() {
        let most = price(u64::MAX, u64::MAX, u64::MAX, u64::MAX);
        let usage = Usage { input_tokens: u64::MAX, output_tokens: u64::MAX, millis: u64::MAX };
        assert_eq!(most.cost(usage), Err(PriceError::TooLarge { usage }));
        assert_eq!(most.cost(Usage::default()), Ok(Micros::MAX));
    }

    #[test]
    fn a_name_without_entry_takes_the_default_or_is_refused() {
        let list = PriceList::default();
        assert_eq!(list.model("any").ok(), list.model_default);
        assert_eq!(list.function("http").unwrap().per_call, Micros::new(10));
        let strict = PriceList { model_default: None, ..list };
        assert_eq!(strict.model("any"), Err(PriceError::Missing { name: "any".to_owned() }));
    }

    proptest! {
        #[test]
        fn the_tokens_within_an_amount_are_the_most_it_pays_for(
            rate in 1_u64..5_000_000, call in 0_u64..100, input in 0_u64..10_000, amount in 0_u64..10_000,
        ) {
            let price = price(70_001, rate, 0, call);
            let tokens = price.output_tokens_within(Micros::new(amount), Usage { input_tokens: input, ..Usage::default() });
            let tokens = tokens.unwrap();
            let cost = |output| price.worst_case(input, output, 0).unwrap().get();
            prop_assert!(tokens == 0 || cost(tokens) <= amount);
            prop_assert!(cost(tokens + 1) > amount);
        }

        #[test]
        fn the_worst_case_bounds_every_smaller_usage(
            rates in prop::array::uniform4(0_u64..2_000_000), input in 0_u64..9_999, output in 0_u64..9_999, millis in 0_u64..9_999,
            more in prop::array::uniform3(0_u64..999),
        ) {
            let price = price(rates[0], rates[1], rates[2], rates[3]);
            let used = price.cost(Usage { input_tokens: input, output_tokens: output, millis }).unwrap();
            prop_assert!(used <= price.worst_case(input + more[0], output + more[1], millis + more[2]).unwrap());
        }
    }
}
