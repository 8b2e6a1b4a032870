//! The queue's answers, which may be late, missing or wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::demand::{Demand, Running};
use provisioner::internal::domain::ids::{InstanceId, WorkerTypeName};

use super::World;
use crate::faults::QUEUE_TIMEOUT;

/// How long a machine must be busy before the queue may leave its task out. Failed rounds pause for at most a
/// minute, so that by then the provisioner has seen that the machine is busy.
const SEEN_BUSY: Duration = Duration::from_mins(5);

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
            } else {
                self.left_out = false;
            }
        }
        (demand, slow)
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
            // One running task is missing, but never in two answers in a row, because anybody would take its
            // machine for idle then.
            2 if !self.left_out => {
                if let Running::ByInstance { instances, .. } = &mut demand.running {
                    let seen_busy = |id: &&InstanceId| {
                        let since = self.queue.busy_since(id);
                        since.is_some_and(|since| clock::after(since, SEEN_BUSY) <= self.now)
                    };
                    let busy: Vec<_> = instances.keys().filter(seen_busy).cloned().collect();
                    if let Some(id) = self.says.pick(&busy) {
                        instances.remove(id);
                        self.left_out = true;
                    }
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
