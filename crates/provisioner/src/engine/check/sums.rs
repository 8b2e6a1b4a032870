//! Everything that exists or may still come, added up for the check alone.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::domain::clock;
use crate::domain::ids::WorkerTypeName;
use crate::domain::money::{Usd, UsdPerHour};
use crate::domain::observed::InstanceState;
use crate::engine::decide::Decide;
use crate::engine::decide::detail::{LimitUsage, LimitsUsage};
use crate::engine::state::group::Group;
use crate::engine::state::machine::Machine;

/// `max-usd-per-day` counts each instance for this long at least, however near midnight is.
const LEAST_COST_TIME: Duration = Duration::from_hours(6);

/// Machines, open requests and launches, by worker type. `None` stands for what has no known one.
pub(super) struct Sums<'a> {
    decide: &'a Decide<'a>,
    by_type: BTreeMap<Option<&'a WorkerTypeName>, Sum>,
    /// Dollars spent since midnight UTC, by what is or was visible and by launches in flight.
    spent: Usd,
}

#[derive(Default)]
struct Sum {
    /// Instances in any state, open requests and launches in flight.
    instances: u64,
    /// Instances that are shutting down: they count to `max-instances` of their type, but neither cost
    /// nor count to `[limits]`.
    leaving: u64,
    /// The highest possible price of those that have one.
    per_hour: UsdPerHour,
    unpriced: u64,
}

impl Sum {
    fn add(&mut self, n: u64, price: Option<UsdPerHour>) {
        self.instances += n;
        match price {
            Some(price) => self.per_hour = self.per_hour.plus(price.times(n)),
            None => self.unpriced += n,
        }
    }

    fn add_machine(&mut self, machine: &Machine) {
        if machine.state == InstanceState::ShuttingDown {
            self.instances += 1;
            self.leaving += 1;
        } else {
            self.add(1, machine.price);
        }
    }

    fn add_group(&mut self, group: &Group) {
        for machine in &group.machines {
            self.add_machine(machine);
        }
        for request in &group.open {
            self.add(1, request.price);
        }
    }
}

impl<'a> Sums<'a> {
    pub(super) fn new(decide: &'a Decide<'a>) -> Self {
        let mut sums = Self {
            decide,
            by_type: BTreeMap::new(),
            spent: decide.ledger.spending.on_day_of(decide.now),
        };
        let index = decide.index;
        for (name, group) in index.types.iter().chain(&index.retired) {
            sums.by_type.entry(Some(name)).or_default().add_group(group);
        }
        let untyped = sums.by_type.entry(None).or_default();
        untyped.add_group(&index.strays);
        for machine in index.unresolved.iter().chain(&index.disputed) {
            untyped.add_machine(machine);
        }
        sums.add_in_flight();
        sums
    }

    /// Adds what was asked of EC2 and shows neither as an open request nor as an instance.
    fn add_in_flight(&mut self) {
        let Decide { ledger, memory, index, seen_by_intent, settings, now, .. } = *self.decide;
        for (token, intent) in &ledger.intents {
            let call = &intent.call;
            let seen = seen_by_intent.get(token).copied().unwrap_or(0);
            let unseen = u64::from(call.count.saturating_sub(seen));
            self.add_unseen(Some(&call.worker_type), unseen, call.max_price, call.decided);
        }
        for (id, granted) in &ledger.granted {
            let is_open = memory.open.contains_key(id);
            let has_arrived = index.arrived.contains(id);
            let is_fulfilled = memory.fulfilled.contains_key(id);
            if !is_open && !has_arrived && !is_fulfilled {
                self.add_unseen(Some(&granted.worker_type), 1, granted.max_price, granted.at);
            }
        }
        // A request is fulfilled before its instance shows, which takes a visibility window at most.
        for fulfilled in memory.fulfilled.values() {
            let visible_at = clock::after(fulfilled.since, settings.provisioner.visibility_window);
            if now < visible_at {
                let name = fulfilled.worker_type.as_ref();
                self.add_unseen(name, 1, fulfilled.max_price, fulfilled.since);
            }
        }
    }

    fn add_unseen(
        &mut self,
        name: Option<&'a WorkerTypeName>,
        n: u64,
        price: Option<UsdPerHour>,
        since: Timestamp,
    ) {
        self.by_type.entry(name).or_default().add(n, price);
        if let Some(price) = price {
            let so_far = price.times(n).over(clock::age(since, self.decide.now));
            self.spent = self.spent.plus(so_far);
        }
    }

    /// Adds a launch that the plan makes.
    pub(super) fn launch(&mut self, name: &'a WorkerTypeName, n: u64, price: Option<UsdPerHour>) {
        self.by_type.entry(Some(name)).or_default().add(n, price);
    }

    pub(super) fn instances_of(&self, name: &WorkerTypeName) -> u64 {
        self.by_type.get(&Some(name)).map_or(0, |sum| sum.instances)
    }

    /// How many have no known price.
    pub(super) fn unpriced(&self) -> u64 {
        self.by_type.values().map(|sum| sum.unpriced).sum()
    }

    /// How much of `[limits]` is used.
    pub(super) fn usage(&self) -> LimitsUsage {
        let limits = &self.decide.settings.limits;
        let sums = self.by_type.values();
        let instances = sums.clone().map(|sum| sum.instances - sum.leaving).sum();
        let per_hour = sums.fold(UsdPerHour::ZERO, |total, sum| total.plus(sum.per_hour));
        LimitsUsage {
            instances: limits.max_instances.map(|max| LimitUsage { max, used: instances }),
            usd_per_hour: limits.max_usd_per_hour.map(|max| LimitUsage { max, used: per_hour }),
            usd_per_day: limits
                .max_usd_per_day
                .map(|max| LimitUsage { max, used: self.spent_by_midnight() }),
        }
    }

    /// What will have been spent at the next midnight UTC if nothing ends before it must. The price of
    /// each type is rounded up once, so that rounding alone never comes to more than in the plan.
    fn spent_by_midnight(&self) -> Usd {
        let now = self.decide.now;
        let until_midnight = clock::age(now, clock::next_midnight(now));
        let costs_for = until_midnight.max(LEAST_COST_TIME);
        self.by_type.iter().fold(self.spent, |total, (name, sum)| {
            // An instance is terminated at twice its `max-lifetime`.
            let lives_for = self.max_lifetime(*name).map(|lifetime| lifetime.saturating_mul(2));
            let costs_for = lives_for.map_or(costs_for, |lives_for| lives_for.min(costs_for));
            total.plus(sum.per_hour.over(costs_for))
        })
    }

    fn max_lifetime(&self, name: Option<&WorkerTypeName>) -> Option<Duration> {
        let settings = self.decide.settings;
        match settings.worker_types.get(name?) {
            Some(worker_type) => worker_type.max_lifetime,
            None => settings.retired_max_lifetime,
        }
    }
}

pub(super) fn exceeds(usage: &LimitsUsage) -> bool {
    let LimitsUsage { instances, usd_per_hour, usd_per_day } = usage;
    instances.is_some_and(|limit| limit.used > limit.max)
        || usd_per_hour.is_some_and(|limit| limit.used > limit.max)
        || usd_per_day.is_some_and(|limit| limit.used > limit.max)
}
