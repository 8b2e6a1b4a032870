//! Measures how long tasks wait and run, by comparing each RUNNING response with the ones before it.
//!
//! - A task has *started* if its start is later than every start seen before for its worker type. Only
//!   the queue's own clock counts. A task that starts again counts again, from its creation.
//! - A task has *ended* if it ran in the response before and does not now. It is taken to have ended
//!   half-way between the two.
//!
//! The figures are for metrics and for the load that `simulate` replays; no decision depends on them.
//! Tasks that start and end between two responses are missed, and so are those without `created` (and
//! without `started` for waits, without an id for run times). Memory is bounded.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;

use super::task::Task;
use crate::domain::clock;
use crate::domain::demand::{FinishedTask, TaskWaits};
use crate::domain::ids::WorkerTypeName;

/// Tasks remembered that started at one instant. Queues write seconds or milliseconds, and a task must
/// be counted exactly once although others share its start.
const MAX_TIES: usize = 1024;

/// Running tasks followed at a time, of all worker types. Tasks beyond it are not recorded; no account
/// runs so many one by one, and they take a few megabytes.
const MAX_FOLLOWED: usize = 16_384;

/// A start further ahead than this is an error and not a clock that is a little off. Believing it would
/// hide all tasks that start before then.
const MAX_AHEAD: Duration = Duration::from_hours(1);

/// The running tasks as of the latest response.
#[derive(Clone, Debug, Default)]
pub(super) struct TaskHistory {
    /// When the latest response was requested. `None` before the first, whose tasks may have started
    /// long ago.
    observed: Option<Timestamp>,
    worker_types: BTreeMap<WorkerTypeName, TypeHistory>,
    /// Tasks in all `running`.
    followed: usize,
}

#[derive(Clone, Debug, Default)]
struct TypeHistory {
    latest: Option<LatestStart>,
    /// The followed tasks of the latest response, by the hash of their id and creation.
    running: BTreeMap<u64, RunningTask>,
}

/// The latest start seen of one worker type.
#[derive(Clone, Debug)]
struct LatestStart {
    at: Timestamp,
    /// Hashes of the tasks that started then, up to [`MAX_TIES`].
    tasks: BTreeSet<u64>,
}

#[derive(Clone, Copy, Debug)]
struct RunningTask {
    created: Timestamp,
    /// `None` if it ran before the first response and the queue does not report since when.
    started: Option<Timestamp>,
}

/// Compares the tasks of one response with the history.
#[derive(Debug)]
pub(super) struct HistoryReader<'h> {
    before: &'h TaskHistory,
    after: TaskHistory,
    now: Timestamp,
    /// Tasks that are followed now and were not before.
    added: usize,
    waits: BTreeMap<WorkerTypeName, TaskWaits>,
}

/// What a response adds to the history.
#[derive(Debug)]
pub(super) struct HistoryUpdate {
    pub(super) waits: BTreeMap<WorkerTypeName, TaskWaits>,
    pub(super) finished: BTreeMap<WorkerTypeName, Vec<FinishedTask>>,
    pub(super) history: TaskHistory,
}

impl<'h> HistoryReader<'h> {
    pub(super) fn new(before: &'h TaskHistory, now: Timestamp) -> Self {
        let latest_only = |history: &TypeHistory| TypeHistory {
            latest: history.latest.clone(),
            running: BTreeMap::new(),
        };
        let worker_types = before.worker_types.iter();
        let worker_types =
            worker_types.map(|(name, history)| (name.clone(), latest_only(history))).collect();
        let after = TaskHistory { observed: Some(now), worker_types, followed: 0 };
        Self { before, after, now, added: 0, waits: BTreeMap::new() }
    }

    /// Takes in a running task of `name`.
    pub(super) fn task(&mut self, name: &WorkerTypeName, task: &Task<'_>) {
        self.record_start(name, task);
        self.follow(name, task);
    }

    fn record_start(&mut self, name: &WorkerTypeName, task: &Task<'_>) {
        let horizon = clock::after(self.now, MAX_AHEAD);
        let Some(started) = task.started.filter(|started| *started <= horizon) else { return };
        let hash = hash(&(&task.id, &task.worker_id, task.created));
        let latest = self.before.worker_types.get(name).and_then(|history| history.latest.as_ref());
        if let (Some(_), Some(created)) = (self.before.observed, task.created)
            && latest.is_none_or(|latest| latest.is_before(started, hash))
        {
            update(&mut self.waits, name, |waits| waits.record(clock::age(created, started)));
        }
        update(&mut self.after.worker_types, name, |history| {
            let latest = LatestStart { at: started, tasks: BTreeSet::new() };
            history.latest.get_or_insert(latest).record(started, hash);
        });
    }

    fn follow(&mut self, name: &WorkerTypeName, task: &Task<'_>) {
        let (Some(id), Some(created)) = (&task.id, task.created) else { return };
        let hash = hash(&(id, created));
        let history = self.before.worker_types.get(name);
        let known = history.and_then(|history| history.running.get(&hash));
        // A start in the future comes from a wrong clock.
        let reported = task.started.filter(|started| *started <= self.now && *started >= created);
        let observed = match known {
            Some(known) => known.started,
            // Tasks followed before are followed to their end, so that none seems to end early.
            None if self.added + self.before.followed >= MAX_FOLLOWED => return,
            None => {
                self.added += 1;
                self.half_way().map(|half_way| half_way.max(created))
            }
        };
        let running = RunningTask { created, started: reported.or(observed) };
        let followed = &mut self.after.followed;
        update(&mut self.after.worker_types, name, |history| {
            if history.running.insert(hash, running).is_none() {
                *followed += 1;
            }
        });
    }

    /// Returns the best estimate of when a change between the two responses happened.
    fn half_way(&self) -> Option<Timestamp> {
        let observed = self.before.observed?;
        Some(clock::after(observed, clock::age(observed, self.now) / 2))
    }

    pub(super) fn finish(self) -> HistoryUpdate {
        let mut finished = BTreeMap::new();
        if let Some(ended) = self.half_way() {
            for (name, before) in &self.before.worker_types {
                let after = self.after.worker_types.get(name);
                let runs = |task| after.is_some_and(|after| after.running.contains_key(task));
                let gone = before.running.iter().filter(|(task, _)| !runs(task));
                let tasks: Vec<_> = gone
                    .filter_map(|(task, RunningTask { created, started })| {
                        let started = (*started)?;
                        let run_time = clock::age(started, ended);
                        Some(FinishedTask { task: *task, created: *created, started, run_time })
                    })
                    .collect();
                if !tasks.is_empty() {
                    finished.insert(name.clone(), tasks);
                }
            }
        }
        HistoryUpdate { waits: self.waits, finished, history: self.after }
    }
}

impl LatestStart {
    fn is_before(&self, started: Timestamp, hash: u64) -> bool {
        let tie = started == self.at && self.tasks.len() < MAX_TIES && !self.tasks.contains(&hash);
        started > self.at || tie
    }

    fn record(&mut self, started: Timestamp, hash: u64) {
        if started > self.at {
            self.at = started;
            self.tasks.clear();
        }
        if started == self.at && self.tasks.len() < MAX_TIES {
            self.tasks.insert(hash);
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Changes the value at `name`, like `entry`, but without a copy of the name for every task.
pub(super) fn update<V: Default>(
    map: &mut BTreeMap<WorkerTypeName, V>,
    name: &WorkerTypeName,
    change: impl FnOnce(&mut V),
) {
    if let Some(value) = map.get_mut(name) {
        change(value);
    } else {
        change(map.entry(name.clone()).or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Id, creation and start of a task, in seconds.
    type Row<'a> = (&'a str, Option<i64>, Option<i64>);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Reads a response of `second` with `tasks` of `linux`.
    fn read_all(history: &mut TaskHistory, second: i64, tasks: &[Row<'_>]) -> HistoryUpdate {
        read_types(history, second, &[("linux", tasks)])
    }

    fn read_types(
        history: &mut TaskHistory,
        second: i64,
        worker_types: &[(&str, &[Row<'_>])],
    ) -> HistoryUpdate {
        let mut reader = HistoryReader::new(history, at(second));
        for (name, tasks) in worker_types {
            for (id, created, started) in *tasks {
                let task = Task {
                    id: Some((*id).into()),
                    worker_type: (*name).into(),
                    created: created.map(at),
                    provisioner_id: None,
                    worker_id: None,
                    started: started.map(at),
                    unread: Vec::new(),
                };
                reader.task(&WorkerTypeName::from(*name), &task);
            }
        }
        let update = reader.finish();
        *history = update.history.clone();
        update
    }

    /// Returns how many tasks started and how many seconds they had waited, over all worker types.
    fn waits(update: &HistoryUpdate) -> (u64, u64) {
        let mut all = TaskWaits::default();
        for waits in update.waits.values() {
            all.add(waits);
        }
        (all.counts().iter().sum(), all.total().as_secs())
    }

    /// Reads a response in which every task was created at 0, and returns the waits.
    fn started(history: &mut TaskHistory, tasks: &[(&str, i64)]) -> (u64, u64) {
        let rows: Vec<Row<'_>> =
            tasks.iter().map(|&(id, started)| (id, Some(0), Some(started))).collect();
        waits(&read_all(history, 1800, &rows))
    }

    /// Reads a response and returns wait and run time, in seconds, of the tasks that ended.
    fn ended(history: &mut TaskHistory, second: i64, tasks: &[Row<'_>]) -> Vec<(u64, u64)> {
        let finished = read_all(history, second, tasks).finished;
        let seconds = |task: FinishedTask| {
            (clock::age(task.created, task.started).as_secs(), task.run_time.as_secs())
        };
        let mut ended: Vec<_> = finished.into_values().flatten().map(seconds).collect();
        ended.sort_unstable();
        ended
    }

    #[test]
    fn the_first_response_does_not_count_and_each_start_counts_once() {
        let mut history = TaskHistory::default();
        let old = ("a", 1200);
        assert_eq!(started(&mut history, &[old]), (0, 0));
        assert_eq!(started(&mut history, &[old]), (0, 0));
        let new = ("b", 1260);
        assert_eq!(started(&mut history, &[new, old]), (1, 1260));
        assert_eq!(started(&mut history, &[old, new]), (0, 0));
        assert_eq!(started(&mut history, &[]), (0, 0));
        assert_eq!(started(&mut history, &[new]), (0, 0), "an empty response changes nothing");
    }

    #[test]
    fn worker_types_have_their_own_latest_start() {
        let mut history = TaskHistory::default();
        read_types(&mut history, 1800, &[("linux", &[("a", Some(0), Some(1200))])]);
        let update = read_types(&mut history, 1800, &[("windows", &[("w", Some(540), Some(600))])]);
        assert_eq!(waits(&update), (1, 60), "the first of its type is new, though older");
    }

    #[test]
    fn tasks_of_one_instant_count_once_each() {
        let mut history = TaskHistory::default();
        let task = |id| (id, 10);
        started(&mut history, &[task("a")]);
        assert_eq!(started(&mut history, &[task("a"), task("b")]), (1, 10));
        assert_eq!(started(&mut history, &[task("b"), task("c"), task("a")]), (1, 10));
        assert_eq!(started(&mut history, &[task("c"), task("b"), task("a")]), (0, 0));
    }

    #[test]
    fn missing_and_impossible_starts_are_left_out_of_the_waits() {
        let mut history = TaskHistory::default();
        read_all(&mut history, 1800, &[]);
        let mut read = |second, row| waits(&read_all(&mut history, second, &[row]));
        assert_eq!(read(1800, ("a", Some(600), None)), (0, 0));
        assert_eq!(read(1800, ("b", None, Some(660))), (0, 0));
        assert_eq!(read(1800, ("c", Some(750), Some(720))), (1, 0), "clocks of a queue differ");
        assert_eq!(read(-3600, ("mad", Some(1800), Some(1800))), (0, 0), "an hour and more ahead");
        assert_eq!(read(1800, ("d", Some(780), Some(785))), (1, 5));
    }

    #[test]
    fn a_task_that_is_gone_ran_until_half_way_between_two_responses() {
        let mut history = TaskHistory::default();
        let a = ("a", Some(0), Some(90));
        assert_eq!(ended(&mut history, 100, &[a, ("b", Some(0), Some(95))]), []);
        assert_eq!(ended(&mut history, 110, &[a]), [(95, 10)]);
        assert_eq!(ended(&mut history, 120, &[]), [(90, 25)]);
        assert_eq!(ended(&mut history, 130, &[]), [], "reported once");
    }

    #[test]
    fn a_task_without_a_start_began_when_it_was_first_seen() {
        let mut history = TaskHistory::default();
        assert_eq!(ended(&mut history, 100, &[("old", Some(0), None)]), []);
        assert_eq!(
            ended(&mut history, 110, &[("new", Some(90), None)]),
            [],
            "the start of `old` is not known"
        );
        assert_eq!(ended(&mut history, 210, &[]), [(15, 55)]);
    }

    #[test]
    fn a_task_that_starts_again_is_measured_from_its_last_start() {
        let mut history = TaskHistory::default();
        ended(&mut history, 100, &[("a", Some(0), Some(90))]);
        ended(&mut history, 110, &[("a", Some(0), Some(108))]);
        assert_eq!(ended(&mut history, 120, &[]), [(108, 7)]);
    }

    #[test]
    fn a_bounded_number_of_tasks_is_followed_and_those_to_their_end() {
        let ids: Vec<_> = (0..2 * MAX_FOLLOWED).map(|number| number.to_string()).collect();
        let tasks: Vec<Row<'_>> = ids.iter().map(|id| (&**id, Some(0), Some(5))).collect();
        let mut history = TaskHistory::default();
        assert!(ended(&mut history, 10, &tasks).is_empty());
        assert_eq!(history.followed, MAX_FOLLOWED);
        // In another order, no task seems to have ended, and no further one is followed.
        let reversed: Vec<_> = tasks.iter().rev().copied().collect();
        assert!(ended(&mut history, 20, &reversed).is_empty());
        assert_eq!(history.followed, MAX_FOLLOWED);
        assert_eq!(ended(&mut history, 30, &[]).len(), MAX_FOLLOWED);
    }

    #[test]
    fn impossible_starts_are_replaced_by_an_estimate() {
        let mut history = TaskHistory::default();
        ended(&mut history, 0, &[]);
        let tasks = [("a", Some(0), Some(9_999)), ("b", Some(8), Some(-50))];
        ended(&mut history, 10, &tasks);
        assert_eq!(ended(&mut history, 20, &[]), [(0, 7), (5, 10)]);
    }
}
