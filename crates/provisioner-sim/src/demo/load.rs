//! A working day of CI: pushes that each create a handful of builds and many tests.

use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::clock;

use crate::deployment::{mins, secs};
use crate::rng::{Lognormal, Rng};

/// Pushes per hour, by the hour of the day: people work by day, robots all the time.
const PUSHES_PER_HOUR: [f64; 24] = [
    2.0, 2.0, 4.0, 2.0, 2.0, 2.0, 3.0, 6.0, 12.0, 18.0, 20.0, 18.0, 10.0, 16.0, 20.0, 20.0, 18.0,
    14.0, 8.0, 5.0, 4.0, 3.0, 3.0, 2.0,
];

/// The hour of the day in which a demonstration begins.
const FIRST_HOUR: u64 = 8;

/// The tasks of a push: worker type, minimum and maximum number, and run times.
struct Part {
    worker_type: &'static str,
    least: u64,
    most: u64,
    median: Duration,
    p99: Duration,
}

const PARTS: [Part; 3] = [
    Part { worker_type: "linux", least: 3, most: 14, median: mins_const(3), p99: mins_const(20) },
    Part {
        worker_type: "linux-large",
        least: 0,
        most: 3,
        median: mins_const(9),
        p99: mins_const(40),
    },
    Part { worker_type: "gpu", least: 0, most: 1, median: mins_const(6), p99: mins_const(20) },
];

const fn mins_const(n: u64) -> Duration {
    Duration::from_secs(n * 60)
}

/// The future tasks.
#[derive(Debug)]
pub(super) struct Load {
    pushes: Rng,
    sizes: Rng,
    run_times: Rng,
    begins: Timestamp,
    next: Timestamp,
    /// The size of the next push, as a multiple of the usual size.
    times: u64,
}

impl Load {
    pub(super) fn new(seed: u64, begins: Timestamp) -> Self {
        Self {
            pushes: Rng::stream(seed, "demo: pushes"),
            sizes: Rng::stream(seed, "demo: sizes"),
            run_times: Rng::stream(seed, "demo: run times"),
            begins,
            next: begins,
            times: 1,
        }
    }

    /// Returns the time of the next push.
    pub(super) fn next_at(&self) -> Timestamp {
        self.next
    }

    /// Makes the next push so many times as large, and moves it to `at`.
    pub(super) fn surge(&mut self, at: Timestamp, times: u64) {
        self.next = self.next.min(at);
        self.times = times;
    }

    /// Returns the tasks of the present push.
    pub(super) fn take(&mut self) -> Vec<(&'static str, u64, Duration)> {
        let mut tasks = Vec::new();
        for part in &PARTS {
            let n = part.least + self.sizes.below(part.most - part.least + 1);
            let run_time = Lognormal::new(part.median, part.p99);
            for _ in 0..n * self.times {
                let run_time = run_time.draw(&mut self.run_times).clamp(secs(10), mins(90));
                tasks.push((part.worker_type, 1, run_time));
            }
        }
        self.times = 1;
        let hour = FIRST_HOUR + clock::age(self.begins, self.next).as_secs() / 3600;
        let per_hour = PUSHES_PER_HOUR[usize::try_from(hour % 24).unwrap_or(0)];
        let mean = Duration::from_hours(1).div_f64(per_hour);
        self.next = clock::after(self.next, self.pushes.until_next(mean).max(secs(1)));
        tasks
    }
}
