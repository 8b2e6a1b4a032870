//! Loads generated from a seed, for users who have not recorded their own yet.
//!
//! They have the shapes of real task queues: pushes that create many tasks at once, days and nights,
//! batches, crowds. The figures are round and were not measured anywhere.

use std::fmt;
use std::time::Duration;

use provisioner_sim::rng::{Lognormal, Rng};

use super::Task;

/// The name of a generated load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synthetic {
    /// Two tasks a minute, day and night.
    Steady,
    /// A CI system: pushes, most of them by day, each with a decision task and then many tasks at once.
    BurstyCi,
    /// A few tasks by day, and a batch of several hundred every night.
    NightlyBatch,
    /// A steady trickle, and twice, for a quarter of an hour, a crowd of fifty times as many tasks.
    FlashCrowd,
    /// All of the above at once.
    Mixed,
}

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
const DAYS: u32 = 4;

impl Synthetic {
    /// All loads.
    pub const ALL: [Self; 5] =
        [Self::Steady, Self::BurstyCi, Self::NightlyBatch, Self::FlashCrowd, Self::Mixed];

    /// The name without [`SYNTHETIC_PREFIX`](super::SYNTHETIC_PREFIX).
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::BurstyCi => "bursty-ci",
            Self::NightlyBatch => "nightly-batch",
            Self::FlashCrowd => "flash-crowd",
            Self::Mixed => "mixed",
        }
    }

    /// Returns the load with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    pub(super) fn tasks(self, seed: u64) -> Vec<Task> {
        let mut draft = Draft { rng: Rng::stream(seed, self.as_str()), tasks: Vec::new() };
        match self {
            Self::Steady => draft.steady(),
            Self::BurstyCi => draft.bursty_ci(),
            Self::NightlyBatch => draft.nightly_batch(),
            Self::FlashCrowd => draft.flash_crowd(),
            Self::Mixed => {
                let others = Self::ALL.into_iter().filter(|kind| *kind != Self::Mixed);
                draft.tasks = others.flat_map(|kind| kind.tasks(seed)).collect();
            }
        }
        draft.tasks
    }
}

impl fmt::Display for Synthetic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

struct Draft {
    rng: Rng,
    tasks: Vec<Task>,
}

impl Draft {
    fn add(&mut self, created: Duration, run_time: Lognormal) {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let duration = run_time.draw(&mut self.rng).min(DAY);
        self.tasks.push(Task { created: millis(created), duration: millis(duration) });
    }

    /// Adds tasks at random times from `start` for `length`, `mean` apart on average.
    fn trickle(&mut self, start: Duration, length: Duration, mean: Duration, run_time: Lognormal) {
        let mut at = start + self.rng.until_next(mean);
        while at < start + length {
            self.add(at, run_time);
            at += self.rng.until_next(mean);
        }
    }

    fn steady(&mut self) {
        let run_time = Lognormal::new(Duration::from_mins(4), Duration::from_mins(40));
        self.trickle(Duration::ZERO, DAY * DAYS, Duration::from_secs(30), run_time);
    }

    fn bursty_ci(&mut self) {
        let decision = Lognormal::new(Duration::from_mins(1), Duration::from_mins(4));
        let job = Lognormal::new(Duration::from_mins(5), Duration::from_mins(50));
        let mut at = Duration::ZERO;
        while at < DAY * DAYS {
            // There are seven times as many pushes by day.
            let is_day = (8..20).contains(&(at.as_secs() / 3600 % 24));
            at += self.rng.until_next(if is_day { HOUR / 7 } else { HOUR });
            self.add(at, decision);
            // Most pushes create a handful of tasks, and some create hundreds.
            let jobs = Lognormal::new(Duration::from_secs(15), Duration::from_mins(4));
            let jobs = jobs.draw(&mut self.rng).as_secs().min(400);
            let begin = at + self.rng.between(Duration::from_secs(40), Duration::from_secs(150));
            for _ in 0..jobs {
                let after = self.rng.between(Duration::ZERO, Duration::from_secs(90));
                self.add(begin + after, job);
            }
        }
    }

    fn nightly_batch(&mut self) {
        let small = Lognormal::new(Duration::from_mins(2), Duration::from_mins(15));
        let large = Lognormal::new(Duration::from_mins(20), Duration::from_hours(1));
        for day in 0..DAYS {
            let morning = DAY * day;
            self.trickle(morning, HOUR * 12, Duration::from_mins(10), small);
            for _ in 0..400 {
                let after = self.rng.between(Duration::ZERO, Duration::from_mins(5));
                self.add(morning + HOUR * 18 + after, large);
            }
        }
    }

    fn flash_crowd(&mut self) {
        let run_time = Lognormal::new(Duration::from_mins(3), Duration::from_mins(20));
        let mean = Duration::from_mins(2);
        self.trickle(Duration::ZERO, DAY * DAYS, mean, run_time);
        for crowd in 1..=2 {
            let start = self.rng.between(DAY * crowd, DAY * (crowd + 1));
            self.trickle(start, Duration::from_mins(15), mean / 50, run_time);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Load;
    use super::*;

    #[test]
    fn a_seed_makes_one_load_and_another_seed_another() {
        for kind in Synthetic::ALL {
            let load = Load::synthetic(kind, 1);
            assert_eq!(load, Load::synthetic(kind, 1));
            assert_ne!(load.tasks(), Load::synthetic(kind, 2).tasks());
            assert!(load.tasks().len() > 1_000, "{kind}: {}", load.tasks().len());
            assert!(load.tasks().is_sorted() && load.tasks()[0].created == 0, "{kind}");
            assert_eq!(Synthetic::by_name(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn a_ci_is_bursty_and_a_steady_load_is_not() {
        let peak = |kind| {
            let load = Load::synthetic(kind, 1);
            let mut minutes = vec![0_u32; 60 * 24 * 5];
            for task in load.tasks() {
                minutes[usize::try_from(task.created / 60_000).unwrap()] += 1;
            }
            minutes.into_iter().max().unwrap()
        };
        assert!(peak(Synthetic::Steady) < 12, "{}", peak(Synthetic::Steady));
        assert!(peak(Synthetic::BurstyCi) > 60, "{}", peak(Synthetic::BurstyCi));
    }
}
