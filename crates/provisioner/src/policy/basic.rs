//! The rules of 2014, corrected: booting instances and open requests are credited against pending tasks
//! exactly once, and machines that run tasks are not counted as free.

use super::{CapacityTarget, Situation, Why};

pub(super) fn target(situation: &Situation) -> CapacityTarget {
    let Situation { pending, min, tasks_per_instance, .. } = *situation;
    let for_tasks = situation.short();
    // Every running or booting instance counts toward the minimum; one that failed to start does not.
    let kept = situation.booting + situation.up();
    let for_minimum = min.saturating_sub(kept + for_tasks);
    let occupied = situation.busy + situation.unknown;
    CapacityTarget {
        coming: for_tasks + for_minimum,
        for_minimum,
        needed: for_tasks + for_minimum,
        wanted: min.max(occupied + pending.div_ceil(tasks_per_instance.max(1))),
        let_go: 0,
        why: Why::Short,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn situation(pending: u64) -> Situation {
        Situation { pending, ..Situation::nothing(Timestamp::UNIX_EPOCH) }
    }

    fn booting(pending: u64, n: u64) -> Situation {
        Situation { booting: n, free_slots: n, ..situation(pending) }
    }

    #[test]
    fn booting_machines_are_credited_once() {
        assert_eq!(target(&booting(5, 5)).coming, 0);
        // With worker-manager's double credit, 10 booting and 25 pending led to 5 launches instead of 15.
        assert_eq!(target(&booting(25, 10)).coming, 15);
    }

    #[test]
    fn busy_machines_are_not_free() {
        let target = target(&Situation { busy: 3, ..situation(2) });
        assert_eq!((target.coming, target.for_minimum, target.wanted), (2, 0, 5));
    }

    #[test]
    fn machines_that_take_several_tasks_need_fewer() {
        let situation = Situation { tasks_per_instance: 4, free_slots: 2, busy: 1, ..situation(9) };
        assert_eq!(target(&situation).coming, 2);
    }

    #[test]
    fn the_minimum_is_kept_and_not_added() {
        let idle = |pending| Situation { min: 3, idle: 1, free_slots: 1, ..situation(pending) };
        let few = target(&idle(0));
        assert_eq!((few.coming, few.for_minimum), (2, 2));
        let many = target(&idle(4));
        assert_eq!((many.coming, many.for_minimum), (3, 0));
    }
}
