//! Counts tasks per worker type while they are read. Nothing in here grows with their number.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::answer::{Answer, Flaw, Seen, Tally};
use super::runs::{RunTally, RunWatch};
use super::sketch::Sketch;
use super::started::{StartedTally, StartedWatch};
use super::task::Task;
use crate::domain::demand::{PendingTasks, Running, Skipped};
use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::settings::Settings;

/// Which tasks count, and for which worker type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFilter {
    pointer: Vec<String>,
    names: BTreeMap<String, WorkerTypeName>,
    provisioner_id: Option<String>,
}

impl TaskFilter {
    /// Makes a filter: where the worker type stands in a task (a JSON pointer, split and unescaped), which
    /// of its values mean which worker type, and whose tasks count if not everyone's.
    pub fn new(
        pointer: Vec<String>,
        names: BTreeMap<String, WorkerTypeName>,
        provisioner_id: Option<String>,
    ) -> Self {
        Self { pointer, names, provisioner_id }
    }

    /// Makes the filter that `settings` ask for. A worker type's own name wins over another's alias.
    pub fn from_settings(settings: &Settings) -> Self {
        let mut names = BTreeMap::new();
        for (name, worker_type) in &settings.worker_types {
            for alias in &worker_type.aliases {
                names.insert(alias.clone(), name.clone());
            }
        }
        for name in settings.worker_types.keys() {
            names.insert(name.as_str().to_owned(), name.clone());
        }
        Self::new(
            settings.queue.worker_type_pointer.clone(),
            names,
            settings.provisioner.provisioner_id.clone(),
        )
    }

    pub(super) fn pointer(&self) -> &[String] {
        &self.pointer
    }

    fn worker_type(&self, task: &Task<'_>) -> Option<&WorkerTypeName> {
        self.names.get(task.worker_type.as_ref())
    }

    fn is_others(&self, task: &Task<'_>) -> bool {
        match (&self.provisioner_id, &task.provisioner_id) {
            (Some(ours), Some(theirs)) => ours != theirs,
            _ => false,
        }
    }
}

/// An answer with pending tasks, read chunk by chunk: for sources with a transport of their own.
#[derive(Debug)]
pub struct PendingAnswer<'f>(Answer<'f, PendingTally<'f>>);

impl<'f> PendingAnswer<'f> {
    /// Starts before the answer's first byte.
    pub fn new(filter: &'f TaskFilter) -> Self {
        Self(Answer::new(filter.pointer(), PendingTally::new(filter)))
    }

    /// Takes the next bytes of the answer, any number of them.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Flaw> {
        self.0.feed(chunk)
    }

    /// Takes the end of the answer, and returns what was counted and what was skipped.
    pub fn finish(self) -> Result<(BTreeMap<WorkerTypeName, PendingTasks>, Skipped), Flaw> {
        let PendingTally { pending, skipped, .. } = self.0.finish()?;
        Ok((pending, skipped))
    }
}

/// What PENDING said.
#[derive(Debug)]
pub(super) struct PendingTally<'f> {
    filter: &'f TaskFilter,
    pub(super) pending: BTreeMap<WorkerTypeName, PendingTasks>,
    pub(super) skipped: Skipped,
    pub(super) sketch: Sketch,
    /// Some task has a worker or was started.
    pub(super) started: bool,
}

impl<'f> PendingTally<'f> {
    pub(super) fn new(filter: &'f TaskFilter) -> Self {
        Self {
            filter,
            pending: BTreeMap::new(),
            skipped: Skipped::default(),
            sketch: Sketch::default(),
            started: false,
        }
    }

    fn task(&mut self, task: &Task<'_>) {
        self.started |= has_started(task);
        if self.filter.is_others(task) {
            self.skipped.other_provisioner += 1;
            return;
        }
        let Some(name) = self.filter.worker_type(task) else {
            self.unknown(&task.worker_type);
            return;
        };
        update(&mut self.pending, name, |tasks| {
            tasks.count += 1;
            tasks.oldest = match (tasks.oldest, task.created) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        });
    }

    fn unknown(&mut self, name: &str) {
        let end = name.char_indices().nth(MAX_NAME).map_or(name.len(), |(at, _)| at);
        let name = &name[..end];
        let names = &mut self.skipped.unknown_worker_types;
        if let Some(count) = names.get_mut(name) {
            *count += 1;
        } else if names.len() < Skipped::MAX_NAMES {
            names.insert(name.to_owned(), 1);
        } else {
            self.skipped.unknown_rest += 1;
        }
    }
}

/// Characters kept of the name of an unknown worker type.
const MAX_NAME: usize = 256;

impl Tally for PendingTally<'_> {
    fn count(&mut self, seen: Seen<'_>) {
        self.sketch.add(&seen);
        match seen {
            Seen::Task(task, _) => self.task(&task),
            Seen::Malformed(_) => self.skipped.malformed += 1,
            Seen::Oversized => self.skipped.oversized += 1,
        }
    }
}

/// What RUNNING said.
#[derive(Debug)]
pub(super) struct RunningTally<'f> {
    filter: &'f TaskFilter,
    owned: &'f BTreeSet<InstanceId>,
    tasks: BTreeMap<WorkerTypeName, u64>,
    instances: BTreeMap<InstanceId, u32>,
    /// How many of `instances` are not in `owned`.
    strangers: usize,
    /// So far every task names its machine.
    all_named: bool,
    pub(super) malformed: u64,
    pub(super) oversized: u64,
    pub(super) sketch: Sketch,
    /// Some task has a worker or was started.
    pub(super) started: bool,
    /// Which tasks are new, and how long they had waited.
    pub(super) waits: StartedTally<'f>,
    /// Which tasks run, and which do no more.
    runs: RunTally<'f>,
}

/// Machines kept that are not (yet) known as ours. Many more than one account runs; without a bound, a
/// mad answer would fill the memory.
const MAX_STRANGERS: usize = 16_384;

impl<'f> RunningTally<'f> {
    pub(super) fn new(
        filter: &'f TaskFilter,
        owned: &'f BTreeSet<InstanceId>,
        seen_started: &'f StartedWatch,
        seen_running: &'f RunWatch,
    ) -> Self {
        Self {
            filter,
            owned,
            tasks: BTreeMap::new(),
            instances: BTreeMap::new(),
            strangers: 0,
            all_named: true,
            malformed: 0,
            oversized: 0,
            sketch: Sketch::default(),
            started: false,
            waits: StartedTally::new(seen_started),
            runs: RunTally::new(seen_running, Timestamp::now()),
        }
    }

    /// Returns what is known of running tasks, which of them are new, and which are followed.
    pub(super) fn running(self) -> (Running, StartedTally<'f>, RunTally<'f>) {
        let running = if self.all_named {
            Running::ByInstance { tasks: self.tasks, instances: self.instances }
        } else {
            Running::Counted { tasks: self.tasks }
        };
        (running, self.waits, self.runs)
    }

    fn task(&mut self, task: &Task<'_>) {
        self.started |= has_started(task);
        let ours = if self.filter.is_others(task) { None } else { self.filter.worker_type(task) };
        if let Some(name) = ours {
            update(&mut self.tasks, name, |count| *count += 1);
            self.waits.task(name, task);
            self.runs.task(name, task);
        }
        // The machine is busy whosever task it is, but a machine of others is of no interest.
        match task.worker_id.as_deref().filter(|id| is_instance_id(id)) {
            Some(id) => self.busy(id, ours.is_some()),
            None => self.all_named = false,
        }
    }

    fn busy(&mut self, id: &str, ours: bool) {
        if let Some(count) = self.instances.get_mut(id) {
            *count = count.saturating_add(1);
            return;
        }
        if !self.owned.contains(id) {
            if !ours {
                return;
            }
            if self.strangers == MAX_STRANGERS {
                self.all_named = false;
                return;
            }
            self.strangers += 1;
        }
        self.instances.insert(InstanceId::new(id), 1);
    }
}

impl Tally for RunningTally<'_> {
    fn count(&mut self, seen: Seen<'_>) {
        self.sketch.add(&seen);
        match seen {
            Seen::Task(task, _) => self.task(&task),
            Seen::Malformed(_) => {
                self.malformed += 1;
                self.all_named = false;
            }
            Seen::Oversized => {
                self.oversized += 1;
                self.all_named = false;
            }
        }
    }
}

fn has_started(task: &Task<'_>) -> bool {
    task.worker_id.is_some() || task.started.is_some()
}

/// `^i-[0-9A-Za-z]+$`. In another form the queue's ids are not EC2's, and say nothing about machines.
fn is_instance_id(id: &str) -> bool {
    // EC2's have 8 or 17 digits; the bound keeps a mad answer out of memory.
    id.strip_prefix("i-").is_some_and(|digits| {
        (1..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// `entry`, without a copy of the name for every task.
pub(super) fn update<V: Default>(
    map: &mut BTreeMap<WorkerTypeName, V>,
    name: &WorkerTypeName,
    change: impl FnOnce(&mut V),
) {
    if let Some(value) = map.get_mut(name) {
        change(value);
    } else {
        change(map.entry(name.clone()).or_default());
    }
}
