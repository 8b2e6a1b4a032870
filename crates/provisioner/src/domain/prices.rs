//! Spot prices as EC2 reported them, with the time at which each was fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::clock;
use super::launch::Pool;
use super::money::UsdPerHour;

/// How long a price may be used. Spot prices change a few times a day at most (EC2 User Guide, "Spot
/// Instance pricing history"), but a price that is shown as the current one must not be an old one.
pub(crate) const MAX_AGE: Duration = Duration::from_mins(5);

/// Spot prices of capacity pools, and when each was fetched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SpotPrices {
    quotes: BTreeMap<Pool, Quote>,
}

/// EC2's answer about one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quote {
    /// `None` if the answer had no price for the pool.
    price: Option<UsdPerHour>,
    fetched: Timestamp,
}

impl SpotPrices {
    /// Replaces all prices by an answer: `found` for the pools that were `asked` for, fetched at `at`.
    pub fn learn(
        &mut self,
        asked: &BTreeSet<Pool>,
        found: &BTreeMap<Pool, UsdPerHour>,
        at: Timestamp,
    ) {
        self.quotes = asked
            .iter()
            .map(|pool| (pool.clone(), Quote { price: found.get(pool).copied(), fetched: at }))
            .collect();
    }

    /// Returns the current spot price, unless it is unknown or older than [`MAX_AGE`].
    pub fn price(&self, pool: &Pool, now: Timestamp) -> Option<UsdPerHour> {
        let quote = self.quotes.get(pool)?;
        (clock::age(quote.fetched, now) <= MAX_AGE).then_some(quote.price)?
    }

    /// Returns when the price of the pool was last asked for.
    pub fn asked(&self, pool: &Pool) -> Option<Timestamp> {
        self.quotes.get(pool).map(|quote| quote.fetched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{InstanceType, Zone};

    #[test]
    fn a_price_is_forgotten_when_it_is_old() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        let pool = |zone| Pool {
            instance_type: InstanceType::from("c7g.large"),
            zone: Some(Zone::from(zone)),
        };
        let priced = pool("us-west-2a");
        let unpriced = pool("us-west-2b");
        let mut prices = SpotPrices::default();
        let found = BTreeMap::from([(priced.clone(), UsdPerHour::from_micros(30_000))]);
        prices.learn(&BTreeSet::from([priced.clone(), unpriced.clone()]), &found, now);
        assert!(prices.price(&priced, clock::after(now, MAX_AGE)).is_some());
        let later = clock::after(now, MAX_AGE + Duration::from_secs(1));
        assert_eq!(prices.price(&priced, later), None);
        assert_eq!(prices.price(&unpriced, now), None);
        assert_eq!(prices.asked(&unpriced), Some(now));
    }
}
