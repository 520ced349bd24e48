//! What an answer costs, in whole numbers.

use crate::{ConfigError, PriceConfig, Usage};

/// Prices in millionths of the currency for a million tokens, which is as many billionths of a thousandth for one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Price {
    input: u64,
    cached_input: u64,
    output: u64,
}

/// What an answer costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Cost {
    /// Billionths of the currency that the prices are in, rounded up.
    pub nanos: u64,
}

impl Price {
    pub(crate) fn new(of: &str, config: &PriceConfig) -> Result<Self, ConfigError> {
        let micros = |key: &'static str, price: f64| {
            let fits = (0.0..=1e9).contains(&price);
            if fits { Ok((price * 1e6).round() as u64) } else { Err(ConfigError::value(of, key, price)) }
        };
        let input = micros("price.input", config.input)?;
        let cached_input = config.cached_input.map_or(Ok(input), |price| micros("price.cached_input", price))?;
        Ok(Self { input, cached_input, output: micros("price.output", config.output)? })
    }

    pub(crate) fn of(&self, usage: &Usage) -> Cost {
        let cached = usage.cached_input.min(usage.input);
        let parts = [(usage.input - cached, self.input), (cached, self.cached_input), (usage.output, self.output)];
        let picos: u128 = parts.iter().map(|(tokens, price)| u128::from(*tokens) * u128::from(*price)).sum();
        Cost { nanos: u64::try_from(picos.div_ceil(1_000)).unwrap_or(u64::MAX) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn price(input: f64, cached_input: Option<f64>, output: f64) -> Result<Price, ConfigError> {
        Price::new("m", &PriceConfig { input, cached_input, output })
    }

    #[test]
    fn a_million_tokens_cost_what_the_table_says() {
        let check = |usage: (u64, u64, u64), nanos: u64| {
            let (input, cached_input, output) = usage;
            let usage = Usage { input, output, reasoning: output / 2, cached_input };
            assert_eq!(price(2.5, Some(0.25), 10.0).unwrap().of(&usage), Cost { nanos }, "{usage:?}");
        };
        check((0, 0, 0), 0);
        check((1_000_000, 0, 0), 2_500_000_000);
        check((1_000_000, 1_000_000, 0), 250_000_000);
        check((0, 0, 1_000_000), 10_000_000_000);
        check((1_000, 400, 50), 600 * 2_500 + 400 * 250 + 50 * 10_000);
        check((1, 5, 0), 250);
        check((u64::MAX, 0, u64::MAX), u64::MAX);
        let small = Usage { input: 1, ..Usage::default() };
        assert_eq!(price(0.0001, None, 0.0).unwrap().of(&small), Cost { nanos: 1 }, "rounded up");
    }

    #[test]
    fn a_price_is_a_price() {
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 2e9] {
            assert!(
                price(wrong, None, 0.0).is_err() && price(0.0, Some(wrong), 0.0).is_err() && price(0.0, None, wrong).is_err()
            );
        }
    }
}
