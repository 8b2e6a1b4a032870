//! Counts tasks per worker type while they are read. Nothing here grows with the number of tasks.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use super::json_array::ResponseError;
use super::response::{ResponseElement, TaskResponse, TaskSink};
use super::task::{NoWorkerType, Task};
use super::task_fingerprint::TaskFingerprint;
use super::task_history::{HistoryReader, HistoryUpdate, TaskHistory, update};
use crate::domain::demand::{PendingTasks, Running, Skipped, UnreadField};
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
    /// Makes a filter.
    ///
    /// `pointer` is the JSON pointer to a task's worker type, split and unescaped, and `names` maps the
    /// values there to worker types. With a `provisioner_id`, tasks of another one do not count.
    pub fn new(
        pointer: Vec<String>,
        names: BTreeMap<String, WorkerTypeName>,
        provisioner_id: Option<String>,
    ) -> Self {
        Self { pointer, names, provisioner_id }
    }

    /// Makes the filter of `settings`. A worker type's own name has precedence over another's alias.
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

    /// Returns the pointer as the configuration spells it (RFC 6901).
    fn shown_pointer(&self) -> String {
        let segments = self.pointer.iter();
        let spelled = segments.map(|segment| segment.replace('~', "~0").replace('/', "~1"));
        format!("/{}", spelled.collect::<Vec<_>>().join("/"))
    }

    fn worker_type(&self, task: &Task<'_>) -> Option<&WorkerTypeName> {
        self.names.get(task.worker_type.as_ref())
    }

    fn is_other_provisioners(&self, task: &Task<'_>) -> bool {
        match (&self.provisioner_id, &task.provisioner_id) {
            (Some(ours), Some(theirs)) => ours != theirs,
            _ => false,
        }
    }
}

/// A PENDING response, read chunk by chunk, for sources with another transport.
#[derive(Debug)]
pub struct PendingResponse<'f>(TaskResponse<'f, PendingTally<'f>>);

impl<'f> PendingResponse<'f> {
    /// Starts before the response's first byte.
    pub fn new(filter: &'f TaskFilter) -> Self {
        Self(TaskResponse::new(filter.pointer(), PendingTally::new(filter)))
    }

    /// Takes in the next bytes of the response, any number of them.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ResponseError> {
        self.0.feed(chunk)
    }

    /// Ends the response, and returns what was counted and what was skipped.
    pub fn finish(
        self,
    ) -> Result<(BTreeMap<WorkerTypeName, PendingTasks>, Skipped), ResponseError> {
        let PendingTally { pending, skipped, .. } = self.0.finish()?;
        Ok((pending, skipped))
    }
}

/// Counts the tasks of a PENDING response.
#[derive(Debug)]
pub(super) struct PendingTally<'f> {
    filter: &'f TaskFilter,
    pub(super) pending: BTreeMap<WorkerTypeName, PendingTasks>,
    pub(super) skipped: Skipped,
    pub(super) fingerprint: TaskFingerprint,
    /// Whether some element is a task.
    some_read: bool,
    /// Whether some task has a worker or a start.
    pub(super) started: bool,
}

impl<'f> PendingTally<'f> {
    pub(super) fn new(filter: &'f TaskFilter) -> Self {
        Self {
            filter,
            pending: BTreeMap::new(),
            skipped: Skipped::default(),
            fingerprint: TaskFingerprint::default(),
            some_read: false,
            started: false,
        }
    }

    /// Returns whether there are elements, and none of them is a task: what waits is then unknown.
    pub(super) fn none_read(&self) -> bool {
        none_read(self.some_read, &self.skipped)
    }

    fn task(&mut self, task: &Task<'_>) {
        self.some_read = true;
        self.started |= has_started(task);
        if self.filter.is_other_provisioners(task) {
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

/// Characters kept of the name of an unknown worker type: enough to recognise it in a log line.
const MAX_NAME: usize = 256;

impl TaskSink for PendingTally<'_> {
    fn accept(&mut self, element: ResponseElement<'_>) {
        self.fingerprint.add(&element);
        match element {
            ResponseElement::Task(task, _) => {
                count_unread(&task, &mut self.skipped);
                self.task(&task);
            }
            element => skip(&element, self.filter, &mut self.skipped),
        }
    }
}

/// Counts the tasks of a RUNNING response.
#[derive(Debug)]
pub(super) struct RunningTally<'f> {
    filter: &'f TaskFilter,
    owned: &'f BTreeSet<InstanceId>,
    tasks: BTreeMap<WorkerTypeName, u64>,
    instances: BTreeMap<InstanceId, u32>,
    /// How many of `instances` are not in `owned`.
    unknown_instances: usize,
    /// Whether every task so far names its instance.
    all_named: bool,
    /// What could not be read; of [`Skipped`], nothing else is counted here.
    pub(super) unread: Skipped,
    pub(super) fingerprint: TaskFingerprint,
    /// Whether some element is a task.
    some_read: bool,
    /// Whether some task has a worker or a start.
    pub(super) started: bool,
    history: HistoryReader<'f>,
}

/// Instances kept that are not (yet) known as ours. The number is far above what one account runs; the
/// bound protects the memory from a broken response.
const MAX_UNKNOWN_INSTANCES: usize = 16_384;

impl<'f> RunningTally<'f> {
    pub(super) fn new(
        filter: &'f TaskFilter,
        owned: &'f BTreeSet<InstanceId>,
        history: &'f TaskHistory,
    ) -> Self {
        Self {
            filter,
            owned,
            tasks: BTreeMap::new(),
            instances: BTreeMap::new(),
            unknown_instances: 0,
            all_named: true,
            unread: Skipped::default(),
            fingerprint: TaskFingerprint::default(),
            some_read: false,
            started: false,
            history: HistoryReader::new(history, Timestamp::now()),
        }
    }

    /// Returns what is known of running tasks, and what changed since the response before.
    pub(super) fn finish(self) -> (Running, HistoryUpdate) {
        let running = if none_read(self.some_read, &self.unread) {
            Running::Unknown
        } else if self.all_named {
            Running::ByInstance { tasks: self.tasks, instances: self.instances }
        } else {
            Running::Counted { tasks: self.tasks }
        };
        (running, self.history.finish())
    }

    fn task(&mut self, task: &Task<'_>) {
        self.some_read = true;
        self.started |= has_started(task);
        let ours = if self.filter.is_other_provisioners(task) {
            None
        } else {
            self.filter.worker_type(task)
        };
        if let Some(name) = ours {
            update(&mut self.tasks, name, |count| *count += 1);
            self.history.task(name, task);
        }
        // Any task keeps an instance of ours busy, but other provisioners' instances do not matter.
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
            if self.unknown_instances == MAX_UNKNOWN_INSTANCES {
                self.all_named = false;
                return;
            }
            self.unknown_instances += 1;
        }
        self.instances.insert(InstanceId::new(id), 1);
    }
}

impl TaskSink for RunningTally<'_> {
    fn accept(&mut self, element: ResponseElement<'_>) {
        self.fingerprint.add(&element);
        match element {
            ResponseElement::Task(task, _) => {
                count_unread(&task, &mut self.unread);
                self.task(&task);
            }
            element => {
                skip(&element, self.filter, &mut self.unread);
                self.all_named = false;
            }
        }
    }
}

/// Returns whether there are elements, and none of them is a task.
fn none_read(some_read: bool, skipped: &Skipped) -> bool {
    !some_read && skipped.malformed + skipped.oversized > 0
}

/// Counts the optional fields of `task` that could not be read.
fn count_unread(task: &Task<'_>, skipped: &mut Skipped) {
    for (name, value) in &task.unread {
        UnreadField::count(&mut skipped.unread_fields, name, Some(value), task.id.as_deref());
    }
}

/// Counts an element that is not a task.
fn skip(element: &ResponseElement<'_>, filter: &TaskFilter, skipped: &mut Skipped) {
    let fields = &mut skipped.malformed_fields;
    match element {
        ResponseElement::Task(..) => {}
        ResponseElement::NoWorkerType(NoWorkerType { id, found }, _) => {
            skipped.malformed += 1;
            UnreadField::count(fields, &filter.shown_pointer(), *found, id.as_deref());
        }
        ResponseElement::NoObject(text) => {
            skipped.malformed += 1;
            UnreadField::count(fields, "", Some(text), None);
        }
        ResponseElement::Oversized => skipped.oversized += 1,
    }
}

fn has_started(task: &Task<'_>) -> bool {
    task.worker_id.is_some() || task.started.is_some()
}

/// Returns whether `id` has the form `^i-[0-9A-Za-z]+$`. Other worker ids do not name EC2 instances.
fn is_instance_id(id: &str) -> bool {
    // EC2's ids have 8 or 17 digits; the bound protects the memory from a broken response.
    id.strip_prefix("i-").is_some_and(|digits| {
        (1..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}
