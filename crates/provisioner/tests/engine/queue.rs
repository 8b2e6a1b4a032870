//! The queue's side of the world: tasks wait, are claimed by workers, run and finish.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::demand::{Demand, PendingTasks, Running};
use provisioner::ids::{InstanceId, WorkerTypeName};

/// How much the queue tells of running tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    Unknown,
    Counted,
    ByInstance,
}

#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) worker_type: WorkerTypeName,
    pub(crate) created: Timestamp,
    pub(crate) duration: Duration,
    pub(crate) on: Option<InstanceId>,
}

#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) tasks: BTreeMap<u64, Task>,
    pub(crate) knowledge: Knowledge,
    pub(crate) down: bool,
    next: u64,
}

impl Queue {
    pub(crate) fn new(knowledge: Knowledge) -> Self {
        Self { tasks: BTreeMap::new(), knowledge, down: false, next: 0 }
    }

    pub(crate) fn add(&mut self, worker_type: &WorkerTypeName, duration: Duration, now: Timestamp) {
        self.next += 1;
        let task = Task { worker_type: worker_type.clone(), created: now, duration, on: None };
        self.tasks.insert(self.next, task);
    }

    pub(crate) fn pending(&self, worker_type: &WorkerTypeName) -> u64 {
        let waits = |task: &&Task| task.on.is_none() && task.worker_type == *worker_type;
        self.tasks.values().filter(waits).count() as u64
    }

    /// The oldest pending task.
    pub(crate) fn oldest(&self, worker_type: &WorkerTypeName) -> Option<u64> {
        let waits =
            |(_, task): &(&u64, &Task)| task.on.is_none() && task.worker_type == *worker_type;
        self.tasks.iter().find(waits).map(|(id, _)| *id)
    }

    /// Takes pending tasks away, as a user who cancels a build does.
    pub(crate) fn withdraw(&mut self, worker_type: &WorkerTypeName, keep: u64) {
        while self.pending(worker_type) > keep {
            let last = self
                .tasks
                .iter()
                .rev()
                .find(|(_, task)| task.on.is_none() && task.worker_type == *worker_type);
            let id = last.map(|(id, _)| *id).unwrap();
            self.tasks.remove(&id);
        }
    }

    /// Its machine is gone: the tasks wait again.
    pub(crate) fn requeue(&mut self, instance: &InstanceId) {
        for task in self.tasks.values_mut() {
            if task.on.as_ref() == Some(instance) {
                task.on = None;
            }
        }
    }

    pub(crate) fn runs(&self, instance: &InstanceId) -> u64 {
        self.tasks.values().filter(|task| task.on.as_ref() == Some(instance)).count() as u64
    }

    /// What the queue's two answers come to. Tasks of types not `configured` are only known by machine.
    pub(crate) fn demand(
        &self,
        configured: impl Fn(&WorkerTypeName) -> bool,
    ) -> Result<Demand, String> {
        if self.down {
            return Err("connection refused".to_owned());
        }
        let mut demand = Demand::default();
        let mut tasks: BTreeMap<WorkerTypeName, u64> = BTreeMap::new();
        let mut instances: BTreeMap<InstanceId, u32> = BTreeMap::new();
        for task in self.tasks.values() {
            let known = configured(&task.worker_type);
            match &task.on {
                None if known => {
                    let entry = demand
                        .pending
                        .entry(task.worker_type.clone())
                        .or_insert(PendingTasks { count: 0, oldest: Some(task.created) });
                    entry.count += 1;
                }
                None => {}
                Some(instance) => {
                    if known {
                        *tasks.entry(task.worker_type.clone()).or_default() += 1;
                    }
                    *instances.entry(instance.clone()).or_default() += 1;
                }
            }
        }
        demand.running = match self.knowledge {
            Knowledge::Unknown => Running::Unknown,
            Knowledge::Counted => Running::Counted { tasks },
            Knowledge::ByInstance => Running::ByInstance { tasks, instances },
        };
        Ok(demand)
    }
}
