//! Replays a load through the whole engine: its tasks arrive in the world while the driver runs rounds.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;
use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner::internal::engine::WorkerTypeStatus;

use provisioner_sim::driver::{Driver, End};
use provisioner_simulate::load::Task;

/// A driver whose world receives a load for one worker type.
pub(super) struct Replay<'l> {
    /// The driver and its world.
    pub(super) driver: Driver,
    worker_type: WorkerTypeName,
    began: Timestamp,
    tasks: &'l [Task],
    /// The number of rounds so far.
    pub(super) rounds: u64,
    /// The most instances in any plan.
    pub(super) peak: u64,
}

impl<'l> Replay<'l> {
    /// Begins with the world as it is. `tasks` are in order of their creation.
    pub(super) fn new(driver: Driver, worker_type: WorkerTypeName, tasks: &'l [Task]) -> Self {
        let began = driver.world.now;
        Self { driver, worker_type, began, tasks, rounds: 0, peak: 0 }
    }

    /// Runs rounds until all tasks have arrived and ended.
    pub(super) fn run(&mut self) {
        while !self.tasks.is_empty() || self.is_at_work() {
            let wake = self.round();
            self.wait(wake);
        }
    }

    fn round(&mut self) -> Timestamp {
        self.rounds += 1;
        let wake = match self.driver.round() {
            End::Round(report) => report.wake,
            End::Blind(wake) => wake,
            End::Crashed => self.driver.clock(),
        };
        let instances = |status: &WorkerTypeStatus| {
            status.booting + status.idle + status.busy + status.stopping
        };
        let there = self.driver.plan.worker_types.iter().map(instances).sum();
        self.peak = self.peak.max(there);
        wake
    }

    fn is_at_work(&self) -> bool {
        let queue = &self.driver.world.queue;
        queue.pending_in_all() + queue.running_in_all() > 0
    }

    /// Waits until `wake`, while tasks arrive.
    fn wait(&mut self, wake: Timestamp) {
        while let Some((next, rest)) = self.tasks.split_first() {
            let at = clock::after(self.began, Duration::from_millis(next.created));
            if at > wake {
                break;
            }
            self.driver.world.advance(at);
            let duration = Duration::from_millis(next.duration);
            self.driver.world.add_tasks(&self.worker_type, 1, duration);
            self.tasks = rest;
        }
        self.driver.wait(wake);
    }
}
