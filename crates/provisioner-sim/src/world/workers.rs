//! Workers: they boot, claim tasks, finish them, and stop when they are idle.

use std::time::Duration;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::domain::observed::InstanceState;

use super::events::Event;
use super::state_reason;
use super::visitors::Crew;
use super::{Waking, World};
use crate::queue::TaskNo;

impl World {
    /// Creates `n` tasks of `worker_type` with the same run time.
    pub fn add_tasks(&mut self, worker_type: &WorkerTypeName, n: u64, duration: Duration) {
        self.add_tasks_of(&Crew { visits: false, worker_type: worker_type.clone() }, n, duration);
    }

    pub(super) fn add_tasks_of(&mut self, crew: &Crew, n: u64, duration: Duration) {
        let now = self.now;
        for _ in 0..n {
            self.queue_mut(crew.visits).add(&crew.worker_type, duration, now);
        }
        self.claim(crew);
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
        let Some(crew) = self.crew(no) else { return };
        if self.queue_mut(crew.visits).finish(task, &id).is_some() {
            self.leaves_the_free(no);
            self.machines.at_mut(no).idle_since = self.now;
            if self.one_shot.contains(&crew.worker_type) {
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
        if machine.up && idle && !self.may_ask(no) && self.tasks_on(no) == 0 {
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
        if self.tasks_on(no) == 0 {
            self.schedule(self.idle_timeout(no), Event::Idle(no));
            self.will_ask(no);
        }
    }

    /// Returns how many tasks an instance takes at a time. The configuration of visitors is not known.
    fn slots(&self, crew: &Crew) -> u64 {
        let configured = self.settings.worker_types.get(&crew.worker_type);
        let slots = configured.map(|worker_type| u64::from(worker_type.tasks_per_instance));
        slots.filter(|_| !crew.visits).unwrap_or(1)
    }

    pub(super) fn becomes_free(&mut self, no: usize) {
        let machine = self.machines.at(no);
        if let Some(crew) = self.crew(no)
            && machine.up
            && !machine.draining
            && !machine.asker.is_leaving()
        {
            let place = (machine.idle_since, no);
            self.free_workers.entry(crew).or_default().insert(place);
        }
    }

    pub(super) fn leaves_the_free(&mut self, no: usize) {
        let idle_since = self.machines.at(no).idle_since;
        if let Some(crew) = self.crew(no)
            && let Some(free) = self.free_workers.get_mut(&crew)
        {
            free.remove(&(idle_since, no));
        }
    }

    /// Offers waiting tasks to all workers of this machine's worker type.
    pub(super) fn hand_out(&mut self, no: usize) {
        if let Some(crew) = self.crew(no) {
            self.claim(&crew);
        }
    }

    /// Gives waiting tasks to workers that have room.
    fn claim(&mut self, crew: &Crew) {
        let slots = self.slots(crew);
        while self.queue_mut(crew.visits).pending(&crew.worker_type) > 0 {
            let Some(free) = self.free_workers.get(crew) else { return };
            let chosen = match self.waking {
                Waking::FirstIdle => free.first(),
                Waking::Random => {
                    let place = self.wakes.below(free.len() as u64);
                    free.iter().nth(usize::try_from(place).unwrap_or(0))
                }
            };
            let Some(&(_, no)) = chosen else { return };
            let id = self.machines.at(no).truth().id.clone();
            let now = self.now;
            let queue = self.queue_mut(crew.visits);
            let Some((task, duration)) = queue.claim(&crew.worker_type, &id, now) else {
                return;
            };
            if queue.runs(&id) >= slots {
                self.leaves_the_free(no);
            }
            self.schedule(duration, Event::Finished(task, no));
        }
    }
}
