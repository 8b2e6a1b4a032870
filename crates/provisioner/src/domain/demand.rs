//! What the queue wants: tasks counted per worker type while they are read.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::ids::{InstanceId, WorkerTypeName};

/// The demand of one round.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Demand {
    /// Pending tasks per configured worker type. Absent means none.
    pub pending: BTreeMap<WorkerTypeName, PendingTasks>,
    /// What is known of running tasks.
    pub running: Running,
    /// What was skipped, and why.
    #[serde(default)]
    pub skipped: Skipped,
    /// How long the tasks had waited that were started since the last look, per configured worker type.
    ///
    /// For measuring only: no decision depends on it, and snapshots do not hold it.
    #[serde(skip)]
    pub waits: BTreeMap<WorkerTypeName, TaskWaits>,
    /// The tasks that ended since the last look, per configured worker type, as far as it can be seen.
    ///
    /// For the recorded load only: no decision depends on it, and snapshots do not hold it.
    #[serde(skip)]
    pub finished: BTreeMap<WorkerTypeName, Vec<FinishedTask>>,
}

/// A task that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinishedTask {
    /// What tells it from others: a hash of what the queue calls it.
    pub task: u64,
    /// When it was created.
    pub created: Timestamp,
    /// When it was started; the last time, if several.
    pub started: Timestamp,
    /// How long it ran from then.
    pub run_time: Duration,
}

/// Pending tasks of one worker type.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct PendingTasks {
    /// How many.
    pub count: u64,
    /// When the oldest was created, where the queue says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<Timestamp>,
}

/// How much is known of running tasks: the three levels decide what may be ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "knowledge")]
pub enum Running {
    /// The queue does not tell.
    #[default]
    Unknown,
    /// Counts per worker type; on which machine is not known for every task.
    Counted {
        /// Running tasks per configured worker type.
        tasks: BTreeMap<WorkerTypeName, u64>,
    },
    /// Every running task names the EC2 instance it runs on.
    ByInstance {
        /// Running tasks per configured worker type.
        tasks: BTreeMap<WorkerTypeName, u64>,
        /// Running tasks per instance. An instance that is not in here runs none.
        instances: BTreeMap<InstanceId, u32>,
    },
}

impl Running {
    /// Running tasks of `worker_type`, as far as known.
    pub fn tasks(&self, worker_type: &WorkerTypeName) -> Option<u64> {
        match self {
            Self::Unknown => None,
            Self::Counted { tasks } | Self::ByInstance { tasks, .. } => {
                Some(tasks.get(worker_type).copied().unwrap_or(0))
            }
        }
    }
}

/// What was read and not counted as demand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Skipped {
    /// Elements of a wrong type or without a worker type.
    pub malformed: u64,
    /// Elements over 1 MiB.
    pub oversized: u64,
    /// Tasks of another `provisionerId`.
    pub other_provisioner: u64,
    /// Pending tasks per worker type that is not configured, up to [`Skipped::MAX_NAMES`] names.
    pub unknown_worker_types: BTreeMap<String, u64>,
    /// Pending tasks of further unknown worker types.
    pub unknown_rest: u64,
    /// The queue answered RUNNING with the same tasks as PENDING, so it ignores `state`.
    pub running_ignored: bool,
}

impl Skipped {
    /// How many unknown worker types are kept by name.
    pub const MAX_NAMES: usize = 100;
}

/// How long tasks waited, from being created to being started: counts by length, of a fixed size however
/// many tasks there were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskWaits {
    counts: [u64; TaskWaits::BOUNDS.len() + 1],
    total: Duration,
}

impl TaskWaits {
    /// The longest wait that counts in each class; the last class takes the rest. From a task that found
    /// an idle machine, over the minutes that EC2 and booting take, to a backlog of two hours.
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

    /// Tasks per class: one more than there are [`Self::BOUNDS`].
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The sum of all waits.
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
