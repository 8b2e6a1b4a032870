//! What is known at a time, from which the document is made when somebody asks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::problem::Seen;
use super::{HourlyCost, Other, Record, Source, Status, VERSION, WorkerType};
use crate::clock;
use crate::demand::Demand;
use crate::engine::{Machines, Plan, Usage, WorkerTypeStatus};
use crate::ids::WorkerTypeName;
use crate::prices::{self, Cost, SpotPrices};

/// What is known of a deployment. Prices age: the document is made of it when it is asked for.
#[derive(Clone, Debug, Default)]
pub struct Picture {
    worker_types: Vec<WorkerType>,
    observed: Option<Timestamp>,
    demand_known: bool,
    machines: Vec<Machines>,
    prices: SpotPrices,
    record: Record,
}

impl Picture {
    /// These worker types are configured, and nothing is known.
    pub fn new(names: impl IntoIterator<Item = impl ToString>) -> Self {
        let named =
            |name: &dyn ToString| WorkerType { name: name.to_string(), ..WorkerType::default() };
        let worker_types = names.into_iter().map(|name| named(&name)).collect();
        Self { worker_types, ..Self::default() }
    }

    /// Takes in what the queue wants.
    pub fn demand(&mut self, demand: &Demand) {
        self.demand_known = true;
        for row in &mut self.worker_types {
            let name = WorkerTypeName::from(row.name.as_str());
            let pending = demand.pending.get(&name).copied().unwrap_or_default();
            row.pending = Some(pending.count);
            row.oldest_pending = pending.oldest;
            row.running = Some(demand.running.tasks(&name).unwrap_or(0));
        }
    }

    /// Takes in a plan made at `at`, and the live instances that it was made from.
    pub fn plan(&mut self, plan: &Plan, machines: &[Machines], at: Timestamp) {
        self.observed = Some(at);
        self.demand_known = plan.demand_known();
        let rows = plan.worker_types.iter();
        self.worker_types = rows.map(|row| row_of(row, self.demand_known)).collect();
        self.machines = machines.to_vec();
    }

    /// Takes in spot prices.
    pub fn prices(&mut self, prices: &SpotPrices) {
        self.prices.clone_from(prices);
    }

    /// Takes in what is known of earlier rounds.
    pub fn record(&mut self, record: &Record) {
        self.record.clone_from(record);
    }

    /// Takes in what went wrong in a look at all of it just now, and with it that the rest did not.
    pub fn looked(&mut self, wrong: Vec<Seen>, now: Timestamp) {
        self.record.look(wrong, self.observed.is_some(), self.demand_known, now);
    }

    /// Says it all, as of `now`.
    pub fn status(&self, source: Source, now: Timestamp) -> Status {
        let costs = prices::usd_per_hour(&self.machines, &self.prices, now);
        let mut costs_of = BTreeMap::<_, Cost>::new();
        for ((name, _), cost) in costs {
            let sum = costs_of.entry(name).or_default();
            *sum = sum.plus(cost);
        }
        // Without a look, zero would be as wrong as any other number.
        let told = |cost: Cost| self.observed.map(|_| cost.into()).unwrap_or_default();
        let total = costs_of.values().fold(Cost::default(), |sum, cost| sum.plus(*cost));
        let mut worker_types = self.worker_types.clone();
        for row in &mut worker_types {
            let name = Some(WorkerTypeName::from(row.name.as_str()));
            row.cost = told(costs_of.remove(&name).unwrap_or_default());
            let oldest = row.oldest_pending.map(|oldest| clock::age(oldest, now).as_secs());
            row.oldest_pending_seconds = oldest;
        }
        let rest = costs_of.into_values().fold(Cost::default(), Cost::plus);
        Status {
            version: VERSION,
            time: now,
            source,
            observed: self.observed,
            demand_known: self.demand_known,
            other: self.other(told(rest)),
            worker_types,
            cost: told(total),
            last_round: self.record.last_round().cloned(),
            errors: self.record.problems(),
        }
    }

    fn other(&self, cost: HourlyCost) -> Other {
        let configured: BTreeSet<_> =
            self.worker_types.iter().map(|row| row.name.as_str()).collect();
        let count = |usage| {
            let others = self.machines.iter().filter(|machines| {
                let name = machines.worker_type.as_ref().map(WorkerTypeName::as_str);
                machines.usage == usage && name.is_none_or(|name| !configured.contains(name))
            });
            self.observed.map(|_| others.map(|machines| machines.count).sum())
        };
        Other {
            booting: count(Usage::Booting),
            busy: count(Usage::Busy),
            idle: count(Usage::Idle),
            stopping: count(Usage::Stopping),
            cost,
        }
    }
}

fn row_of(status: &WorkerTypeStatus, demand_known: bool) -> WorkerType {
    let WorkerTypeStatus {
        name,
        pending,
        running,
        open_requests,
        booting,
        idle,
        busy,
        stopping,
        wanted,
        oldest_pending,
    } = status.clone();
    // A plan counts tasks that are not known as none.
    let tasks = |count| demand_known.then_some(count);
    WorkerType {
        name,
        pending: tasks(pending),
        oldest_pending: oldest_pending.filter(|_| demand_known),
        oldest_pending_seconds: None,
        running: tasks(running),
        wanted: tasks(wanted),
        open_requests: Some(open_requests),
        booting: Some(booting),
        busy: Some(busy),
        idle: Some(idle),
        stopping: Some(stopping),
        cost: HourlyCost::default(),
    }
}
