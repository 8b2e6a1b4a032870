//! A queue that moves: tasks come in waves, machines claim them, finish them, and end themselves idle.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use provisioner_sim::rng::Rng;
use serde_json::{Value, json};

use crate::harness::World;

/// A worker type of the soak.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) least: usize,
    pub(super) most: usize,
    /// Tasks on one machine at a time.
    pub(super) tasks: usize,
}

/// The worker types. Waves ask for more than their maxima, and the maxima for more than [`MOST`].
pub(super) const KINDS: [Kind; 3] = [
    Kind { name: "linux", least: 0, most: 6, tasks: 1 },
    Kind { name: "windows", least: 1, most: 4, tasks: 1 },
    Kind { name: "batch", least: 0, most: 8, tasks: 2 },
];

/// Machines of all worker types together.
pub(super) const MOST: usize = 15;

/// After this long without a task a worker ends itself.
const IDLE: Duration = Duration::from_millis(1_500);
/// Between a machine's start and its first task.
const BOOT: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Task {
    worker_type: &'static str,
    created: Timestamp,
    claim: Option<Claim>,
}

#[derive(Debug)]
struct Claim {
    worker: String,
    started: Timestamp,
    ends: Instant,
}

/// Tasks of one worker type come, or do not.
#[derive(Debug)]
struct Wave {
    high: bool,
    until: Instant,
}

#[derive(Debug)]
struct Worker {
    ready: Instant,
    busy: Instant,
    worked: bool,
}

/// The outcome of the tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Served {
    pub(super) done: BTreeMap<&'static str, u64>,
    /// Their machine went away, and they waited again.
    pub(super) started_over: u64,
    /// Taken back before they ran.
    pub(super) withdrawn: u64,
    pub(super) workers: u64,
    /// Machines that ended without ever having had a task.
    pub(super) never_worked: u64,
}

/// The tasks, and the workers on the machines.
#[derive(Debug)]
pub(super) struct Load {
    rng: Rng,
    waves: Vec<Wave>,
    tasks: BTreeMap<u64, Task>,
    workers: BTreeMap<String, Worker>,
    next: u64,
    /// Whether new tasks come at all.
    pub(super) arriving: bool,
    pub(super) served: Served,
}

impl Load {
    pub(super) fn new(seed: u64) -> Self {
        let now = Instant::now();
        Self {
            rng: Rng::stream(seed, "load"),
            waves: KINDS.iter().map(|_| Wave { high: false, until: now }).collect(),
            tasks: BTreeMap::new(),
            workers: BTreeMap::new(),
            next: 0,
            arriving: true,
            served: Served::default(),
        }
    }

    /// No task waits or runs.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// A moment passes. Returns the machines whose workers end them.
    pub(super) fn step(&mut self, world: &World, key_name: &str) -> Vec<String> {
        let now = Instant::now();
        let up = machines(world, key_name);
        self.gone(&up);
        self.finish(now);
        self.arrive(now);
        let mut ends = Vec::new();
        for (id, kind) in &up {
            let worker = self.workers.entry(id.clone()).or_insert_with(|| {
                self.served.workers += 1;
                Worker { ready: now + BOOT, busy: now + BOOT, worked: false }
            });
            let ready = worker.ready <= now;
            let idle = now.saturating_duration_since(worker.busy) > IDLE;
            if ready && self.claim(id, kind, now) {
                let worker = self.workers.get_mut(id).expect("just there");
                (worker.busy, worker.worked) = (now, true);
            } else if ready && idle {
                ends.push(id.clone());
            }
        }
        ends
    }

    /// Forgets machines that no longer exist, so that their tasks wait again.
    fn gone(&mut self, up: &BTreeMap<String, &Kind>) {
        for task in self.tasks.values_mut() {
            if task.claim.as_ref().is_some_and(|claim| !up.contains_key(&claim.worker)) {
                task.claim = None;
                self.served.started_over += 1;
            }
        }
        let served = &mut self.served;
        self.workers.retain(|id, worker| {
            let stays = up.contains_key(id);
            served.never_worked += u64::from(!stays && !worker.worked);
            stays
        });
    }

    fn finish(&mut self, now: Instant) {
        let done = &mut self.served.done;
        self.tasks.retain(|_, task| {
            let ended = task.claim.as_ref().is_some_and(|claim| claim.ends <= now);
            if ended {
                *done.entry(task.worker_type).or_default() += 1;
            }
            !ended
        });
    }

    fn arrive(&mut self, now: Instant) {
        for (kind, wave) in KINDS.iter().zip(&mut self.waves) {
            if wave.until <= now {
                wave.high = !wave.high;
                wave.until = now + Duration::from_millis(2_000 + self.rng.below(5_000));
                // A user cancels tasks.
                if !wave.high && self.rng.percent(30) {
                    let before = self.tasks.len();
                    self.tasks
                        .retain(|_, task| task.claim.is_some() || task.worker_type != kind.name);
                    self.served.withdrawn += (before - self.tasks.len()) as u64;
                }
            }
            let come = match (self.arriving, wave.high) {
                (false, _) => 0,
                (true, true) => self.rng.below(3),
                (true, false) => u64::from(self.rng.percent(3)),
            };
            // The queue has an end, as no maximum lets it be worked off.
            let waiting = self.tasks.values().filter(|task| task.worker_type == kind.name).count();
            for _ in 0..come.min(30_u64.saturating_sub(waiting as u64)) {
                let task = Task { worker_type: kind.name, created: Timestamp::now(), claim: None };
                self.tasks.insert(self.next, task);
                self.next += 1;
            }
        }
    }

    /// Gives a machine the tasks that it can take. Returns whether it has tasks.
    fn claim(&mut self, id: &str, kind: &Kind, now: Instant) -> bool {
        let mine = |task: &Task| task.claim.as_ref().is_some_and(|claim| claim.worker == id);
        let mut has = self.tasks.values().filter(|task| mine(task)).count();
        let waiting = |task: &&mut Task| task.claim.is_none() && task.worker_type == kind.name;
        for task in self.tasks.values_mut().filter(waiting).take(kind.tasks - has) {
            let takes = Duration::from_millis(300 + self.rng.below(2_500));
            let worker = id.to_owned();
            let started = Timestamp::now();
            task.claim = Some(Claim { worker, started, ends: now + takes });
            has += 1;
        }
        has > 0
    }

    /// Returns the tasks that the queue lists as PENDING and as RUNNING.
    pub(super) fn lists(&self) -> (Vec<Value>, Vec<Value>) {
        let mut pending = Vec::new();
        let mut running = Vec::new();
        for (id, task) in &self.tasks {
            let mut shown = json!({
                "taskId": format!("task-{id}"),
                "workerType": task.worker_type,
                "created": task.created.to_string(),
            });
            match &task.claim {
                None => pending.push(shown),
                Some(claim) => {
                    shown["workerId"] = json!(claim.worker);
                    shown["started"] = json!(claim.started.to_string());
                    running.push(shown);
                }
            }
        }
        if self.arriving {
            pending.push(json!({ "taskId": "nobody-s", "workerType": "nobody-knows" }));
        }
        (pending, running)
    }
}

/// The machines that run, by id, with their worker types.
fn machines(world: &World, key_name: &str) -> BTreeMap<String, &'static Kind> {
    let asked: BTreeMap<&str, &str> = world
        .spot_requests
        .iter()
        .filter_map(|request| Some((request.instance_id.as_deref()?, request.worker_type()?)))
        .collect();
    let running = world.instances.iter().filter(|instance| {
        instance.state == "running" && instance.key_name.as_deref() == Some(key_name)
    });
    running
        .filter_map(|instance| {
            let name = asked.get(instance.id.as_str())?;
            let kind = KINDS.iter().find(|kind| kind.name == *name)?;
            Some((instance.id.clone(), kind))
        })
        .collect()
}

/// How many machines and open requests each worker type has.
pub(super) fn standing(world: &World) -> BTreeMap<&str, usize> {
    let live: BTreeSet<&str> = world
        .instances
        .iter()
        .filter(|instance| instance.is_live())
        .map(|instance| instance.id.as_str())
        .collect();
    let mut counts = BTreeMap::new();
    for request in &world.spot_requests {
        let stands = request.state == "open"
            || request.instance_id.as_deref().is_some_and(|id| live.contains(id));
        if let Some(name) = request.worker_type().filter(|_| stands) {
            *counts.entry(name).or_default() += 1;
        }
    }
    counts
}
