//! What `[limits]` leave of instances and dollars.
//!
//! Everything live, open and in flight counts at its highest possible price.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::ledger::Ledger;
use crate::domain::money::{Usd, UsdPerHour};
use crate::engine::decide::detail::{LimitUsage, LimitsUsage};
use crate::engine::decide::placement::LaunchGoal;
use crate::engine::state::in_flight::InFlight;
use crate::engine::state::index::Index;
use crate::settings::{Limits, Settings, WorkerType};

/// The fences of `[limits]` and what is used of them.
pub(in crate::engine) struct Budget {
    max_instances: Option<u64>,
    max_per_hour: Option<UsdPerHour>,
    max_per_day: Option<Usd>,
    instances: u64,
    per_hour: UsdPerHour,
    /// What was spent since midnight UTC, and what everything counted may still cost until the next.
    today: Usd,
    unpriced: u64,
    /// For how long each instance may still cost.
    ahead: Duration,
}

/// Returns for how long an instance may cost: until midnight, or until it is terminated at twice its
/// `max-lifetime`.
fn horizon(max_lifetime: Option<Duration>, ahead: Duration) -> Duration {
    max_lifetime.map_or(ahead, |lifetime| lifetime.saturating_mul(2).min(ahead))
}

impl Budget {
    pub(in crate::engine) fn new(
        settings: &Settings,
        index: &Index,
        in_flight: &BTreeMap<Option<WorkerTypeName>, InFlight>,
        ledger: &Ledger,
        now: Timestamp,
    ) -> Self {
        let limits = &settings.limits;
        let ahead = clock::age(now, clock::next_midnight(now)).max(Limits::LEAST_AHEAD);
        let mut budget = Self {
            max_instances: limits.max_instances,
            max_per_hour: limits.max_usd_per_hour,
            max_per_day: limits.max_usd_per_day,
            instances: 0,
            per_hour: UsdPerHour::ZERO,
            today: ledger.spending.on_day_of(now),
            unpriced: 0,
            ahead,
        };
        let lifetime_of = |name: Option<&WorkerTypeName>| match name {
            Some(name) => settings
                .worker_types
                .get(name)
                .map_or(settings.retired_max_lifetime, |worker_type| worker_type.max_lifetime),
            None => None,
        };
        let named =
            index.types.iter().chain(&index.retired).map(|(name, group)| (Some(name), group));
        for (name, group) in named.chain([(None, &index.strays)]) {
            let counts = &group.counts;
            let n = counts.live() + group.open.len() as u64;
            budget.add(n, counts.usd, counts.unpriced, lifetime_of(name));
        }
        for machine in index.unresolved.iter().chain(&index.disputed) {
            let price = machine.price.unwrap_or_default();
            budget.add(1, price, u64::from(machine.price.is_none()), None);
        }
        for (name, flight) in in_flight {
            budget.add(flight.count, flight.usd, flight.unpriced, lifetime_of(name.as_ref()));
            budget.today = budget.today.plus(flight.so_far);
        }
        budget
    }

    fn add(&mut self, n: u64, per_hour: UsdPerHour, unpriced: u64, max_lifetime: Option<Duration>) {
        self.instances += n;
        self.per_hour = self.per_hour.plus(per_hour);
        self.unpriced += unpriced;
        self.today = self.today.plus(per_hour.over(horizon(max_lifetime, self.ahead)));
    }

    pub(in crate::engine) fn is_unlimited(&self) -> bool {
        self.max_instances.is_none() && !self.needs_price()
    }

    pub(in crate::engine) fn needs_price(&self) -> bool {
        self.max_per_hour.is_some() || self.max_per_day.is_some()
    }

    /// Returns how many have no price, if a dollar limit cannot be checked for that.
    pub(in crate::engine) fn unpriced(&self) -> Option<u64> {
        (self.needs_price() && self.unpriced > 0).then_some(self.unpriced)
    }

    /// Returns what one instance at `price` may still cost, in micro-dollars.
    pub(in crate::engine) fn still_to_cost(&self, price: Option<UsdPerHour>) -> u64 {
        price.map_or(0, |price| price.over(self.ahead).micros())
    }

    /// Whether any limit is exceeded.
    pub(in crate::engine) fn is_exceeded(&self) -> bool {
        self.instances_over().is_some()
            || self.usd_per_hour_over().is_some()
            || self.usd_per_day_over().is_some()
    }

    /// Returns the limit and by how much it is exceeded, if it is.
    pub(in crate::engine) fn instances_over(&self) -> Option<(u64, u64)> {
        let max = self.max_instances?;
        (self.instances > max).then(|| (max, self.instances - max))
    }

    pub(in crate::engine) fn usd_per_hour_over(&self) -> Option<(UsdPerHour, UsdPerHour)> {
        let max = self.max_per_hour?;
        let over = self.per_hour.micros().checked_sub(max.micros()).filter(|over| *over > 0)?;
        Some((max, UsdPerHour::from_micros(over)))
    }

    pub(in crate::engine) fn usd_per_day_over(&self) -> Option<(Usd, Usd)> {
        let max = self.max_per_day?;
        (self.today > max).then(|| (max, self.today.minus(max)))
    }

    /// Counts one more instance, unless that breaks a limit. Returns whether it was counted.
    fn take(&mut self, price: Option<UsdPerHour>, max_lifetime: Option<Duration>) -> bool {
        if self.max_instances.is_some_and(|max| self.instances >= max) {
            return false;
        }
        let price = match price {
            Some(price) => price,
            None if self.needs_price() => return false,
            None => UsdPerHour::ZERO,
        };
        let per_hour = self.per_hour.plus(price);
        let today = self.today.plus(price.over(horizon(max_lifetime, self.ahead)));
        if self.max_per_hour.is_some_and(|max| per_hour > max)
            || self.max_per_day.is_some_and(|max| today > max)
        {
            return false;
        }
        self.instances += 1;
        self.per_hour = per_hour;
        self.today = today;
        true
    }

    /// Returns the share of each goal. Goals are served in turn, one instance at a time: first what is
    /// needed, then what is asked for in excess or in advance.
    pub(in crate::engine) fn share(
        &mut self,
        goals: &[LaunchGoal],
        types: &[Option<&WorkerType>],
    ) -> Vec<u64> {
        let mut shares = vec![0; goals.len()];
        for wanted in [LaunchGoal::needed, |goal: &LaunchGoal| goal.remaining] {
            let mut hungry: Vec<usize> = (0..goals.len()).collect();
            while !hungry.is_empty() {
                hungry.retain(|&i| {
                    let price = types[i].and_then(|worker_type| worker_type.max_price);
                    let lifetime = types[i].and_then(|worker_type| worker_type.max_lifetime);
                    if shares[i] >= wanted(&goals[i]) || !self.take(price, lifetime) {
                        return false;
                    }
                    shares[i] += 1;
                    true
                });
            }
        }
        shares
    }

    pub(in crate::engine) fn usage(&self) -> LimitsUsage {
        let used = self.instances;
        let instances = self.max_instances.map(|max| LimitUsage { max, used });
        let used = self.per_hour;
        let usd_per_hour = self.max_per_hour.map(|max| LimitUsage { max, used });
        let used = self.today;
        let usd_per_day = self.max_per_day.map(|max| LimitUsage { max, used });
        LimitsUsage { instances, usd_per_hour, usd_per_day }
    }
}
