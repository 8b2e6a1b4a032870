//! The metrics of `GET /metrics`, counted after each round and rendered at each scrape.
//!
//! The library provides facts ([`RoundSummary`]), and this module gives them their Prometheus names. Labels come
//! only from closed sets (configured worker types, states, kinds, API operations) and are never ids. The
//! loop replaces a picture of all of it after each round, so that a scrape never waits for a round, nor a
//! round for a scrape.

mod histogram;
mod process;
mod render;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use provisioner::internal::aws::CallCounter;
use provisioner::internal::daemon::{RoundEnd, RoundSummary, StopListener};
use provisioner::internal::domain::demand::TaskWaits;
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::engine::{
    ActionKind, ActionOutcome, ActionResult, Plan, Usage, WorkerTypeStatus,
};
use provisioner::internal::settings::{Limits, Settings};
use provisioner::internal::status::cost::{self, Cost};

use histogram::Histogram;
pub(crate) use render::TextFormat;

/// The label of instances without a configured worker type: of a removed one, strays, and those that are
/// not known yet. It cannot be the name of a worker type, which has no `_`.
const OTHER: &str = "_other";

/// The bounds of a round's duration in seconds: a quiet round takes milliseconds, and one that waits for
/// timeouts takes over a minute.
const ROUND_BOUNDS: &[f64] = &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0];

/// Everything that is measured.
#[derive(Debug)]
pub(crate) struct Metrics {
    picture: Mutex<Arc<Picture>>,
    attempts: CallCounter,
    /// Counts the questions of workers, if the daemon listens for them.
    stop_listener: Option<StopListener>,
    started: Timestamp,
}

/// The measurements at the end of the last round.
#[derive(Clone, Debug)]
struct Picture {
    /// Rounds by outcome.
    rounds: BTreeMap<&'static str, u64>,
    durations: Histogram,
    /// Instances and requests by the kind of the action and its outcome.
    actions: BTreeMap<(&'static str, &'static str), u64>,
    queue_reads: BTreeMap<&'static str, u64>,
    /// Per configured worker type.
    waits: BTreeMap<WorkerTypeName, TaskWaits>,
    /// Task-seconds per configured worker type.
    waited_while_allowed: BTreeMap<WorkerTypeName, f64>,
    /// The pending tasks whose waiting nothing explains, and since when; `None` while they are not known.
    waiting_since: Option<(Instant, BTreeMap<WorkerTypeName, u64>)>,
    /// The worker types as the last decided round found them.
    worker_types: Vec<WorkerTypeStatus>,
    demand_known: bool,
    /// The notes of the last decided round by kind.
    notes: BTreeMap<&'static str, u64>,
    instances: BTreeMap<(String, Usage), u64>,
    costs: BTreeMap<(String, Usage), Cost>,
    maximums: BTreeMap<WorkerTypeName, u64>,
    limits: Limits,
    ended: Option<Timestamp>,
    last_success: Option<Timestamp>,
    failed_rounds: u32,
    reload_successful: bool,
}

impl Metrics {
    /// Creates metrics without measurements. `attempts` counts the calls to AWS as they are made, and `stop_listener`
    /// the questions of workers.
    pub(crate) fn new(
        attempts: CallCounter,
        stop_listener: Option<StopListener>,
        settings: &Settings,
    ) -> Self {
        let picture = Mutex::new(Arc::new(Picture::new(settings)));
        Self { picture, attempts, stop_listener, started: Timestamp::now() }
    }

    /// Records a round. `now` is the time of a monotonic clock.
    pub(crate) fn update(&self, turn: &RoundSummary<'_>, now: Instant) {
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        // This copies the picture only while it is being rendered.
        Arc::make_mut(&mut picture).update(turn, now);
    }

    /// Records whether a reload took up the configuration.
    pub(crate) fn reloaded(&self, successful: bool) {
        let mut picture = self.picture.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut picture).reload_successful = successful;
    }

    fn picture(&self) -> Arc<Picture> {
        Arc::clone(&self.picture.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Picture {
    fn new(settings: &Settings) -> Self {
        // Counters start at zero, so that a first failure shows as an increase.
        let kinds = ["request", "cancel", "terminate", "tag"];
        let results = ["done", "refused", "unknown"];
        let outcomes = ["done", "incomplete", "demand-unknown", "failed", "dry-run"];
        let mut picture = Self {
            rounds: outcomes.map(|outcome| (outcome, 0)).into(),
            durations: Histogram::new(ROUND_BOUNDS),
            actions: kinds
                .iter()
                .flat_map(|kind| results.map(|result| ((*kind, result), 0)))
                .collect(),
            queue_reads: [("ok", 0)].into(),
            waits: BTreeMap::new(),
            waited_while_allowed: BTreeMap::new(),
            waiting_since: None,
            worker_types: Vec::new(),
            demand_known: false,
            notes: BTreeMap::new(),
            instances: BTreeMap::new(),
            costs: BTreeMap::new(),
            maximums: BTreeMap::new(),
            limits: Limits::default(),
            ended: None,
            last_success: None,
            failed_rounds: 0,
            reload_successful: true,
        };
        picture.configured(settings);
        picture
    }

    fn update(&mut self, turn: &RoundSummary<'_>, now: Instant) {
        let RoundSummary { settings, read, end, ended, took, last_success, failed_rounds, .. } =
            *turn;
        *self.rounds.entry(end.outcome().as_str()).or_default() += 1;
        self.durations.observe(took.as_secs_f64());
        self.ended = Some(ended);
        self.last_success = last_success;
        self.failed_rounds = failed_rounds;
        self.configured(settings);

        match read.outcome {
            Some(Ok(())) => *self.queue_reads.entry("ok").or_default() += 1,
            Some(Err(kind)) => *self.queue_reads.entry(kind).or_default() += 1,
            None => {}
        }
        for (name, waits) in &read.waits {
            if let Some(sum) = self.waits.get_mut(name) {
                sum.add(waits);
            }
        }
        if let RoundEnd::Done(report) = end {
            self.carried_out(&report.executed);
        }
        let plan = end.plan();
        self.wait(plan, settings, now);
        if let Some(plan) = plan {
            self.decided(plan);
        }
        self.count_machines(turn);
    }

    /// Adds new worker types, drops removed ones, and records the limits.
    fn configured(&mut self, settings: &Settings) {
        let types = &settings.worker_types;
        self.waits.retain(|name, _| types.contains_key(name));
        self.waited_while_allowed.retain(|name, _| types.contains_key(name));
        self.worker_types.retain(|status| types.contains_key(status.name.as_str()));
        for name in types.keys() {
            self.waits.entry(name.clone()).or_default();
            self.waited_while_allowed.entry(name.clone()).or_default();
        }
        self.maximums = types
            .iter()
            .map(|(name, worker_type)| (name.clone(), worker_type.max_instances))
            .collect();
        self.limits = settings.limits.clone();
    }

    fn carried_out(&mut self, executed: &[ActionOutcome]) {
        for ActionOutcome { action, result, .. } in executed {
            let count = match (&action.kind, result) {
                // EC2 may grant fewer instances than were requested.
                (ActionKind::Request(_), ActionResult::Done(made)) => made.len() as u64,
                _ => action.kind.count(),
            };
            *self.actions.entry((action.kind.as_str(), result.as_str())).or_default() += count;
        }
    }

    /// Adds the time since the last round for each task that was pending then although capacity was allowed.
    /// The time before a round that could not be decided is not counted, because nothing is known about its
    /// tasks.
    fn wait(&mut self, plan: Option<&Plan>, settings: &Settings, now: Instant) {
        let known = plan.filter(|plan| plan.demand_known());
        let before = self.waiting_since.take();
        let Some(plan) = known else { return };
        if let Some((since, tasks)) = before {
            let seconds = now.saturating_duration_since(since).as_secs_f64();
            for (name, tasks) in tasks {
                if let Some(sum) = self.waited_while_allowed.get_mut(&name) {
                    #[expect(clippy::cast_precision_loss, reason = "there are not that many tasks")]
                    let tasks = tasks as f64;
                    *sum += tasks * seconds;
                }
            }
        }
        self.waiting_since = Some((now, plan.waiting_while_allowed(settings)));
    }

    fn decided(&mut self, plan: &Plan) {
        self.demand_known = plan.demand_known();
        self.worker_types.clone_from(&plan.worker_types);
        self.notes.clear();
        for note in &plan.notes {
            *self.notes.entry(note.kind.as_str()).or_default() += 1;
        }
    }

    fn count_machines(&mut self, turn: &RoundSummary<'_>) {
        let label = |name: Option<&WorkerTypeName>| {
            let name = name.filter(|name| turn.settings.worker_types.contains_key(*name));
            name.map_or(OTHER, WorkerTypeName::as_str).to_owned()
        };
        let configured = || turn.settings.worker_types.keys().map(ToString::to_string);
        self.instances = configured()
            .flat_map(|name| Usage::ALL.map(|usage| ((name.clone(), usage), 0)))
            .collect();
        for machines in turn.machines {
            let name = label(machines.worker_type.as_ref());
            *self.instances.entry((name, machines.usage)).or_default() += machines.count;
        }
        self.costs = configured()
            .flat_map(|name| Usage::ALL.map(|usage| ((name.clone(), usage), Cost::default())))
            .collect();
        for ((name, usage), cost) in cost::usd_per_hour(turn.machines, turn.prices, turn.ended) {
            let sum = self.costs.entry((label(name.as_ref()), usage)).or_default();
            *sum = sum.plus(cost);
        }
    }
}

/// Returns a duration in seconds, the unit of Prometheus.
fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

#[cfg(test)]
mod tests;
