//! Visitors: the programs of a user to whom the world is served, with key-names and a queue of their own.
//!
//! Their instances share pools, quotas and throttling with ours. Their workers take tasks from the visitors'
//! queue, so that neither side takes the other's tasks where worker types have the same name.

use std::time::Duration;

use provisioner::internal::domain::ids::WorkerTypeName;

use super::World;
use crate::deployment::key;
use crate::queue::Queue;

/// The workers that share the tasks of a worker type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Crew {
    /// Whether they are the visitors'.
    pub(super) visits: bool,
    pub(super) worker_type: WorkerTypeName,
}

impl World {
    /// Creates `n` tasks of a worker type in the visitors' queue, with the same run time.
    pub fn add_visitors_tasks(&mut self, worker_type: &WorkerTypeName, n: u64, duration: Duration) {
        self.add_tasks_of(&Crew { visits: true, worker_type: worker_type.clone() }, n, duration);
    }

    /// Returns the workers among which this instance's worker is, if it has a worker type.
    pub(super) fn crew(&self, no: usize) -> Option<Crew> {
        let worker_type = self.machines.at(no).worker_type.clone()?;
        Some(Crew { visits: self.visits(no), worker_type })
    }

    fn visits(&self, no: usize) -> bool {
        self.machines.at(no).key != key()
    }

    /// Returns the queue from which the worker on this instance takes tasks.
    pub(super) fn queue_of(&self, no: usize) -> &Queue {
        if self.visits(no) { &self.visitors } else { &self.queue }
    }

    /// Returns the queue of ours, or of the visitors.
    pub(super) fn queue_mut(&mut self, visits: bool) -> &mut Queue {
        if visits { &mut self.visitors } else { &mut self.queue }
    }

    /// Counts the tasks that run on an instance.
    pub(super) fn tasks_on(&self, no: usize) -> u64 {
        self.queue_of(no).runs(&self.machines.at(no).truth().id)
    }

    /// Lets the tasks of an instance that is gone wait again.
    pub(super) fn requeue(&mut self, no: usize) {
        let id = self.machines.at(no).truth().id.clone();
        let visits = self.visits(no);
        self.queue_mut(visits).requeue(&id);
    }
}
