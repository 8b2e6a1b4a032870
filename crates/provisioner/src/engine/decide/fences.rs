//! What is too much: over a maximum, over `[limits]`.

use super::Draft;

use crate::domain::ids::WorkerTypeName;
use crate::domain::money::UsdPerHour;
use crate::domain::observed::InstanceState;
use crate::domain::plural;
use crate::engine::decide::budget::Budget;
use crate::engine::decide::plan::{NoteKind, ReasonKind};
use crate::engine::decide::removal_order::RemovalOrder;
use crate::engine::state::group::Group;
use crate::settings::WorkerType;

impl Draft<'_> {
    pub(in crate::engine) fn over_maximum(
        &mut self,
        name: &WorkerTypeName,
        worker_type: &WorkerType,
        group: &Group,
        coming: u64,
    ) {
        let total = group.counts.live() + coming;
        let max = worker_type.max_instances;
        if total <= max {
            return;
        }
        let shed = RemovalOrder::new([group], &self.cancelled, &self.ended);
        let machines_over = group.counts.live().saturating_sub(max);
        let (requests, machines) = shed.take(total - max, machines_over, |_| 1);
        let why = |what: &str, n: usize| {
            format!("{n} {what} over max-instances ({max}): there are {total} in all")
        };
        self.cancel(Some(name), requests, ReasonKind::OverMaximum, |n| why("open requests", n));
        self.end(Some(name), machines, ReasonKind::OverMaximum, |n| why("instances", n));
    }

    /// `[limits]` that are exceeded already (they were lowered): shed as over a maximum.
    pub(in crate::engine) fn over_limits(&mut self) {
        let decide = self.decide;
        let index = decide.index;
        let room =
            Budget::new(decide.settings, decide.index, decide.in_flight, decide.memory, decide.now);
        self.over_limits = room.is_exceeded();
        if !self.demand_known() {
            return;
        }
        let strays = self.may_end_strays().then_some(&index.strays);
        let ours = || index.types.values().chain(index.retired.values()).chain(strays);
        // What is not ours to end leaves less room for launches, but ours do not make way for it.
        let live = || {
            let machines = ours().flat_map(|group| &group.machines);
            machines.filter(|machine| machine.state != InstanceState::ShuttingDown)
        };
        if let Some((limit, over)) = room.instances_over() {
            let machines_over = (live().count() as u64).saturating_sub(limit);
            let shed = RemovalOrder::new(ours(), &self.cancelled, &self.ended);
            let (requests, machines) = shed.take(over, machines_over, |_| 1);
            let why = format!("over limits.max-instances ({limit}) by {over}");
            self.cancel(None, requests, ReasonKind::OverLimit, |n| {
                format!("{}, {why}", plural::count(n, "open request"))
            });
            self.end(None, machines, ReasonKind::OverLimit, |n| {
                format!("{}, {why}", plural::count(n, "instance"))
            });
        }
        if let Some((limit, over)) = room.usd_per_hour_over() {
            let weigh = |price: Option<UsdPerHour>| price.map_or(0, UsdPerHour::micros);
            let per_hour: u64 = live().map(|machine| weigh(machine.price)).sum();
            let machines_over = per_hour.saturating_sub(limit.micros());
            let shed = RemovalOrder::new(ours(), &self.cancelled, &self.ended);
            let (requests, machines) = shed.take(over.micros(), machines_over, weigh);
            let why = format!("over limits.max-usd-per-hour ({limit}) by {over} USD per hour");
            self.cancel(None, requests, ReasonKind::OverLimit, |n| {
                format!("{}, {why}", plural::count(n, "open request"))
            });
            self.end(None, machines, ReasonKind::OverLimit, |n| {
                format!("{}, {why}", plural::count(n, "instance"))
            });
        }
        if let Some((limit, over)) = room.usd_per_day_over() {
            let why = format!("over limits.max-usd-per-day ({limit}) by {over} USD");
            let shed = RemovalOrder::new(ours(), &self.cancelled, &self.ended);
            let (open, _) = shed.take(over.micros(), 0, |price| room.still_to_cost(price));
            self.cancel(None, open, ReasonKind::OverLimit, |n| {
                format!("{}, {why}", plural::count(n, "open request"))
            });
        }
    }

    /// Shares what `[limits]` leave among the launches, one instance at a time, so that a large
    /// worker type does not starve a small one.
    pub(in crate::engine) fn cut_to_limits(&mut self) {
        let decide = self.decide;
        let mut room =
            Budget::new(decide.settings, decide.index, decide.in_flight, decide.memory, decide.now);
        if self.goals.is_empty() || room.is_unlimited() {
            return;
        }
        let goals = std::mem::take(&mut self.goals);
        if let Some(text) = room.unpriced() {
            for goal in goals {
                self.note(Some(&goal.worker_type), NoteKind::PriceUnknown, text.clone());
            }
            return;
        }
        let types: Vec<Option<&WorkerType>> =
            goals.iter().map(|goal| decide.settings.worker_types.get(&goal.worker_type)).collect();
        let shares = room.share(&goals, &types);
        for ((mut goal, share), worker_type) in goals.into_iter().zip(shares).zip(types) {
            let needed = goal.needed();
            if share < needed {
                if room.needs_price() && worker_type.is_some_and(|t| t.max_price.is_none()) {
                    let text = format!(
                        "{} wanted, but a dollar limit is set and the worker type has no max-price: set \
                         worker-types.{}.max-price",
                        plural::are(needed, "instance"),
                        goal.worker_type
                    );
                    self.note(Some(&goal.worker_type), NoteKind::PriceUnknown, text);
                } else {
                    let text = format!(
                        "{} wanted; [limits] leave room for {share} ({})",
                        plural::are(needed, "more instance"),
                        room.describe()
                    );
                    self.note(Some(&goal.worker_type), NoteKind::AtLimit, text);
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
