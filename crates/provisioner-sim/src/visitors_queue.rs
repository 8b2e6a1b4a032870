//! The queue of visitors over HTTP: what `provisionerd` reads from a queue, and a way to add tasks.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::ids::WorkerTypeName;
use serde::{Deserialize, Serialize};

use crate::queue::TaskState;
use crate::world::World;

/// The most tasks that one call may add.
const MOST_AT_ONCE: u64 = 10_000;

/// Which tasks are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Those that no worker has claimed.
    Pending,
    /// Those that run.
    Running,
}

impl Asked {
    /// Reads the query of a URL.
    pub(crate) fn read(query: &str) -> Result<Self, &'static str> {
        let mut parameters = form_urlencoded::parse(query.as_bytes());
        let state = parameters.find(|(name, _)| name == "state").map(|(_, value)| value);
        match state.as_deref() {
            Some("PENDING") => Ok(Self::Pending),
            Some("RUNNING") => Ok(Self::Running),
            _ => Err("Ask with ?state=PENDING or ?state=RUNNING.\n"),
        }
    }
}

/// A task, as queues show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ShownTask {
    task_id: String,
    worker_type: WorkerTypeName,
    created: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Timestamp>,
}

/// New tasks.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewTasks {
    worker_type: WorkerTypeName,
    #[serde(default = "one")]
    count: u64,
    /// For how long each runs.
    #[serde(default = "a_minute")]
    seconds: u64,
}

fn one() -> u64 {
    1
}

fn a_minute() -> u64 {
    60
}

/// Returns the tasks that are asked for, the oldest first.
pub(crate) fn tasks(world: &World, asked: Asked) -> Vec<ShownTask> {
    let numbered = world.visitors.tasks().iter().enumerate();
    let shown = numbered.filter_map(|(no, task)| {
        let (state, on) = match &task.state {
            TaskState::Waiting => (Asked::Pending, None),
            TaskState::Running(instance, since) => (Asked::Running, Some((instance, *since))),
            TaskState::Finished | TaskState::Withdrawn => return None,
        };
        (state == asked).then(|| ShownTask {
            task_id: format!("task-{no}"),
            worker_type: task.worker_type.clone(),
            created: task.created,
            worker_id: on.map(|(instance, _)| instance.to_string()),
            started: on.map(|(_, since)| since),
        })
    });
    shown.collect()
}

/// Adds the tasks that the body of a call describes in JSON. Returns a sentence about them, or about the problem.
pub(crate) fn add(world: &mut World, body: &str) -> Result<String, String> {
    let new: NewTasks = serde_json::from_str(body).map_err(|error| {
        format!("{error}. An example: {{\"workerType\":\"linux\",\"count\":3,\"seconds\":60}}\n")
    })?;
    let NewTasks { worker_type, count, seconds } = new;
    if count > MOST_AT_ONCE {
        return Err(format!("count is {count}; one call adds {MOST_AT_ONCE} tasks at most\n"));
    }
    world.add_visitors_tasks(&worker_type, count, Duration::from_secs(seconds));
    let pending = world.visitors.pending(&worker_type);
    Ok(format!("{count} added; {pending} of {worker_type} wait\n"))
}
