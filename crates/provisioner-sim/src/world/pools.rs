//! Capacity pools: the capacity and price of each instance type in each zone, over time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::launch::Pool;
use provisioner::internal::domain::money::{Usd, UsdPerHour};

use super::trace::Trace;

/// All capacity pools, named as [`Pool`] prints (`c7g.large in us-west-2a`). By default, a pool has unlimited
/// capacity and no price.
#[derive(Clone, Debug, Default)]
pub struct Pools {
    /// Pools without capacity: they fulfil no requests.
    pub dry: BTreeSet<String>,
    /// Pools that do not exist, because the zone does not offer the instance type.
    pub not_offered: BTreeSet<String>,
    /// The free capacity in instances. Requests beyond it wait.
    pub free: BTreeMap<String, i64>,
    prices: BTreeMap<String, Vec<(Timestamp, UsdPerHour)>>,
    traces: BTreeMap<String, Trace>,
}

impl Pools {
    /// Sets the price of an instance-hour from `at` on. Prices must be set in the order of time.
    pub fn set_price(&mut self, pool: &str, at: Timestamp, price: UsdPerHour) {
        self.prices.entry(pool.to_owned()).or_default().push((at, price));
    }

    /// Fixes the price of an instance-hour from now on in every pool that has a price.
    pub(super) fn fix_prices(&mut self, now: Timestamp, price: UsdPerHour) {
        for steps in self.prices.values_mut() {
            steps.retain(|(at, _)| *at < now);
            steps.push((now, price));
        }
    }

    /// Ends all traces, so that their pools have unlimited capacity.
    pub(super) fn forget_traces(&mut self) {
        self.traces.clear();
    }

    /// Lets the capacity of a pool follow a trace.
    pub fn follow(&mut self, pool: &str, trace: Trace) {
        self.traces.insert(pool.to_owned(), trace);
    }

    /// Returns the price of an instance-hour now.
    pub fn price(&self, pool: &str, now: Timestamp) -> Option<UsdPerHour> {
        let steps = self.prices.get(pool)?;
        let after = steps.partition_point(|(at, _)| *at <= now);
        // The first price also holds before its time.
        steps.get(after.saturating_sub(1)).map(|(_, price)| *price)
    }

    /// Returns all pools with prices, and the times from which each price holds.
    pub(crate) fn history(&self) -> impl Iterator<Item = (&str, &[(Timestamp, UsdPerHour)])> {
        self.prices.iter().map(|(pool, steps)| (pool.as_str(), steps.as_slice()))
    }

    /// Returns all pools with a price, and the present price.
    pub fn priced(&self, now: Timestamp) -> impl Iterator<Item = (&str, UsdPerHour)> {
        self.prices.keys().filter_map(move |pool| Some((pool.as_str(), self.price(pool, now)?)))
    }

    /// Returns the cost of an instance from `from` to `until`.
    pub fn cost(&self, pool: &str, from: Timestamp, until: Timestamp) -> Usd {
        let Some(steps) = self.prices.get(pool) else { return Usd::ZERO };
        let mut cost = Usd::ZERO;
        for (i, (at, price)) in steps.iter().enumerate() {
            let begins = if i == 0 { from } else { (*at).max(from) };
            let ends = steps.get(i + 1).map_or(until, |(next, _)| (*next).min(until));
            if begins < ends {
                cost = cost.plus(price.over(clock::age(begins, ends)));
            }
        }
        cost
    }

    fn is_dry(&self, pool: &str, now: Timestamp) -> bool {
        self.dry.contains(pool) || self.traces.get(pool).is_some_and(|trace| !trace.any(now))
    }

    /// Returns whether `pool` has room for one more instance. `running` counts those in the pool and is called
    /// only if it matters.
    pub fn has_room(&self, pool: &str, running: impl Fn() -> u64, now: Timestamp) -> bool {
        !self.is_dry(pool, now)
            && self.free.get(pool).is_none_or(|free| *free > 0)
            && self
                .traces
                .get(pool)
                .is_none_or(|trace| trace.room(now).is_none_or(|n| running() < n))
    }

    pub(super) fn take(&mut self, pool: &str) {
        if let Some(free) = self.free.get_mut(pool) {
            *free -= 1;
        }
    }

    pub(super) fn give_back(&mut self, pool: &Pool) {
        if let Some(free) = self.free.get_mut(&pool.to_string()) {
            *free += 1;
        }
    }

    /// Returns when the capacity in any trace next changes.
    pub(super) fn next_step(&self, now: Timestamp) -> Option<Timestamp> {
        self.traces.values().filter_map(|trace| trace.next_step(now)).min()
    }

    /// Returns how many instances each pool with a trace may hold now.
    pub(super) fn held(&self, now: Timestamp) -> impl Iterator<Item = (&str, u64)> {
        self.traces.iter().map(move |(pool, trace)| {
            let room = if trace.any(now) { trace.room(now).unwrap_or(u64::MAX) } else { 0 };
            (pool.as_str(), room)
        })
    }
}

/// The minimum time that EC2 bills; beyond it, EC2 bills every second (EC2 User Guide, "Amazon EC2 billing").
pub const LEAST_BILLED: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        clock::after(Timestamp::UNIX_EPOCH, Duration::from_secs(seconds))
    }

    #[test]
    fn a_bill_follows_the_price() {
        let mut pools = Pools::default();
        pools.set_price("a", at(0), UsdPerHour::from_micros(3_600_000));
        pools.set_price("a", at(100), UsdPerHour::from_micros(7_200_000));
        assert_eq!(pools.price("a", at(99)), Some(UsdPerHour::from_micros(3_600_000)));
        assert_eq!(pools.price("a", at(100)), Some(UsdPerHour::from_micros(7_200_000)));
        // 50 s at 0.001 USD per second, then 10 s at twice that price.
        assert_eq!(pools.cost("a", at(50), at(110)).micros(), 70_000);
        assert_eq!(pools.cost("unknown", at(0), at(60)), Usd::ZERO);
        assert_eq!(pools.price("unknown", at(0)), None);
    }
}
