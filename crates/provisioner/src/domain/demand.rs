//! The demand: what tasks the queue has, counted per worker type.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{InstanceId, WorkerTypeName};
use crate::domain::shown::{beginning, shown};

/// The demand of one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Demand {
    /// Pending tasks per configured worker type. A type that is absent has no pending tasks.
    pub pending: BTreeMap<WorkerTypeName, PendingTasks>,
    /// What is known of running tasks.
    pub running: Running,
    /// What was skipped, and why.
    #[serde(default)]
    pub skipped: Skipped,
    /// How long the tasks waited that were started since the last observation, per configured worker type.
    ///
    /// This is for metrics only: no decision depends on it, and snapshots do not contain it.
    #[serde(skip)]
    pub waits: BTreeMap<WorkerTypeName, TaskWaits>,
    /// The tasks that ended since the last observation, per configured worker type, as far as the queue
    /// reveals it.
    ///
    /// This is for the recorded load only: no decision depends on it, and snapshots do not contain it.
    #[serde(skip)]
    pub finished: BTreeMap<WorkerTypeName, Vec<FinishedTask>>,
}

/// A task that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedTask {
    /// A hash of the queue's identifier for the task.
    pub task: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it was started, for the last time if it was started repeatedly.
    pub started: Timestamp,
    /// How long it ran since then.
    pub run_time: Duration,
}

/// Pending tasks of one worker type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PendingTasks {
    /// The number of tasks.
    pub count: u64,
    /// When the oldest was created, if the queue reports it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// How much is known about running tasks. The level decides which machines may be terminated.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "knowledge")]
pub enum Running {
    /// The queue does not report running tasks.
    #[default]
    Unknown,
    /// Counts per worker type. The machine is not known for every task.
    Counted {
        /// Running tasks per configured worker type.
        tasks: BTreeMap<WorkerTypeName, u64>,
    },
    /// Every running task names the EC2 instance it runs on.
    ByInstance {
        /// Running tasks per configured worker type.
        tasks: BTreeMap<WorkerTypeName, u64>,
        /// Running tasks per instance. An instance that is absent runs no task.
        instances: BTreeMap<InstanceId, u32>,
    },
}

impl Running {
    /// Returns the number of running tasks of `worker_type`, if it is known.
    pub fn tasks(&self, worker_type: &WorkerTypeName) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Counted { tasks } | Self::ByInstance { tasks, .. } => {
                Some(tasks.get(worker_type).copied().unwrap_or(0))
            }
        }
    }
}

/// What was read but does not count as demand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Skipped {
    /// Elements of the wrong type or without a worker type.
    pub malformed: u64,
    /// The same elements, by the field that makes them unusable; its name is empty for elements that are
    /// no objects.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub malformed_fields: BTreeMap<String, UnreadField>,
    /// Optional fields that could not be read. Their tasks count as if they had no such field.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unread_fields: BTreeMap<String, UnreadField>,
    /// Elements over 1 MiB.
    pub oversized: u64,
    /// Tasks of another `provisionerId`.
    pub other_provisioner: u64,
    /// Pending tasks of worker types that are not configured, for up to [`Skipped::MAX_NAMES`] names.
    pub unknown_worker_types: BTreeMap<String, u64>,
    /// Pending tasks of further unknown worker types.
    pub unknown_rest: u64,
    /// Whether the queue ignores `state`: it answered RUNNING with the same tasks as PENDING.
    pub running_ignored: bool,
}

impl Skipped {
    /// How many unknown worker types are kept by name.
    pub const MAX_NAMES: usize = 100;

    /// Adds the elements and fields that could not be read in another answer of the same queue.
    pub(crate) fn add_unread(&mut self, other: Self) {
        self.malformed += other.malformed;
        self.oversized += other.oversized;
        for (mine, theirs) in [
            (&mut self.malformed_fields, other.malformed_fields),
            (&mut self.unread_fields, other.unread_fields),
        ] {
            for (name, field) in theirs {
                match mine.get_mut(&name) {
                    Some(known) => known.count += field.count,
                    None => {
                        mine.insert(name, field);
                    }
                }
            }
        }
    }
}

/// A field of tasks that could not be read, with one example.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UnreadField {
    /// In how many tasks.
    pub count: u64,
    /// The beginning of one value, as the queue wrote it; `None` if the field was missing.
    pub value: Option<String>,
    /// The identifier of the task with that value, if it has one.
    pub task: Option<String>,
}

impl UnreadField {
    /// The characters kept of a value and of a task's identifier.
    const LONGEST: usize = 60;

    /// Counts one more value in `fields`, and keeps the first as the example.
    pub(crate) fn count(
        fields: &mut BTreeMap<String, Self>,
        name: &str,
        value: Option<&str>,
        task: Option<&str>,
    ) {
        if let Some(known) = fields.get_mut(name) {
            known.count += 1;
            return;
        }
        let kept = |text: &str| beginning(text, Self::LONGEST);
        let field = Self { count: 1, value: value.map(kept), task: task.map(kept) };
        fields.insert(name.to_owned(), field);
    }
}

impl fmt::Display for UnreadField {
    /// Writes the value and its task, as in "`\"lowest\"` in task `abc`, for example".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "`{}`", shown(value))?,
            None => f.write_str("missing")?,
        }
        if let Some(task) = &self.task {
            write!(f, " in task `{}`", shown(task))?;
        }
        f.write_str(", for example")
    }
}

/// A histogram of how long tasks waited from their creation to their start. Its size does not depend on
/// the number of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskWaits {
    counts: [u64; TaskWaits::BOUNDS.len() + 1],
    total: Duration,
}

impl TaskWaits {
    /// The longest wait of each class; a last class takes all longer ones. They range from a task that
    /// found an idle machine, over the minutes that EC2 and booting take, to a backlog of two hours.
    pub const BOUNDS: [Duration; 13] = [
        Duration::from_secs(1),
        Duration::from_secs(5),
        Duration::from_secs(15),
        Duration::from_secs(30),
        Duration::from_mins(1),
        Duration::from_mins(2),
        Duration::from_mins(3),
        Duration::from_mins(5),
        Duration::from_mins(10),
        Duration::from_mins(20),
        Duration::from_mins(30),
        Duration::from_hours(1),
        Duration::from_hours(2),
    ];

    /// Counts one task.
    pub fn record(&mut self, wait: Duration) {
        let class = Self::BOUNDS.partition_point(|bound| *bound < wait);
        self.counts[class] += 1;
        self.total = self.total.saturating_add(wait);
    }

    /// Counts all tasks of `other` as well.
    pub fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(other.counts) {
            *count += more;
        }
        self.total = self.total.saturating_add(other.total);
    }

    /// Returns the number of tasks per class: one class more than there are [`Self::BOUNDS`].
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Returns the sum of all waits.
    pub fn total(&self) -> Duration {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_counts_up_to_its_bound_and_the_longest_at_the_end() {
        let mut waits = TaskWaits::default();
        for seconds in [0, 1, 2, 60, 61, 100_000] {
            waits.record(Duration::from_secs(seconds));
        }
        let mut twice = waits.clone();
        twice.add(&waits);
        assert_eq!(waits.counts(), [2, 1, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(twice.counts().iter().sum::<u64>(), 12);
        assert_eq!(twice.total(), Duration::from_secs(2 * 100_124));
    }
}
