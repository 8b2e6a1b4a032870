//! How long tasks run: those that ran at one look and do not at the next have ended in between.
//!
//! For the recorded load that `simulate` replays. What it misses: tasks that began and ended between two
//! looks, tasks without an id or `created`, and what ran while nobody looked. Of bounded size.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use jiff::Timestamp;

use super::tally::update;
use super::task::Task;
use crate::domain::clock;
use crate::domain::demand::FinishedTask;
use crate::domain::ids::WorkerTypeName;

/// Tasks followed at a time, of all worker types. More run in no account that is followed task by task;
/// those beyond it are not recorded.
const MOST: usize = 16_384;

/// The tasks that ran at the last look.
#[derive(Clone, Debug, Default)]
pub(super) struct RunWatch {
    runs: BTreeMap<WorkerTypeName, BTreeMap<u64, Run>>,
    n: usize,
    looked: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug)]
struct Run {
    created: Timestamp,
    /// `None`: it ran before the first look, and the queue does not say since when.
    started: Option<Timestamp>,
}

/// An answer being read.
#[derive(Debug)]
pub(super) struct RunTally<'w> {
    before: &'w RunWatch,
    now: Timestamp,
    current: RunWatch,
    /// Of those in `current`, how many were not there before.
    new: usize,
}

impl<'w> RunTally<'w> {
    pub(super) fn new(before: &'w RunWatch, now: Timestamp) -> Self {
        Self { before, now, current: RunWatch::default(), new: 0 }
    }

    /// Takes in a running task of `name`.
    pub(super) fn task(&mut self, name: &WorkerTypeName, task: &Task<'_>) {
        let (Some(id), Some(created)) = (&task.id, task.created) else { return };
        let hash = hash(id, created);
        let known = self.before.runs.get(name).and_then(|runs| runs.get(&hash));
        // A start in the future is a clock that is wrong.
        let told = task.started.filter(|started| *started <= self.now && *started >= created);
        let run = match known {
            Some(run) => Run { created, started: told.or(run.started) },
            // What was there before is followed to its end whatever comes, so that it never seems to end.
            None if self.new + self.before.n >= MOST => return,
            None => {
                self.new += 1;
                let seen = || Some(self.ended()?.max(created));
                Run { created, started: told.or_else(seen) }
            }
        };
        let mut is_new = false;
        update(&mut self.current.runs, name, |runs| is_new = runs.insert(hash, run).is_none());
        self.current.n += usize::from(is_new);
    }

    /// What changed since the last look did so half-way between, as far as is known.
    fn ended(&self) -> Option<Timestamp> {
        let looked = self.before.looked?;
        Some(clock::after(looked, clock::age(looked, self.now) / 2))
    }

    /// Returns what ended, and what to hold the next answer against.
    pub(super) fn finish(mut self) -> (BTreeMap<WorkerTypeName, Vec<FinishedTask>>, RunWatch) {
        let mut finished = BTreeMap::new();
        if let Some(ended) = self.ended() {
            for (name, runs) in &self.before.runs {
                let now = self.current.runs.get(name);
                let gone =
                    runs.iter().filter(|(hash, _)| now.is_none_or(|it| !it.contains_key(hash)));
                let tasks: Vec<_> = gone
                    .filter_map(|(task, Run { created, started })| {
                        let (created, started) = (*created, (*started)?);
                        let run_time: Duration = clock::age(started, ended);
                        Some(FinishedTask { task: *task, created, started, run_time })
                    })
                    .collect();
                if !tasks.is_empty() {
                    finished.insert(name.clone(), tasks);
                }
            }
        }
        self.current.looked = Some(self.now);
        (finished, self.current)
    }
}

fn hash(id: &str, created: Timestamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    (id, created).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// Reads one answer at `second` with these tasks (id, created, started), and returns what ended: wait
    /// and run time in seconds.
    fn look(
        watch: &mut RunWatch,
        second: i64,
        tasks: &[(&str, i64, Option<i64>)],
    ) -> Vec<(u64, u64)> {
        let mut tally = RunTally::new(watch, at(second));
        for (id, created, started) in tasks {
            let task = Task {
                id: Some((*id).into()),
                worker_type: "linux".into(),
                created: Some(at(*created)),
                provisioner_id: None,
                worker_id: None,
                started: started.map(at),
            };
            tally.task(&WorkerTypeName::from("linux"), &task);
        }
        let (finished, after) = tally.finish();
        *watch = after;
        let mut seen: Vec<_> = finished
            .into_values()
            .flatten()
            .map(|it| (clock::age(it.created, it.started).as_secs(), it.run_time.as_secs()))
            .collect();
        seen.sort_unstable();
        seen
    }

    #[test]
    fn a_task_that_is_gone_ran_until_half_way_between_two_looks() {
        let mut watch = RunWatch::default();
        assert_eq!(look(&mut watch, 100, &[("a", 0, Some(90)), ("b", 0, Some(95))]), []);
        assert_eq!(look(&mut watch, 110, &[("a", 0, Some(90))]), [(95, 10)]);
        assert_eq!(look(&mut watch, 120, &[]), [(90, 25)]);
        assert_eq!(look(&mut watch, 130, &[]), [], "told once");
    }

    #[test]
    fn without_a_start_it_is_when_it_was_first_seen() {
        let mut watch = RunWatch::default();
        assert_eq!(look(&mut watch, 100, &[("old", 0, None)]), []);
        assert_eq!(
            look(&mut watch, 110, &[("new", 90, None)]),
            [],
            "nobody knows since when `old` ran"
        );
        assert_eq!(look(&mut watch, 210, &[]), [(15, 55)]);
    }

    #[test]
    fn a_task_that_starts_again_is_measured_from_its_last_start() {
        let mut watch = RunWatch::default();
        let _ = look(&mut watch, 100, &[("a", 0, Some(90))]);
        let _ = look(&mut watch, 110, &[("a", 0, Some(108))]);
        assert_eq!(look(&mut watch, 120, &[]), [(108, 7)]);
    }

    #[test]
    fn its_size_is_bounded_and_what_is_followed_stays_so() {
        let names: Vec<_> = (0..2 * MOST).map(|n| n.to_string()).collect();
        let tasks: Vec<_> = names.iter().map(|id| (&**id, 0, Some(5))).collect();
        let mut watch = RunWatch::default();
        assert!(look(&mut watch, 10, &tasks).is_empty());
        assert_eq!(watch.n, MOST);
        // In another order: nothing seems to have ended, and no more are followed.
        let turned: Vec<_> = tasks.iter().rev().copied().collect();
        assert!(look(&mut watch, 20, &turned).is_empty());
        assert_eq!(watch.n, MOST);
        assert_eq!(look(&mut watch, 30, &[]).len(), MOST);
    }

    #[test]
    fn a_start_that_cannot_be_is_not_believed() {
        let mut watch = RunWatch::default();
        let _ = look(&mut watch, 0, &[]);
        let _ = look(&mut watch, 10, &[("a", 0, Some(9_999)), ("b", 8, Some(-50))]);
        assert_eq!(look(&mut watch, 20, &[]), [(0, 7), (5, 10)]);
    }
}
