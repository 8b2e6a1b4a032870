//! Money as integer micro-dollars, so that sums are exact and fences do not drift.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Micro-dollars per dollar.
const MICRO: u64 = 1_000_000;

/// A price in US dollars per instance-hour, kept in micro-dollars.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct UsdPerHour(u64);

/// An amount in US dollars, kept in micro-dollars.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Usd(u64);

/// A number that is not a price: negative, not finite, or over a million dollars.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("`{0}` is not an amount in USD between 0 and 1000000")]
pub struct InvalidAmount(String);

fn micros(dollars: f64) -> Result<u64, InvalidAmount> {
    if !dollars.is_finite() || !(0.0..=1e6).contains(&dollars) {
        return Err(InvalidAmount(dollars.to_string()));
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked above and fits"
    )]
    Ok((dollars * 1e6).round() as u64)
}

#[expect(clippy::cast_precision_loss, reason = "for display; exact below nine billion dollars")]
fn dollars(micros: u64) -> f64 {
    micros as f64 / 1e6
}

impl UsdPerHour {
    /// No cost.
    pub const ZERO: Self = Self(0);

    /// Reads a configured number of dollars per hour.
    pub fn from_dollars(amount: f64) -> Result<Self, InvalidAmount> {
        micros(amount).map(Self)
    }

    /// Reads a price as EC2 writes it (`"0.031200"`).
    pub fn parse(text: &str) -> Result<Self, InvalidAmount> {
        let amount = text.trim().parse::<f64>().map_err(|_| InvalidAmount(text.to_owned()))?;
        Self::from_dollars(amount)
    }

    /// Wraps micro-dollars per hour.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Returns micro-dollars per hour.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Returns dollars per hour, for display and JSON.
    pub fn dollars(self) -> f64 {
        dollars(self.0)
    }

    /// Returns the price of `n` instances at this price.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// Returns the sum of two prices.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns the cost of `time` at this price. It is rounded up, so that fences err on the safe side.
    pub fn over(self, time: std::time::Duration) -> Usd {
        let micro_hours = u128::from(self.0) * time.as_millis();
        Usd(u64::try_from(micro_hours.div_ceil(3_600_000)).unwrap_or(u64::MAX))
    }
}

impl Usd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// Reads a configured number of dollars.
    pub fn from_dollars(amount: f64) -> Result<Self, InvalidAmount> {
        micros(amount).map(Self)
    }

    /// Returns micro-dollars.
    pub const fn micros(self) -> u64 {
        self.0
    }

    /// Returns dollars, for display and JSON.
    pub fn dollars(self) -> f64 {
        dollars(self.0)
    }

    /// Returns the sum of two amounts.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Returns `n` times this amount.
    #[must_use]
    pub const fn times(self, n: u64) -> Self {
        Self(self.0.saturating_mul(n))
    }

    /// Returns this amount less `other`, or zero if `other` is greater.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

fn write_micros(f: &mut fmt::Formatter<'_>, micros: u64) -> fmt::Result {
    let whole = micros / MICRO;
    let rest = micros % MICRO;
    let digits = format!("{rest:06}");
    let trimmed = digits.trim_end_matches('0');
    write!(f, "{whole}.{trimmed:0<2}")
}

impl fmt::Display for UsdPerHour {
    /// Writes the price as EC2's `SpotPrice` expects it: decimal dollars with at least two places.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_micros(f, self.0)
    }
}

impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_micros(f, self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn prices_print_as_ec2_reads_them() {
        let show = |d: f64| UsdPerHour::from_dollars(d).unwrap().to_string();
        assert_eq!(show(0.1), "0.10");
        assert_eq!(show(0.0312), "0.0312");
        assert_eq!(show(2.0), "2.00");
        assert_eq!(UsdPerHour::parse("0.031200").unwrap().micros(), 31_200);
    }

    #[test]
    fn nonsense_is_no_price() {
        for bad in [-0.1, f64::NAN, f64::INFINITY, 1e9] {
            assert!(UsdPerHour::from_dollars(bad).is_err());
        }
        assert!(UsdPerHour::parse("a lot").is_err());
    }

    #[test]
    fn cost_over_time_rounds_up() {
        let price = UsdPerHour::from_micros(1);
        assert_eq!(price.over(Duration::from_millis(1)), Usd(1));
        assert_eq!(UsdPerHour::from_micros(100).over(Duration::from_mins(90)), Usd(150));
    }
}
