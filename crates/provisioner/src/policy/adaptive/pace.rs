//! The interval between rounds, and the number of launches per task.

use serde::{Deserialize, Serialize};

use super::{number, seconds};

/// The pace of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::policy) struct Pace {
    /// The time of the last round, in milliseconds.
    #[serde(rename = "looked")]
    observed_at: Option<i64>,
    /// Seconds between rounds, on average.
    interval: f64,
    demand: u64,
    /// Rises of the demand and launches, which both fade. There were at least as many new tasks as rises.
    rises: f64,
    launches: f64,
}

/// The half-life of rises and launches, in seconds.
const HALF_LIFE: f64 = 3600.0;
/// With fewer launches nothing is concluded.
const FEW_LAUNCHES: f64 = 20.0;
/// The longest interval that counts, in seconds; beyond it the daemon was off.
const LONGEST_INTERVAL: f64 = 60.0;

impl Pace {
    /// Records a round, and returns the average number of seconds between rounds.
    pub(in crate::policy) fn observe(&mut self, now: i64, demand: u64) -> f64 {
        let passed = self.observed_at.map(|at| seconds(now - at).clamp(0.0, LONGEST_INTERVAL));
        if let Some(passed) = passed {
            let first = self.interval == 0.0;
            self.interval += if first { passed } else { 0.1 * (passed - self.interval) };
            let fade = 0.5_f64.powf(passed / HALF_LIFE);
            self.rises *= fade;
            self.launches *= fade;
        }
        self.rises += number(demand.saturating_sub(self.demand));
        self.demand = demand;
        self.observed_at = Some(now);
        self.interval
    }

    /// Records an instance that came up.
    pub(in crate::policy) fn record_launch(&mut self) {
        self.launches += 1.0;
    }

    /// Returns the recent launches per new task, or zero while there are too few launches.
    pub(in crate::policy) fn launches_per_task(&self) -> f64 {
        if self.launches < FEW_LAUNCHES { 0.0 } else { self.launches / self.rises.max(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_held_against_new_tasks_and_forgotten() {
        let mut pace = Pace::default();
        for n in 0..30 {
            pace.observe(n * 10_000, 10 * u64::from(n % 2 == 0));
            pace.record_launch();
        }
        let per_task = pace.launches_per_task();
        assert!((0.19..0.22).contains(&per_task), "{per_task}");
        for _ in 0..1000 {
            pace.record_launch();
        }
        assert!(pace.launches_per_task() > 5.0);
        for n in 0..3600 {
            pace.observe(300_000 + n * 10_000, 0);
        }
        assert!(pace.launches_per_task() < 1e-9, "ten hours later");
    }

    #[test]
    fn the_interval_is_that_of_the_rounds() {
        let mut pace = Pace::default();
        let times = [0, 10_000, 20_000, 30_000, 7_000_000, 6_000_000];
        let intervals = times.map(|at| pace.observe(at, 0));
        assert_eq!(intervals[..4], [0.0, 10.0, 10.0, 10.0]);
        assert!(intervals[4] < 16.0 && intervals[5] > 0.0, "{intervals:?}");
    }
}
