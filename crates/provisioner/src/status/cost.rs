//! The cost of machines per hour at current spot prices.
//!
//! The maximum price of a request is an upper bound and not what is paid, so it never replaces a spot price.
//! Machines without a known spot price have an unknown cost, and are counted as such.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::ids::WorkerTypeName;
use crate::domain::money::UsdPerHour;
use crate::domain::prices::SpotPrices;
use crate::engine::{Machines, Usage};

/// The cost of machines per hour, as far as it is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// The sum of the known prices.
    pub usd_per_hour: UsdPerHour,
    /// The number of machines whose price is unknown, and not in the sum.
    pub unknown_price_machines: u64,
}

impl Cost {
    /// Returns the sum of two costs.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            usd_per_hour: self.usd_per_hour.plus(other.usd_per_hour),
            unknown_price_machines: self
                .unknown_price_machines
                .saturating_add(other.unknown_price_machines),
        }
    }

    /// Returns the total cost; `None` if part of it is unknown.
    pub fn known(self) -> Option<UsdPerHour> {
        (self.unknown_price_machines == 0).then_some(self.usd_per_hour)
    }
}

/// What causes a cost: machines of a worker type (`None` if it is not known) with the same usage.
pub(crate) type CostKey = (Option<WorkerTypeName>, Usage);

/// Returns the cost of machines per hour at current prices, per worker type and usage.
///
/// Machines stopping or stopped cost nothing. Machines without a spot pool have an unknown price: no spot
/// request made them, or they run another platform than plain Linux.
pub fn usd_per_hour(
    machines: &[Machines],
    prices: &SpotPrices,
    now: Timestamp,
) -> BTreeMap<CostKey, Cost> {
    let mut costs = BTreeMap::<CostKey, Cost>::new();
    for Machines { worker_type, usage, pool, count } in machines {
        let price = match usage {
            Usage::Stopping => Some(UsdPerHour::ZERO),
            Usage::Booting | Usage::Busy | Usage::Idle => {
                pool.as_ref().and_then(|pool| prices.price(pool, now))
            }
        };
        let cost = match price {
            Some(price) => Cost { usd_per_hour: price.times(*count), unknown_price_machines: 0 },
            None => Cost { usd_per_hour: UsdPerHour::ZERO, unknown_price_machines: *count },
        };
        let sum = costs.entry((worker_type.clone(), *usage)).or_default();
        *sum = sum.plus(cost);
    }
    costs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::ids::{InstanceType, Zone};
    use crate::domain::launch::Pool;

    fn now() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn pool(instance_type: &str, zone: Option<&str>) -> Pool {
        Pool { instance_type: InstanceType::from(instance_type), zone: zone.map(Zone::from) }
    }

    fn machines(name: &str, usage: Usage, pool: Option<Pool>, count: u64) -> Machines {
        let worker_type = (!name.is_empty()).then(|| WorkerTypeName::from(name));
        Machines { worker_type, usage, pool, count }
    }

    /// `c7g.large` in zone a at 0.03, asked for at `now` together with zone b, which has no price.
    fn prices() -> (SpotPrices, Pool, Pool) {
        let (a, b) = (pool("c7g.large", Some("us-west-2a")), pool("c7g.large", Some("us-west-2b")));
        let mut prices = SpotPrices::default();
        let found = BTreeMap::from([(a.clone(), UsdPerHour::from_micros(30_000))]);
        prices.learn(&BTreeSet::from([a.clone(), b.clone()]), &found, now());
        (prices, a, b)
    }

    #[test]
    fn machines_cost_by_type_and_usage_and_unknown_ones_are_counted() {
        let (prices, a, b) = prices();
        let costs = usd_per_hour(
            &[
                machines("linux", Usage::Busy, Some(a.clone()), 3),
                machines("linux", Usage::Busy, Some(b), 2),
                machines("linux", Usage::Busy, None, 1),
                machines("linux", Usage::Idle, Some(a.clone()), 1),
                machines("linux", Usage::Stopping, None, 5),
                machines("", Usage::Busy, Some(a), 1),
            ],
            &prices,
            now(),
        );
        let cost = |name: &str, usage| {
            let worker_type = (!name.is_empty()).then(|| WorkerTypeName::from(name));
            let cost = costs[&(worker_type, usage)];
            (cost.usd_per_hour.micros(), cost.unknown_price_machines)
        };
        assert_eq!(cost("linux", Usage::Busy), (90_000, 3));
        assert_eq!(cost("linux", Usage::Idle), (30_000, 0));
        assert_eq!(cost("linux", Usage::Stopping), (0, 0));
        assert_eq!(cost("", Usage::Busy), (30_000, 0));
        assert_eq!(costs.len(), 4);
        assert_eq!(costs[&(Some("linux".into()), Usage::Busy)].known(), None);
    }
}
