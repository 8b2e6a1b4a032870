//! A load replayed through the whole engine: its tasks arrive in the world, the driver has its rounds.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::domain::clock;
use provisioner::domain::ids::WorkerTypeName;

use crate::driver::{Driver, End};
use crate::load::Task;

/// A driver whose world is given a load, for one worker type.
#[derive(Debug)]
pub struct Replay<'l> {
    /// The driver and its world.
    pub driver: Driver,
    worker_type: WorkerTypeName,
    began: Timestamp,
    tasks: &'l [Task],
    /// How many rounds there were.
    pub rounds: u64,
    /// The most instances that a round saw.
    pub peak: u64,
}

impl<'l> Replay<'l> {
    /// Begins with the world as it is. `tasks` come in order of their creation.
    pub fn new(driver: Driver, worker_type: WorkerTypeName, tasks: &'l [Task]) -> Self {
        let began = driver.world.now;
        Self { driver, worker_type, began, tasks, rounds: 0, peak: 0 }
    }

    /// Rounds until all tasks have come and gone.
    pub fn run(&mut self) {
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
        let there = self.driver.plan.worker_types.iter();
        let there = there.map(|it| it.booting + it.idle + it.busy + it.stopping).sum();
        self.peak = self.peak.max(there);
        wake
    }

    fn is_at_work(&self) -> bool {
        let queue = &self.driver.world.queue;
        queue.pending_in_all() + queue.running_in_all() > 0
    }

    /// Until `wake`, while tasks arrive.
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
