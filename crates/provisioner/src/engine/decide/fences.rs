//! Removes what is over a maximum or over `[limits]`, and keeps launches within the limits.

use super::Draft;
use crate::domain::ids::WorkerTypeName;
use crate::domain::money::UsdPerHour;
use crate::domain::observed::InstanceState;
use crate::engine::decide::budget::Budget;
use crate::engine::decide::detail::{ExceededLimit, PlanNote, ReasonDetail, Removed};
use crate::engine::decide::removal_order::RemovalOrder;
use crate::engine::state::group::Group;
use crate::engine::state::machine::Machine;
use crate::settings::WorkerType;

impl<'a> Draft<'a> {
    pub(super) fn over_maximum(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &'a Group,
    ) {
        let live = group.counts.live();
        let total = live + self.coming(name, group);
        let max = worker_type.max_instances;
        if total <= max {
            return;
        }
        let order = RemovalOrder::new([group], &self.cancelled, &self.ended);
        let (requests, machines) = order.take(total - max, live.saturating_sub(max), |_| 1);
        self.cancel(Some(name), requests, |n| ReasonDetail::OverMaximum {
            removed: Removed::OpenRequests(n),
            max,
            total,
        });
        self.end(Some(name), machines, |n| ReasonDetail::OverMaximum {
            removed: Removed::Instances(n),
            max,
            total,
        });
    }

    /// Removes what exceeds `[limits]`, which happens after they are lowered.
    pub(super) fn over_limits(&mut self) {
        let budget = self.decide.budget();
        self.over_limits = budget.is_exceeded();
        if !self.demand_known() {
            return;
        }
        if let Some((max, over)) = budget.instances_over() {
            let machines_over = (self.removable_machines().count() as u64).saturating_sub(max);
            let limit = ExceededLimit::Instances { max, over };
            self.remove_over_limit(limit, over, machines_over, |_| 1);
        }
        if let Some((max, over)) = budget.usd_per_hour_over() {
            let weigh = |price: Option<UsdPerHour>| price.map_or(0, UsdPerHour::micros);
            let per_hour: u64 = self.removable_machines().map(|machine| weigh(machine.price)).sum();
            let machines_over = per_hour.saturating_sub(max.micros());
            let limit = ExceededLimit::UsdPerHour { max, over };
            self.remove_over_limit(limit, over.micros(), machines_over, weigh);
        }
        if let Some((max, over)) = budget.usd_per_day_over() {
            // What machines have cost is spent, so only requests are taken back.
            let limit = ExceededLimit::UsdPerDay { max, over };
            self.remove_over_limit(limit, over.micros(), 0, |price| budget.still_to_cost(price));
        }
    }

    /// The groups from which `[limits]` may remove. Strays that must be kept leave less room for
    /// launches, but our own machines are not removed to make up for them.
    fn removable_groups(&self) -> impl Iterator<Item = &'a Group> + use<'a> {
        let index = self.decide.index;
        let strays = self.may_end_strays().then_some(&index.strays);
        index.types.values().chain(index.retired.values()).chain(strays)
    }

    fn removable_machines(&self) -> impl Iterator<Item = &'a Machine> + use<'a> {
        let machines = self.removable_groups().flat_map(|group| &group.machines);
        machines.filter(|machine| machine.state != InstanceState::ShuttingDown)
    }

    fn remove_over_limit(
        &mut self,
        limit: ExceededLimit,
        over: u64,
        machines_over: u64,
        weigh: impl Fn(Option<UsdPerHour>) -> u64,
    ) {
        let order = RemovalOrder::new(self.removable_groups(), &self.cancelled, &self.ended);
        let (requests, machines) = order.take(over, machines_over, weigh);
        self.cancel(None, requests, |n| ReasonDetail::OverLimit {
            removed: Removed::OpenRequests(n),
            limit,
        });
        self.end(None, machines, |n| ReasonDetail::OverLimit {
            removed: Removed::Instances(n),
            limit,
        });
    }

    /// Shares what `[limits]` leave among the launches, one instance at a time, so that a large
    /// worker type does not starve a small one.
    pub(super) fn cut_to_limits(&mut self) {
        let decide = self.decide;
        let mut budget = decide.budget();
        if self.goals.is_empty() || budget.is_unlimited() {
            return;
        }
        let goals = std::mem::take(&mut self.goals);
        if let Some(unpriced) = budget.unpriced() {
            for goal in goals {
                self.note_about(&goal.worker_type, &PlanNote::PricesUnknown { unpriced });
            }
            return;
        }
        let types: Vec<Option<&WorkerType>> =
            goals.iter().map(|goal| decide.settings.worker_types.get(&goal.worker_type)).collect();
        let shares = budget.share(&goals, &types);
        for ((mut goal, share), worker_type) in goals.into_iter().zip(shares).zip(types) {
            let needed = goal.needed();
            if share < needed {
                let name = &goal.worker_type;
                let has_no_price =
                    worker_type.is_some_and(|worker_type| worker_type.max_price.is_none());
                if budget.needs_price() && has_no_price {
                    self.note_about(name, &PlanNote::NoMaxPrice { needed, worker_type: name });
                } else {
                    let usage = budget.usage();
                    self.note_about(name, &PlanNote::AtLimit { needed, room: share, usage });
                }
            }
            goal.remaining = share;
            goal.extra = share.saturating_sub(needed);
            if share > 0 {
                self.goals.push(goal);
            }
        }
    }
}

impl super::Decide<'_> {
    fn budget(&self) -> Budget {
        Budget::new(self.settings, self.index, self.in_flight, self.ledger, self.now)
    }
}
