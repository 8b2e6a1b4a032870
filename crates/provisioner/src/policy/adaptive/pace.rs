//! How often rounds come, and how many instances are launched per task.

use serde::{Deserialize, Serialize};

/// The pace of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::policy) struct Pace {
    looked: Option<i64>,
    /// Seconds between looks, on average.
    interval: f64,
    demand: u64,
    /// Rises of the demand, and launches, faded with time: what tasks there were at least.
    rises: f64,
    launches: f64,
}

/// Until half of it is faded, in seconds.
const FADES: f64 = 3600.0;
/// Too few to judge by.
const FEW: f64 = 20.0;
/// Rounds are not taken to be further apart: then the daemon was off.
const LONGEST: f64 = 60.0;

impl Pace {
    /// Takes in a look, and returns how many seconds lie between looks.
    pub(in crate::policy) fn look(&mut self, now: i64, demand: u64) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most a minute in milliseconds, cut")]
        let passed = self.looked.map(|at| ((now - at) as f64 / 1e3).clamp(0.0, LONGEST));
        if let Some(passed) = passed {
            let first = self.interval == 0.0;
            self.interval += if first { passed } else { 0.1 * (passed - self.interval) };
            let fade = 0.5_f64.powf(passed / FADES);
            self.rises *= fade;
            self.launches *= fade;
        }
        #[expect(clippy::cast_precision_loss, reason = "numbers of instances")]
        let rise = demand.saturating_sub(self.demand) as f64;
        self.rises += rise;
        self.demand = demand;
        self.looked = Some(now);
        self.interval
    }

    /// Takes in an instance that came up.
    pub(in crate::policy) fn launched(&mut self) {
        self.launches += 1.0;
    }

    /// Launches per new task, of late; zero while there are too few to tell.
    pub(in crate::policy) fn launches_per_task(&self) -> f64 {
        if self.launches < FEW { 0.0 } else { self.launches / self.rises.max(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn launches_are_held_against_new_tasks_and_forgotten() {
        let mut pace = Pace::default();
        for n in 0..30 {
            pace.look(n * 10_000, 10 * u64::from(n % 2 == 0));
            pace.launched();
        }
        let per_task = pace.launches_per_task();
        assert!((0.19..0.22).contains(&per_task), "{per_task}");
        for _ in 0..1000 {
            pace.launched();
        }
        assert!(pace.launches_per_task() > 5.0);
        for n in 0..3600 {
            pace.look(300_000 + n * 10_000, 0);
        }
        assert!(pace.launches_per_task() < 1e-9, "ten hours later");
    }

    #[test]
    fn the_interval_is_that_of_the_rounds() {
        let mut pace = Pace::default();
        let looks = [0, 10_000, 20_000, 30_000, 7_000_000, 6_000_000];
        let intervals = looks.map(|at| pace.look(at, 0));
        assert_eq!(intervals[..4], [0.0, 10.0, 10.0, 10.0]);
        assert!(intervals[4] < 16.0 && intervals[5] > 0.0, "{intervals:?}");
    }
}
