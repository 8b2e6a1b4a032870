//! A queue behind HTTP: how many tasks wait and run, and where.
//!
//! `GET <base>/jobs?state=PENDING`, then `…?state=RUNNING`. Answers are counted while they stream in and
//! are never held. An answer that is not wholly understood is an error and not a smaller demand.
//! Deliberately not here: repetition (the next round is the repetition) and reporting things only once
//! (the caller knows what it reported).

use std::collections::BTreeSet;

use crate::domain::demand::Demand;
use crate::domain::ids::InstanceId;
use crate::queue::source::{DemandError, DemandSource};
use crate::settings::{AskRunning, Queue, Settings};

pub(crate) mod address;
mod answer;
mod endpoint;
mod heed;
mod runs;
mod sketch;
pub mod source;
mod split;
mod started;
mod tally;
mod task;
#[cfg(test)]
mod tests;
mod token;

use endpoint::Endpoint;
use heed::{Heeds, Judge, Look};
use runs::RunWatch;
use started::StartedWatch;
use tally::{PendingTally, RunningTally};

pub use answer::Flaw;
pub use tally::{PendingAnswer, TaskFilter};

/// A [`DemandSource`] over HTTP.
///
/// It remembers from round to round whether the queue has running tasks to show, whether it heeds
/// `state`, up to when tasks were seen to start, and which run.
#[derive(Debug)]
pub struct HttpQueue {
    endpoint: Endpoint,
    filter: TaskFilter,
    ask_running: AskRunning,
    running_seen: RunningSeen,
    judge: Judge,
    seen_started: StartedWatch,
    seen_running: RunWatch,
}

/// What became of asking for RUNNING so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RunningSeen {
    /// It was never answered. The queue may have none yet; it is asked again in each round, since a queue
    /// may learn it without a restart of ours.
    Not,
    /// It was answered, so that it must be answered from now on.
    Answered,
}

impl HttpQueue {
    /// Makes a source of the queue in `settings`. Connects to nothing yet.
    pub fn new(settings: &Settings) -> Result<Self, DemandError> {
        Self::with(&settings.queue, TaskFilter::from_settings(settings))
    }

    fn with(queue: &Queue, filter: TaskFilter) -> Result<Self, DemandError> {
        Ok(Self {
            endpoint: Endpoint::new(queue)?,
            filter,
            ask_running: queue.running,
            running_seen: RunningSeen::Not,
            judge: Judge::default(),
            seen_started: StartedWatch::default(),
            seen_running: RunWatch::default(),
        })
    }
}

impl DemandSource for HttpQueue {
    async fn demand(&mut self, owned: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
        let Self { endpoint, filter, ask_running, running_seen, judge, seen_started, seen_running } =
            self;
        // PENDING first: a task that starts in between is then counted twice for a round, and not missed.
        let pending = endpoint.read("PENDING", filter.pointer(), PendingTally::new(filter)).await?;
        let running = match ask_running {
            AskRunning::Never => None,
            AskRunning::Auto | AskRunning::Always => {
                let tally = RunningTally::new(filter, owned, seen_started, seen_running);
                match endpoint.read("RUNNING", filter.pointer(), tally).await {
                    Ok(running) => {
                        *running_seen = RunningSeen::Answered;
                        Some(running)
                    }
                    Err(DemandError::Status { status: 400 | 404, .. })
                        if *ask_running == AskRunning::Auto
                            && *running_seen == RunningSeen::Not =>
                    {
                        None
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let (demand, seen) = combine(pending, running, judge);
        if let Some((started, running)) = seen {
            *seen_started = started;
            *seen_running = running;
        }
        Ok(demand)
    }
}

/// Also returns up to when tasks were seen to start now and which run, if that was to be seen.
fn combine(
    pending: PendingTally<'_>,
    running: Option<RunningTally<'_>>,
    judge: &mut Judge,
) -> (Demand, Option<(StartedWatch, RunWatch)>) {
    let mut skipped = pending.skipped;
    let mut demand = Demand { pending: pending.pending, ..Demand::default() };
    let mut seen = None;
    if let Some(running) = running {
        let heeds = judge.look(Look {
            alike: pending.sketch.resembles(&running.sketch),
            tells_apart: running.started && !pending.started,
        });
        if heeds == Heeds::No {
            skipped.running_ignored = true;
        } else {
            skipped.malformed += running.malformed;
            skipped.oversized += running.oversized;
            let (running, started, runs) = running.running();
            let (waits, started) = started.finish();
            let (finished, runs) = runs.finish();
            demand.running = running;
            demand.waits = waits;
            demand.finished = finished;
            seen = Some((started, runs));
        }
    }
    (Demand { skipped, ..demand }, seen)
}
