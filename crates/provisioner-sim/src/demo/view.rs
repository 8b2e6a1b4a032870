//! Views of a demonstration: its lines, the present state and the summary.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::engine::WorkerTypeStatus;
use serde::Serialize;

use super::Demo;
use crate::deployment::{key, name};

/// A line about an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The time of the event.
    pub at: Timestamp,
    /// The kind of line.
    pub kind: LineKind,
    /// The worker type that the line is about.
    pub worker_type: Option<WorkerTypeName>,
    /// The text: what happened, and why.
    pub text: String,
}

/// The kind of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineKind {
    /// The provisioner did something.
    Done,
    /// EC2 refused it, or did not answer.
    Refused,
    /// The provisioner leaves something undone.
    Note,
    /// Something happens in the world.
    World,
}

/// The present state.
#[derive(Clone, Debug)]
pub struct Glance {
    /// The time in the demonstration.
    pub now: Timestamp,
    /// A row per worker type.
    pub rows: Vec<Row>,
    /// The present cost of all instances.
    pub usd_per_hour: UsdPerHour,
    /// The summary so far.
    pub summary: Summary,
}

/// The true state of a worker type, whether or not the provisioner has observed it yet.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name.
    pub worker_type: WorkerTypeName,
    /// Waiting tasks.
    pub pending: u64,
    /// How long the oldest waiting task has waited.
    pub oldest: Option<Duration>,
    /// Open spot instance requests.
    pub open: u64,
    /// Instances whose worker is not up yet.
    pub booting: u64,
    /// Instances that run tasks.
    pub busy: u64,
    /// Instances that run no task, though their worker is up.
    pub idle: u64,
    /// The number of instances that the last round wanted.
    pub wanted: u64,
    /// The cost of its instances at market prices.
    pub usd_per_hour: UsdPerHour,
}

impl Row {
    /// Returns the number of instances.
    pub fn instances(&self) -> u64 {
        self.booting + self.busy + self.idle
    }
}

/// The summary of a demonstration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// How long it lasted, in simulated seconds.
    pub seconds: u64,
    /// The number of rounds.
    pub rounds: u64,
    /// The number of calls that change something, including refused calls.
    pub actions: u64,
    /// The tasks.
    pub tasks: Tasks,
    /// The times from creation to start.
    pub wait_seconds: Waits,
    /// The number of launched instances.
    pub launches: u64,
    /// The number of instances that EC2 interrupted.
    pub interruptions: u64,
    /// The number of launching calls that EC2 refused.
    pub refused_launches: u64,
    /// The billed instance-hours.
    pub instance_hours: f64,
    /// The part of the billed time in which tasks ran that finished or still run.
    pub utilisation: f64,
    /// EC2's bill.
    pub cost_usd: f64,
}

/// The number of tasks by state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tasks {
    /// Finished tasks.
    pub finished: u64,
    /// Running tasks.
    pub running: u64,
    /// Waiting tasks.
    pub pending: u64,
    /// Runs that were lost with their machine and repeated.
    pub lost_runs: u64,
}

/// How long tasks waited.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Waits {
    /// The mean.
    pub mean: f64,
    /// Half of the tasks did not wait longer.
    pub p50: f64,
    /// 95 % of the tasks did not wait longer.
    pub p95: f64,
    /// The longest wait.
    pub max: f64,
}

impl Demo {
    /// The present state.
    pub fn glance(&self) -> Glance {
        let world = &self.driver.world;
        let rows = self.driver.plan.worker_types.iter().map(|status| self.row(status));
        let rows: Vec<_> = rows.collect();
        let usd_per_hour = rows.iter().map(|row| row.usd_per_hour);
        let usd_per_hour = usd_per_hour.fold(UsdPerHour::ZERO, UsdPerHour::plus);
        Glance { now: world.now, rows, usd_per_hour, summary: self.summary() }
    }

    /// Counts the present state. A plan counts the state before it was carried out, so only its target is shown.
    fn row(&self, planned: &WorkerTypeStatus) -> Row {
        let world = &self.driver.world;
        let worker_type = name(&planned.name);
        let ours = |of: &Option<WorkerTypeName>| of.as_ref() == Some(&worker_type);
        let oldest = world.queue.oldest_pending(&worker_type);
        let mut row = Row {
            pending: world.queue.pending(&worker_type),
            oldest: oldest.map(|at| clock::age(at, world.now)),
            open: world.open().filter(|request| ours(&request.tags.worker_type)).count() as u64,
            booting: 0,
            busy: 0,
            idle: 0,
            wanted: planned.wanted,
            usd_per_hour: UsdPerHour::ZERO,
            worker_type: worker_type.clone(),
        };
        for (id, machine) in world.live().filter(|(_, machine)| ours(&machine.worker_type)) {
            let place = match world.queue.runs(id) {
                0 if machine.up => &mut row.idle,
                0 => &mut row.booting,
                _ => &mut row.busy,
            };
            *place += 1;
            let price = world.pools.price(&machine.pool().to_string(), world.now);
            row.usd_per_hour = row.usd_per_hour.plus(price.unwrap_or_default());
        }
        row
    }

    /// Returns the summary so far.
    pub fn summary(&self) -> Summary {
        let world = &self.driver.world;
        let served = &world.queue.served;
        let bill = world.bill();
        let ours = |id| world.machines.get(id).is_some_and(|machine| machine.key == key());
        let waits = &served.waits;
        let busy = (served.busy + world.queue.run_so_far(world.now)).as_secs_f64();
        let paid = bill.instance_time.as_secs_f64();
        Summary {
            seconds: clock::age(self.begins, world.now).as_secs(),
            rounds: self.rounds,
            actions: self.actions,
            tasks: Tasks {
                finished: served.finished,
                running: world.queue.running_in_all(),
                pending: world.queue.pending_in_all(),
                lost_runs: served.lost_runs,
            },
            wait_seconds: Waits {
                mean: waits.mean().as_secs_f64(),
                p50: waits.quantile(0.5).as_secs_f64(),
                p95: waits.quantile(0.95).as_secs_f64(),
                max: waits.quantile(1.0).as_secs_f64(),
            },
            launches: world.machines.all().filter(|machine| machine.key == key()).count() as u64,
            interruptions: world.taken_back.iter().filter(|(_, id)| ours(id)).count() as u64,
            refused_launches: world
                .calls
                .iter()
                .filter(|call| !call.answer.ends_with("granted"))
                .count() as u64,
            instance_hours: paid / 3600.0,
            utilisation: if paid > 0.0 { busy / paid } else { 0.0 },
            cost_usd: bill.usd.dollars(),
        }
    }
}
