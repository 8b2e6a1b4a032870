//! The estimator of Taskcluster's worker-manager, to the letter: the strongest of the simple policies.

use super::{CapacityTarget, Situation, Why};

/// The settings of worker-manager.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct WorkerManager {
    /// Instances per waiting task.
    pub ratio: f64,
    /// Whether requested workers count as existing ones as well, as in the deployed code of worker-manager;
    /// booting instances are then credited twice.
    pub as_deployed: bool,
}

impl Default for WorkerManager {
    fn default() -> Self {
        Self { ratio: 1.0, as_deployed: false }
    }
}

/// The input of the estimator, under its own names.
#[derive(Clone, Copy, Debug)]
struct Estimate {
    pending: u64,
    claimed: u64,
    existing: u64,
    requested: u64,
    stopping: u64,
    min: u64,
    max: u64,
    ratio: f64,
}

impl Estimate {
    /// Returns how many workers to spawn now.
    fn spawn(self) -> u64 {
        self.wanted().saturating_sub(self.requested)
    }

    /// Returns how many workers there should be in addition to those that exist.
    fn wanted(self) -> u64 {
        let Self { pending, claimed, existing, requested: _, stopping, min, max, ratio } = self;
        let idle = existing.saturating_sub(claimed);
        let adjusted = pending.saturating_sub(idle);
        let non_stopped = existing + stopping;
        let wanted = scale(adjusted, ratio).saturating_add(non_stopped).min(max).max(min);
        wanted.saturating_sub(non_stopped)
    }
}

/// Returns `n` times `ratio`, rounded up to complete instances.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "numbers of instances; `as` saturates, and the ratio is not negative"
)]
fn scale(n: u64, ratio: f64) -> u64 {
    (n as f64 * ratio).ceil() as u64
}

impl WorkerManager {
    pub(super) fn target(self, situation: &Situation) -> CapacityTarget {
        let per_machine = situation.tasks_per_instance.max(1);
        let requested = situation.requested + situation.booting;
        let once = Estimate {
            pending: situation.pending.div_ceil(per_machine),
            claimed: situation.busy + situation.unknown,
            existing: situation.up(),
            requested,
            stopping: situation.stopping,
            min: situation.min,
            max: situation.max,
            ratio: self.ratio,
        };
        let twice = if self.as_deployed { requested } else { 0 };
        let spawn = Estimate { existing: once.existing + twice, ..once }.spawn();
        let kept = situation.up() + requested;
        CapacityTarget {
            coming: situation.requested + spawn,
            needed: once.wanted().saturating_sub(situation.booting),
            for_minimum: if situation.pending == 0 { spawn } else { 0 },
            wanted: kept + spawn,
            let_go: 0,
            why: Why::WorkerManager { ratio: self.ratio },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test cases of worker-manager:
    /// pending/claimed, existing, requested, stopping, min, max, ratio: spawn.
    #[test]
    fn its_own_test_cases_hold() {
        let cases = [
            ((0, 0), 0, 0, 0, 1, 1, 1.0, 1),
            ((0, 0), 0, 1, 0, 1, 1, 1.0, 0),
            ((100, 0), 0, 0, 0, 0, 100, 1.0, 100),
            ((100, 0), 0, 0, 0, 0, 50, 1.0, 50),
            ((100, 0), 0, 0, 0, 0, 100, 0.5, 50),
            ((100, 25), 25, 0, 0, 0, 100, 0.5, 50),
            ((0, 0), 50, 0, 0, 1, 1, 1.0, 0),
            ((100, 25), 10, 10, 10, 0, 50, 1.0, 20),
            ((100, 25), 10, 10, 100, 0, 50, 1.0, 0),
            ((20, 0), 0, 10, 10, 0, 50, 1.0, 10),
            ((5, 0), 10, 0, 0, 0, 50, 1.0, 0),
            ((11, 0), 10, 0, 0, 0, 50, 1.0, 1),
            ((5, 5), 10, 0, 0, 0, 50, 1.0, 0),
            ((5, 10), 10, 0, 0, 0, 50, 1.0, 5),
            ((0, 11), 10, 0, 0, 0, 50, 1.0, 0),
        ];
        for case in cases {
            let ((pending, claimed), existing, requested, stopping, min, max, ratio, spawn) = case;
            let estimate =
                Estimate { pending, claimed, existing, requested, stopping, min, max, ratio };
            assert_eq!(estimate.spawn(), spawn, "{case:?}");
        }
    }

    #[test]
    fn as_deployed_what_boots_is_credited_twice() {
        let situation = Situation {
            pending: 25,
            booting: 10,
            free_slots: 10,
            max: 100,
            ..Situation::nothing(jiff::Timestamp::UNIX_EPOCH)
        };
        let coming = |as_deployed| {
            WorkerManager { as_deployed, ..WorkerManager::default() }.target(&situation).coming
        };
        assert_eq!((coming(false), coming(true)), (15, 5));
    }

    #[test]
    fn it_cancels_nothing_and_says_what_tasks_need() {
        let nothing = Situation::nothing(jiff::Timestamp::UNIX_EPOCH);
        let situation = Situation { pending: 3, requested: 8, booting: 1, max: 100, ..nothing };
        for as_deployed in [false, true] {
            let target =
                WorkerManager { as_deployed, ..WorkerManager::default() }.target(&situation);
            assert_eq!((target.coming, target.needed), (8, 2));
        }
    }
}
