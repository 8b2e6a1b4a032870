//! Lower bounds on the cost of any policy.

use std::time::Duration;

use crate::load::Load;
use crate::time::{hours, millis};

/// The least instance-hours for a load, in hours.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bounds {
    /// The tasks' run times alone: the absolute floor.
    pub busy_hours: f64,
    /// The cost of a policy that knows the future and lets no task wait; see [`bounds`].
    pub clairvoyant_hours: f64,
    /// The highest number of simultaneous tasks if no task waited.
    pub peak: u64,
}

/// Computes the bounds of `load`.
///
/// The clairvoyant bound splits the demand into levels: the k-th instance is in use whenever at least k
/// tasks run. Over each gap it either stays up or is launched again, whichever is cheaper; `restart` is
/// the time billed for a launch.
pub fn bounds(load: &Load, restart: Duration) -> Bounds {
    let restart = millis(restart);
    // A task without a run time ends when it begins and occupies no level.
    let tasks = || load.tasks().iter().filter(|task| task.duration > 0);
    let mut ends: Vec<u64> = tasks().map(|task| task.created + task.duration).collect();
    ends.sort_unstable();
    let mut ends = ends.into_iter().peekable();
    // When each level was last vacated; the lowest level comes first.
    let mut idle_since: Vec<u64> = Vec::new();
    let mut level = 0_usize;
    let mut peak = 0_usize;
    let mut total = load.busy();
    for task in tasks() {
        while let Some(end) = ends.next_if(|end| *end <= task.created) {
            level -= 1;
            idle_since[level] = end;
        }
        if level == idle_since.len() {
            idle_since.push(0);
            total += restart;
        } else {
            total += restart.min(task.created - idle_since[level]);
        }
        level += 1;
        peak = peak.max(level);
    }
    Bounds { busy_hours: hours(load.busy()), clairvoyant_hours: hours(total), peak: peak as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Task;

    fn of(tasks: &[(u64, u64)]) -> (u64, u64, u64) {
        let tasks = tasks
            .iter()
            .map(|(created, duration)| Task { created: created * 1000, duration: duration * 1000 });
        let bounds = bounds(&Load::new("x", tasks.collect()), Duration::from_mins(1));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
        let seconds = |hours: f64| (hours * 3600.0).round() as u64;
        (seconds(bounds.busy_hours), seconds(bounds.clairvoyant_hours), bounds.peak)
    }

    #[test]
    fn one_task_costs_itself_and_a_launch() {
        assert_eq!(of(&[(0, 100)]), (100, 160, 1));
    }

    #[test]
    fn a_short_gap_is_waited_out_and_a_long_one_is_not() {
        assert_eq!(of(&[(0, 100), (130, 100)]), (200, 290, 1));
        assert_eq!(of(&[(0, 100), (900, 100)]), (200, 320, 1));
    }

    #[test]
    fn levels_are_apart() {
        // Two at once from 50 on; the second level is used once more after a gap of 10 s.
        assert_eq!(of(&[(0, 200), (50, 50), (110, 20)]), (270, 270 + 60 + 60 + 10, 2));
    }

    #[test]
    fn a_task_that_takes_no_time_needs_no_level() {
        assert_eq!(of(&[(0, 0), (1, 10), (11, 10)]), (20, 80, 1));
    }
}
