//! What the queue wants: tasks counted per worker type while they are read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{InstanceId, WorkerTypeName};

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
