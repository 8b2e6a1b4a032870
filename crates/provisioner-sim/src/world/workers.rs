//! Workers: they boot, claim tasks, finish them, and stop when they are idle.

use std::time::Duration;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::domain::observed::InstanceState;

use super::events::Event;
use super::state_reason;
use super::{Waking, World};
use crate::queue::TaskNo;

impl World {
    /// Creates `n` tasks of `worker_type` with the same run time.
    pub fn add_tasks(&mut self, worker_type: &WorkerTypeName, n: u64, duration: Duration) {
        for _ in 0..n {
            self.queue.add(worker_type, duration, self.now);
        }
        self.claim(worker_type);
    }

    /// Withdraws all running tasks of `worker_type`.
    pub fn abandon_tasks(&mut self, worker_type: &WorkerTypeName) {
        let busy: Vec<usize> = self
            .machines
            .numbered()
            .filter(|(_, machine)| machine.worker_type.as_ref() == Some(worker_type))
            .filter(|(_, machine)| self.queue.runs(&machine.truth().id) > 0)
            .map(|(no, _)| no)
            .collect();
        for no in busy {
            let id = self.machines.at(no).truth().id.clone();
            self.queue.abandon(&id);
            self.leaves_the_free(no);
            self.machines.at_mut(no).idle_since = self.now;
            self.becomes_free(no);
            self.watch_idle(no);
        }
    }

    pub(super) fn worker_starts(&mut self, no: usize) {
        let now = self.now;
        let machine = self.machines.at_mut(no);
        if machine.truth().state == InstanceState::Running && !machine.draining {
            machine.up = true;
            machine.idle_since = now;
            self.becomes_free(no);
            self.hand_out(no);
            self.watch_idle(no);
        }
    }

    pub(super) fn task_ends(&mut self, task: TaskNo, no: usize) {
        let id = self.machines.at(no).truth().id.clone();
        if self.queue.finish(task, &id).is_some() {
            self.leaves_the_free(no);
            self.machines.at_mut(no).idle_since = self.now;
            let worker_type = self.machines.at(no).worker_type.as_ref();
            if worker_type.is_some_and(|name| self.one_shot.contains(name)) {
                return self.powers_off(no);
            }
            self.becomes_free(no);
            self.hand_out(no);
            self.watch_idle(no);
        }
    }

    /// Ends the machine of a worker that has been idle for `idle-timeout`.
    pub(super) fn worker_tires(&mut self, no: usize) {
        let machine = self.machines.at(no);
        let idle = clock::after(machine.idle_since, self.idle_timeout(no)) <= self.now;
        // A worker that may ask is told when to stop.
        if machine.up && idle && !self.may_ask(no) && self.queue.runs(&machine.truth().id) == 0 {
            self.end_machine(no, "instance-terminated-by-user", state_reason::ITSELF);
        }
    }

    fn idle_timeout(&self, no: usize) -> Duration {
        let worker_type = self.machines.at(no).worker_type.as_ref();
        worker_type
            .and_then(|name| self.settings.worker_types.get(name))
            .map_or(Duration::from_mins(15), |worker_type| worker_type.idle_timeout)
    }

    fn watch_idle(&mut self, no: usize) {
        if self.queue.runs(&self.machines.at(no).truth().id) == 0 {
            self.schedule(self.idle_timeout(no), Event::Idle(no));
            self.will_ask(no);
        }
    }

    fn slots(&self, worker_type: &WorkerTypeName) -> u64 {
        let worker_type = self.settings.worker_types.get(worker_type);
        worker_type.map_or(1, |worker_type| u64::from(worker_type.tasks_per_instance))
    }

    pub(super) fn becomes_free(&mut self, no: usize) {
        let machine = self.machines.at(no);
        if let Some(name) = &machine.worker_type
            && machine.up
            && !machine.draining
            && !machine.asker.is_leaving()
        {
            let place = (machine.idle_since, no);
            self.free_workers.entry(name.clone()).or_default().insert(place);
        }
    }

    pub(super) fn leaves_the_free(&mut self, no: usize) {
        let machine = self.machines.at(no);
        if let Some(name) = &machine.worker_type
            && let Some(free) = self.free_workers.get_mut(name)
        {
            free.remove(&(machine.idle_since, no));
        }
    }

    /// Offers waiting tasks to all workers of this machine's worker type.
    pub(super) fn hand_out(&mut self, no: usize) {
        if let Some(name) = self.machines.at(no).worker_type.clone() {
            self.claim(&name);
        }
    }

    /// Gives waiting tasks to workers that have room.
    fn claim(&mut self, worker_type: &WorkerTypeName) {
        let slots = self.slots(worker_type);
        while self.queue.pending(worker_type) > 0 {
            let Some(free) = self.free_workers.get(worker_type) else { return };
            let chosen = match self.waking {
                Waking::FirstIdle => free.first(),
                Waking::Random => {
                    let place = self.wakes.below(free.len() as u64);
                    free.iter().nth(usize::try_from(place).unwrap_or(0))
                }
            };
            let Some(&(_, no)) = chosen else { return };
            let id = self.machines.at(no).truth().id.clone();
            let Some((task, duration)) = self.queue.claim(worker_type, &id, self.now) else {
                return;
            };
            if self.queue.runs(&id) >= slots {
                self.leaves_the_free(no);
            }
            self.schedule(duration, Event::Finished(task, no));
        }
    }
}
