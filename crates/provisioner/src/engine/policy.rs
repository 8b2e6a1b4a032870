//! Capacity policies: how many instances a worker type should have on the way.
//!
//! A policy sees one worker type's numbers and wishes; it neither knows limits nor acts. What it
//! wishes is cut to the fences afterwards, and checked again.

use crate::engine::index::Counts;
use crate::settings::{Policy, WorkerType};

/// One worker type in numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) pending: u64,
    pub(super) counts: Counts,
    pub(super) min: u64,
    pub(super) tasks_per_instance: u64,
}

/// What a policy wishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wish {
    /// Open requests and launches in flight there should be. More are cancelled, fewer asked for.
    pub(super) coming: u64,
    /// How many of them only keep the minimum.
    pub(super) for_minimum: u64,
    /// Instances there should be in all.
    pub(super) wanted: u64,
}

/// Asks the policy of `worker_type`.
pub(super) fn wish(worker_type: &WorkerType, situation: Situation) -> Wish {
    match worker_type.policy {
        Policy::Basic => basic(situation),
    }
}

/// The rules of 2014, mended: what boots and what is on its way is credited against pending tasks
/// exactly once, and machines that run tasks are not counted as free.
fn basic(situation: Situation) -> Wish {
    let Situation { pending, counts, min, tasks_per_instance } = situation;
    let per_machine = tasks_per_instance.max(1);
    let for_tasks = pending.saturating_sub(counts.free_slots).div_ceil(per_machine);
    // What runs, in whatever state of knowledge, keeps the minimum; what never worked does not.
    let kept = counts.booting + counts.idle + counts.busy + counts.unknown;
    let for_minimum = min.saturating_sub(kept + for_tasks);
    let occupied = counts.busy + counts.unknown;
    Wish {
        coming: for_tasks + for_minimum,
        for_minimum,
        wanted: min.max(occupied + pending.div_ceil(per_machine)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(pending: u64, counts: Counts) -> Situation {
        Situation { pending, counts, min: 0, tasks_per_instance: 1 }
    }

    fn booting(n: u64) -> Counts {
        Counts { booting: n, free_slots: n, ..Counts::default() }
    }

    #[test]
    fn booting_machines_are_credited_once() {
        assert_eq!(basic(situation(5, booting(5))).coming, 0);
        // worker-manager's double credit: 10 booting, 25 pending launched 5 where 15 are needed.
        assert_eq!(basic(situation(25, booting(10))).coming, 15);
    }

    #[test]
    fn busy_machines_are_not_free() {
        let counts = Counts { busy: 3, ..Counts::default() };
        assert_eq!(basic(situation(2, counts)), Wish { coming: 2, for_minimum: 0, wanted: 5 });
    }

    #[test]
    fn machines_that_take_several_tasks_need_fewer() {
        let situation = Situation {
            tasks_per_instance: 4,
            ..situation(9, Counts { free_slots: 2, busy: 1, ..Counts::default() })
        };
        assert_eq!(basic(situation).coming, 2);
    }

    #[test]
    fn the_minimum_is_kept_and_not_added() {
        let idle = Counts { idle: 1, free_slots: 1, ..Counts::default() };
        let wish = basic(Situation { min: 3, ..situation(0, idle) });
        assert_eq!((wish.coming, wish.for_minimum), (2, 2));
        let wish = basic(Situation { min: 3, ..situation(4, idle) });
        assert_eq!((wish.coming, wish.for_minimum), (3, 0));
    }
}
