//! Which running tasks were started since the last answer, and how long they had waited.
//!
//! Told by the queue's own clock alone: a task is new if it was started after the latest start seen so far
//! for its worker type. Nothing in here grows with the number of tasks. What that misses: tasks that
//! started and ended between two answers, a start that shows up only after a later one, and tasks without
//! `started`. A task that starts again counts again, from its creation.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;

use super::tally::update;
use super::task::Task;
use crate::domain::clock;
use crate::domain::demand::TaskWaits;
use crate::domain::ids::WorkerTypeName;

/// Tasks remembered that were started at one instant: queues write seconds or milliseconds, and a task
/// must count neither twice nor not at all because another shares its own.
const MAX_TIES: usize = 1024;

/// A start further ahead than this is an error and not a clock that is a little off. Believed, it would
/// hide all that start before then.
const AHEAD: Duration = Duration::from_hours(1);

/// Up to when tasks were seen to start.
#[derive(Clone, Debug, Default)]
pub(super) struct StartedWatch {
    /// `None` before the first answer: what it holds may have started long ago.
    latest: Option<BTreeMap<WorkerTypeName, Latest>>,
}

/// The latest start seen of one worker type.
#[derive(Clone, Debug)]
struct Latest {
    at: Timestamp,
    /// Hashes of the tasks started just then, up to [`MAX_TIES`].
    tasks: BTreeSet<u64>,
}

/// An answer being read.
#[derive(Debug)]
pub(super) struct StartedTally<'w> {
    before: &'w StartedWatch,
    /// Starts after this are not believed.
    horizon: Timestamp,
    latest: BTreeMap<WorkerTypeName, Latest>,
    waits: BTreeMap<WorkerTypeName, TaskWaits>,
}

impl<'w> StartedTally<'w> {
    pub(super) fn new(before: &'w StartedWatch) -> Self {
        Self::at(before, Timestamp::now())
    }

    fn at(before: &'w StartedWatch, now: Timestamp) -> Self {
        Self {
            before,
            horizon: clock::after(now, AHEAD),
            latest: before.latest.clone().unwrap_or_default(),
            waits: BTreeMap::new(),
        }
    }

    /// Takes in a running task of `name`.
    pub(super) fn task(&mut self, name: &WorkerTypeName, task: &Task<'_>) {
        let Some(started) = task.started.filter(|started| *started <= self.horizon) else { return };
        let hash = hash(task);
        if let (Some(before), Some(created)) = (&self.before.latest, task.created)
            && before.get(name).is_none_or(|latest| latest.is_before(started, hash))
        {
            update(&mut self.waits, name, |waits| waits.record(clock::age(created, started)));
        }
        match self.latest.get_mut(name) {
            Some(latest) => latest.see(started, hash),
            None => {
                let tasks = BTreeSet::from([hash]);
                self.latest.insert(name.clone(), Latest { at: started, tasks });
            }
        }
    }

    /// Returns the waits, and what to hold the next answer against.
    pub(super) fn finish(self) -> (BTreeMap<WorkerTypeName, TaskWaits>, StartedWatch) {
        (self.waits, StartedWatch { latest: Some(self.latest) })
    }
}

impl Latest {
    fn is_before(&self, started: Timestamp, hash: u64) -> bool {
        let tie = started == self.at && self.tasks.len() < MAX_TIES && !self.tasks.contains(&hash);
        started > self.at || tie
    }

    fn see(&mut self, started: Timestamp, hash: u64) {
        if started > self.at {
            self.at = started;
            self.tasks.clear();
        }
        if started == self.at && self.tasks.len() < MAX_TIES {
            self.tasks.insert(hash);
        }
    }
}

fn hash(task: &Task<'_>) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&task.id, &task.worker_id, task.created).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-11-23T12:30:00Z".parse().unwrap()
    }

    /// Reads one answer with these tasks (id, worker type, created, started, as minutes and seconds
    /// after noon), and returns how many seconds the new ones had waited, over all types.
    fn read(watch: &mut StartedWatch, tasks: &[(&str, &str, &str, &str)]) -> (u64, u64) {
        let time = |text: &str| (!text.is_empty()).then(|| format!("2026-11-23T12:{text}Z"));
        let mut tally = StartedTally::at(watch, now());
        for (id, name, created, started) in tasks {
            let task = Task {
                id: Some((*id).into()),
                worker_type: (*name).into(),
                created: time(created).map(|text| text.parse().unwrap()),
                provisioner_id: None,
                worker_id: None,
                started: time(started).map(|text| text.parse().unwrap()),
            };
            tally.task(&WorkerTypeName::from(*name), &task);
        }
        let (waits, after) = tally.finish();
        *watch = after;
        let mut all = TaskWaits::default();
        for waits in waits.values() {
            all.add(waits);
        }
        (all.counts().iter().sum(), all.total().as_secs())
    }

    #[test]
    fn history_does_not_count_and_each_task_counts_once() {
        let mut watch = StartedWatch::default();
        let old = ("a", "linux", "00:00", "20:00");
        assert_eq!(read(&mut watch, &[old]), (0, 0));
        assert_eq!(read(&mut watch, &[old]), (0, 0));
        let new = ("b", "linux", "20:30", "21:00");
        assert_eq!(read(&mut watch, &[new, old]), (1, 30));
        assert_eq!(read(&mut watch, &[old, new]), (0, 0));
        assert_eq!(read(&mut watch, &[]), (0, 0));
        assert_eq!(read(&mut watch, &[new]), (0, 0), "it does not forget over an empty answer");
    }

    #[test]
    fn types_are_watched_apart() {
        let mut watch = StartedWatch::default();
        read(&mut watch, &[("a", "linux", "00:00", "20:00")]);
        let first = ("w", "windows", "09:00", "10:00");
        assert_eq!(
            read(&mut watch, &[first]),
            (1, 60),
            "the first of its type is new, though older"
        );
    }

    #[test]
    fn tasks_of_one_instant_count_once_each() {
        let mut watch = StartedWatch::default();
        let task = |id| (id, "linux", "20:00", "20:10");
        read(&mut watch, &[task("a")]);
        assert_eq!(read(&mut watch, &[task("a"), task("b")]), (1, 10));
        assert_eq!(read(&mut watch, &[task("b"), task("c"), task("a")]), (1, 10));
        assert_eq!(read(&mut watch, &[task("c"), task("b"), task("a")]), (0, 0));
    }

    #[test]
    fn what_is_not_told_or_not_believed_is_left_out() {
        let mut watch = StartedWatch::default();
        read(&mut watch, &[]);
        assert_eq!(read(&mut watch, &[("a", "linux", "10:00", "")]), (0, 0));
        assert_eq!(read(&mut watch, &[("b", "linux", "", "11:00")]), (0, 0));
        let backwards = ("c", "linux", "12:30", "12:00");
        assert_eq!(read(&mut watch, &[backwards]), (1, 0), "clocks of one queue may differ");
        let mut early = StartedTally::at(&watch, "2026-11-23T11:00:00Z".parse().unwrap());
        let mad = Task {
            id: None,
            worker_type: "linux".into(),
            created: Some(now()),
            provisioner_id: None,
            worker_id: None,
            started: Some(now()),
        };
        early.task(&"linux".into(), &mad);
        let (waits, mut watch) = early.finish();
        assert!(waits.is_empty());
        assert_eq!(read(&mut watch, &[("d", "linux", "13:00", "13:05")]), (1, 5));
    }
}
