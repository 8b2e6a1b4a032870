//! What the queue answers: late, never or wrongly at times.

use std::collections::BTreeMap;
use std::time::Duration;

use provisioner::domain::clock;
use provisioner::domain::demand::{Demand, Running};
use provisioner::domain::ids::{InstanceId, WorkerTypeName};

use super::World;
use crate::faults::QUEUE_TIMEOUT;

/// Rounds that fail pause for a minute at most: after this long anybody has seen that a machine is busy.
const SEEN_BUSY: Duration = Duration::from_mins(5);

impl World {
    /// What the queue says, and how long it takes. Tasks of types not `configured` are only known by machine.
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
            // It has lost its tasks, for now.
            0 => demand.pending.clear(),
            // What was claimed a moment ago is still listed as waiting.
            1 => {
                for (name, pending) in &mut demand.pending {
                    pending.count += demand.running.tasks(name).unwrap_or(1);
                }
            }
            // One task is in neither list. Twice running, a machine would look idle to anybody: so it would
            // just after it was.
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
            // A version of it without `workerId` answers.
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
