//! The facts from which a status is made when somebody asks for one.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::problem::ProblemSeen;
use super::{
    HourlyCost, LastReload, OtherMachines, RoundRecord, Status, StatusNote, StatusSource, VERSION,
    WorkerTypeRow,
};
use crate::domain::clock;
use crate::domain::demand::Demand;
use crate::domain::ids::WorkerTypeName;
use crate::domain::prices::SpotPrices;
use crate::engine::{self, Machines, Plan, Usage, WorkerTypeStatus};
use crate::status::cost::{self, Cost};

/// What is known about a deployment. The status is made from it only when it is asked for, because prices
/// and ages change in between.
#[derive(Clone, Debug, Default)]
pub struct StatusPicture {
    worker_types: Vec<WorkerTypeRow>,
    observed: Option<Timestamp>,
    demand_known: bool,
    machines: Vec<Machines>,
    prices: SpotPrices,
    notes: Vec<StatusNote>,
    record: RoundRecord,
    daemon_running: Option<bool>,
    last_reload: Option<LastReload>,
}

impl StatusPicture {
    /// Starts with the configured worker types, about which nothing is known yet.
    pub fn new(names: impl IntoIterator<Item = impl ToString>) -> Self {
        let named = |name: &dyn ToString| WorkerTypeRow {
            name: name.to_string(),
            ..WorkerTypeRow::default()
        };
        let worker_types = names.into_iter().map(|name| named(&name)).collect();
        Self { worker_types, ..Self::default() }
    }

    /// Adds the queue's demand.
    pub fn demand(&mut self, demand: &Demand) {
        self.demand_known = true;
        for row in &mut self.worker_types {
            let name = WorkerTypeName::from(row.name.as_str());
            let pending = demand.pending.get(&name).copied().unwrap_or_default();
            row.pending = Some(pending.count);
            row.oldest_pending = pending.oldest;
            row.running = demand.running.tasks(&name);
        }
    }

    /// Adds a plan made at `at`, and the live instances from which it was made.
    pub fn plan(&mut self, plan: &Plan, machines: &[Machines], at: Timestamp) {
        self.observed = Some(at);
        self.demand_known = plan.demand_known();
        let rows = plan.worker_types.iter();
        self.worker_types = rows.map(|row| row_of(row, self.demand_known)).collect();
        self.machines = machines.to_vec();
        // Notes about problems are listed among the errors.
        let is_listed = |note: &&engine::Note| !note.kind.is_problem() && note.kind.fix().is_some();
        self.notes = plan.notes.iter().filter(is_listed).map(note_of).collect();
    }

    /// Adds spot prices.
    pub fn prices(&mut self, prices: &SpotPrices) {
        self.prices.clone_from(prices);
    }

    /// Adds what is known about earlier rounds.
    pub fn record(&mut self, record: &RoundRecord) {
        self.record.clone_from(record);
    }

    /// Adds whether a daemon runs, which a picture of the daemon itself need not be told.
    pub fn daemon_running(&mut self, running: bool) {
        self.daemon_running = Some(running);
    }

    /// Adds how the last reload of the configuration ended.
    pub fn reloaded(&mut self, reload: LastReload) {
        self.last_reload = Some(reload);
    }

    /// Adds the problems of a direct observation of EC2 and the queue. Whatever it could have found but did
    /// not is no longer a problem.
    pub fn observed_directly(&mut self, wrong: Vec<ProblemSeen>, now: Timestamp) {
        self.record.observed_directly(wrong, self.observed.is_some(), self.demand_known, now);
    }

    /// Returns the status as of `now`.
    pub fn status(&self, source: StatusSource, now: Timestamp) -> Status {
        let costs = cost::usd_per_hour(&self.machines, &self.prices, now);
        let mut costs_of = BTreeMap::<_, Cost>::new();
        for ((name, _), cost) in costs {
            let sum = costs_of.entry(name).or_default();
            *sum = sum.plus(cost);
        }
        // Without an observation, zero would be as wrong as any other number.
        let if_observed = |cost: Cost| self.observed.map(|_| cost.into()).unwrap_or_default();
        let total = costs_of.values().fold(Cost::default(), |sum, cost| sum.plus(*cost));
        let mut worker_types = self.worker_types.clone();
        for row in &mut worker_types {
            let name = Some(WorkerTypeName::from(row.name.as_str()));
            row.cost = if_observed(costs_of.remove(&name).unwrap_or_default());
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
            other: self.other(if_observed(rest)),
            worker_types,
            cost: if_observed(total),
            last_round: self.record.last_round().cloned(),
            daemon_running: match source {
                StatusSource::Daemon => Some(true),
                StatusSource::Direct => self.daemon_running,
            },
            last_reload: self.last_reload.clone(),
            notes: self.notes.clone(),
            errors: self.record.problems(),
        }
    }

    fn other(&self, cost: HourlyCost) -> OtherMachines {
        let configured: BTreeSet<_> =
            self.worker_types.iter().map(|row| row.name.as_str()).collect();
        let count = |usage| {
            let others = self.machines.iter().filter(|machines| {
                let name = machines.worker_type.as_ref().map(WorkerTypeName::as_str);
                machines.usage == usage && name.is_none_or(|name| !configured.contains(name))
            });
            self.observed.map(|_| others.map(|machines| machines.count).sum())
        };
        OtherMachines {
            booting: count(Usage::Booting),
            busy: count(Usage::Busy),
            idle: count(Usage::Idle),
            stopping: count(Usage::Stopping),
            cost,
        }
    }
}

fn note_of(note: &engine::Note) -> StatusNote {
    StatusNote {
        worker_type: note.worker_type.as_ref().map(ToString::to_string),
        kind: note.kind.to_string(),
        text: note.text.clone(),
    }
}

fn row_of(status: &WorkerTypeStatus, demand_known: bool) -> WorkerTypeRow {
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
    // A plan counts unknown tasks as zero.
    let tasks = |count| demand_known.then_some(count);
    WorkerTypeRow {
        name,
        pending: tasks(pending),
        oldest_pending: oldest_pending.filter(|_| demand_known),
        oldest_pending_seconds: None,
        running: running.filter(|_| demand_known),
        wanted: tasks(wanted),
        open_requests: Some(open_requests),
        booting: Some(booting),
        busy: Some(busy),
        idle: Some(idle),
        stopping: Some(stopping),
        cost: HourlyCost::default(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::demand::PendingTasks;
    use crate::domain::ids::{InstanceType, Zone};
    use crate::domain::launch::Pool;
    use crate::domain::money::UsdPerHour;
    use crate::domain::prices::MAX_AGE;
    use crate::engine::NoteKind;

    fn noon() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn pool() -> Pool {
        let zone = Some(Zone::from("us-west-2a"));
        Pool { instance_type: InstanceType::from("c7g.large"), zone }
    }

    fn machines(name: Option<&str>, usage: Usage, pool: Option<Pool>, count: u64) -> Machines {
        Machines { worker_type: name.map(WorkerTypeName::from), usage, pool, count }
    }

    /// Two busy machines of `linux` at 3 cents, one of a type that was removed, and a stray.
    fn picture() -> StatusPicture {
        let row = WorkerTypeStatus {
            name: "linux".to_owned(),
            pending: 4,
            busy: 2,
            wanted: 6,
            oldest_pending: Some(noon()),
            ..WorkerTypeStatus::default()
        };
        let plan = Plan { worker_types: vec![row], ..Plan::default() };
        let mut prices = SpotPrices::default();
        let found = BTreeMap::from([(pool(), UsdPerHour::from_micros(30_000))]);
        prices.learn(&BTreeSet::from([pool()]), &found, noon());
        let mut picture = StatusPicture::new(["linux"]);
        let machines = [
            machines(Some("linux"), Usage::Busy, Some(pool()), 2),
            machines(Some("removed"), Usage::Idle, Some(pool()), 1),
            machines(None, Usage::Busy, None, 1),
        ];
        picture.plan(&plan, &machines, noon());
        picture.prices(&prices);
        picture
    }

    #[test]
    fn costs_are_told_per_type_for_the_others_and_in_all() {
        let status =
            picture().status(StatusSource::Daemon, clock::after(noon(), Duration::from_secs(90)));
        let [linux] = &status.worker_types[..] else { panic!("{status:?}") };
        assert_eq!(linux.cost.usd_per_hour, Some(0.06));
        assert_eq!(linux.oldest_pending_seconds, Some(90));
        assert_eq!((status.other.busy, status.other.idle), (Some(1), Some(1)));
        assert_eq!(status.other.cost.known_usd_per_hour, Some(0.03));
        let HourlyCost { usd_per_hour, known_usd_per_hour, unknown_price_machines } = status.cost;
        assert_eq!((usd_per_hour, known_usd_per_hour), (None, Some(0.09)));
        assert_eq!(unknown_price_machines, Some(1));
    }

    #[test]
    fn prices_grow_old_between_rounds() {
        let late = clock::after(noon(), MAX_AGE + Duration::from_secs(1));
        let status = picture().status(StatusSource::Daemon, late);
        assert_eq!(status.worker_types[0].cost.usd_per_hour, None);
        assert_eq!(status.cost.unknown_price_machines, Some(4));
        assert_eq!(status.observed, Some(noon()));
    }

    #[test]
    fn a_plan_without_demand_tells_no_tasks() {
        let mut picture = picture();
        let note = engine::Note::new(None, NoteKind::DemandUnknown, "down".to_owned());
        let row =
            WorkerTypeStatus { name: "linux".to_owned(), busy: 2, ..WorkerTypeStatus::default() };
        let plan = Plan { worker_types: vec![row], notes: vec![note], ..Plan::default() };
        picture.plan(&plan, &[], noon());
        let status = picture.status(StatusSource::Daemon, noon());
        let WorkerTypeRow { pending, running, wanted, busy, oldest_pending_seconds, .. } =
            status.worker_types[0];
        assert_eq!((pending, running, wanted, oldest_pending_seconds), (None, None, None, None));
        assert_eq!((busy, status.demand_known), (Some(2), false));
        assert!(!status.knows_nothing());
    }

    #[test]
    fn notes_are_what_somebody_can_act_on_and_no_errors() {
        let kinds = [NoteKind::AtMaximum, NoteKind::InFlight, NoteKind::DemandUnknown];
        let note = |kind| engine::Note::new(Some(&"linux".into()), kind, "because".to_owned());
        let plan = Plan { notes: kinds.map(note).to_vec(), ..Plan::default() };
        let mut picture = picture();
        picture.plan(&plan, &[], noon());
        let [note] = &picture.status(StatusSource::Daemon, noon()).notes[..] else { panic!() };
        assert_eq!(
            (note.kind.as_str(), note.worker_type.as_deref()),
            ("at-maximum", Some("linux"))
        );
        picture.plan(&Plan::default(), &[], noon());
        assert_eq!(picture.status(StatusSource::Daemon, noon()).notes, []);
    }

    #[test]
    fn a_queue_alone_tells_no_machines() {
        let mut picture = StatusPicture::new(["linux", "windows"]);
        let mut demand = Demand::default();
        let three = PendingTasks { count: 3, oldest: None };
        demand.pending.insert("linux".into(), three);
        picture.demand(&demand);
        let status = picture.status(StatusSource::Direct, noon());
        let pending: Vec<_> = status.worker_types.iter().map(|row| row.pending).collect();
        assert_eq!(pending, [Some(3), Some(0)]);
        assert_eq!((status.worker_types[0].busy, status.other.busy), (None, None));
        assert_eq!(status.cost, HourlyCost::default(), "not zero: nobody looked");
        assert!(!status.knows_nothing());
        assert!(StatusPicture::new(["linux"]).status(StatusSource::Direct, noon()).knows_nothing());
    }

    #[test]
    fn the_document_is_flat_and_is_read_back_by_those_that_know_less() {
        let status = picture().status(StatusSource::Daemon, noon());
        let mut value = serde_json::to_value(&status).unwrap();
        assert_eq!(value["version"], 1);
        assert_eq!(value["worker_types"][0]["usd_per_hour"], 0.06);
        assert_eq!(value["unknown_price_machines"], 1);
        assert!(value["last_round"].is_null() && value["errors"].is_array());
        value["worker_types"][0]["colour"] = "green".into();
        assert_eq!(serde_json::from_value::<Status>(value).unwrap(), status);
    }
}
