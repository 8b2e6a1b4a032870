//! The queue's answers, which may be late, missing or wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::demand::{Demand, Running};
use provisioner::internal::domain::ids::{InstanceId, WorkerTypeName};

use super::World;
use crate::faults::QUEUE_TIMEOUT;

/// How long a machine must be busy before the queue may leave its task out. Failed rounds pause for at most a
/// minute, so that by then the provisioner has seen that the machine is busy.
const SEEN_BUSY: Duration = Duration::from_mins(5);

/// The longest time for which running tasks are missing from the queue's answers. A machine counts as idle
/// after a minute, half of which a clock that is set ahead may make up.
const LONGEST_LEFT_OUT: Duration = Duration::from_secs(25);

/// Running tasks that the queue leaves out of its answers for a while.
#[derive(Clone, Debug, Default)]
pub(super) struct LeftOut {
    /// The machines that they run on.
    instances: Vec<InstanceId>,
    /// Until when.
    until: Option<Timestamp>,
}

impl World {
    /// Returns the queue's answer, and how long it takes. Tasks of worker types that are not `configured` only
    /// make their machines known as busy.
    pub fn demand(
        &mut self,
        configured: impl Fn(&WorkerTypeName) -> bool,
    ) -> (Result<Demand, String>, Duration) {
        self.queue_answered = false;
        self.queue_read = self.now;
        let slow = self.says.between(Duration::ZERO, self.faults.queue_slow);
        if slow >= QUEUE_TIMEOUT {
            return (Err("it took too long".to_owned()), QUEUE_TIMEOUT);
        }
        let mut demand = self.queue.demand(configured);
        if let Ok(demand) = &mut demand {
            self.queue_answered = true;
            if self.says.percent(self.faults.queue_wrong) {
                self.falsify(demand);
            }
            self.take_out(demand);
        }
        (demand, slow)
    }

    /// Lets the queue's answers leave out what runs on `instances` for so long.
    pub fn leave_out(&mut self, instances: Vec<InstanceId>, spell: Duration) {
        self.left_out = LeftOut { instances, until: Some(clock::after(self.now, spell)) };
    }

    /// Takes out the running tasks that are missing for a while.
    fn take_out(&self, demand: &mut Demand) {
        let LeftOut { instances: missing, until } = &self.left_out;
        if let Running::ByInstance { instances, .. } = &mut demand.running
            && until.is_some_and(|until| self.now <= until)
        {
            instances.retain(|id, _| !missing.contains(id));
        }
    }

    fn falsify(&mut self, demand: &mut Demand) {
        match self.says.below(6) {
            // The queue has temporarily lost its tasks.
            0 => demand.pending.clear(),
            // A task that was claimed a moment ago is still listed as waiting.
            1 => {
                for (name, pending) in &mut demand.pending {
                    pending.count += demand.running.tasks(name).unwrap_or(1);
                }
            }
            // One running task, or each, is missing for a while, but never for so long that anybody would
            // take its machine for idle.
            2 if self
                .left_out
                .until
                .is_none_or(|until| clock::after(until, SEEN_BUSY) <= self.now) =>
            {
                if let Running::ByInstance { instances, .. } = &demand.running {
                    let seen_busy = |id: &&InstanceId| {
                        let since = self.queue.busy_since(id);
                        since.is_some_and(|since| clock::after(since, SEEN_BUSY) <= self.now)
                    };
                    let busy: Vec<_> = instances.keys().filter(seen_busy).cloned().collect();
                    let all = self.says.percent(50);
                    let Some(one) = self.says.pick(&busy).cloned() else { return };
                    let spell = self.says.between(Duration::ZERO, LONGEST_LEFT_OUT);
                    self.leave_out(if all { busy } else { vec![one] }, spell);
                }
            }
            // A version of the queue without `workerId` answers.
            3 => {
                if let Running::ByInstance { tasks, .. } = &mut demand.running {
                    demand.running = Running::Counted { tasks: std::mem::take(tasks) };
                }
            }
            4 => demand.running = Running::Unknown,
            _ => {
                demand.skipped.malformed = 1 + self.says.below(5);
                demand.skipped.unknown_worker_types = BTreeMap::from([("nobodys".to_owned(), 3)]);
            }
        }
    }
}
