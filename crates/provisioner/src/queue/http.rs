//! A queue behind HTTP. The [module above](crate::queue) explains how it is read.

use std::collections::BTreeSet;

use crate::domain::demand::Demand;
use crate::domain::ids::InstanceId;
use crate::queue::source::{DemandError, DemandSource};
use crate::settings::{AskRunning, QueueSettings, Settings};

pub(crate) mod address;
mod endpoint;
mod error;
mod json_array;
mod response;
mod state_filter;
mod tally;
mod task;
mod task_fingerprint;
mod task_history;
#[cfg(test)]
mod tests;
mod token;

use endpoint::Endpoint;
use state_filter::{StateEvidence, StateFilter, StateFilterCheck};
use tally::{PendingTally, RunningTally};
use task_history::TaskHistory;

pub(crate) use error::Error;
pub use tally::{PendingResponse, TaskFilter};

/// A [`DemandSource`] over HTTP.
#[derive(Debug)]
pub struct HttpQueue {
    endpoint: Endpoint,
    filter: TaskFilter,
    ask_running: AskRunning,
    /// Whether RUNNING was ever answered, so that it must be answered from now on. Until then it is
    /// asked for in every round, since a queue may learn it without a restart of ours.
    running_answered: bool,
    state_filter: StateFilterCheck,
    history: TaskHistory,
}

impl HttpQueue {
    /// Makes the queue of `settings`. Connects to nothing yet.
    pub fn from_settings(settings: &Settings) -> Result<Self, DemandError> {
        Ok(Self::new(&settings.queue, TaskFilter::from_settings(settings))?)
    }

    fn new(queue: &QueueSettings, filter: TaskFilter) -> Result<Self, Error> {
        Ok(Self {
            endpoint: Endpoint::new(queue)?,
            filter,
            ask_running: queue.running,
            running_answered: false,
            state_filter: StateFilterCheck::default(),
            history: TaskHistory::default(),
        })
    }

    async fn read(&mut self, owned: &BTreeSet<InstanceId>) -> Result<Demand, Error> {
        let Self { endpoint, filter, ask_running, running_answered, state_filter, history } = self;
        // PENDING first: a task that starts in between is then counted twice for a round, and not missed.
        let pending = endpoint.read("PENDING", filter.pointer(), PendingTally::new(filter)).await?;
        if pending.none_read() {
            return Err(Error::NoneRead {
                url: endpoint.shown("PENDING"),
                skipped: pending.skipped,
            });
        }
        let mut demand =
            Demand { pending: pending.pending, skipped: pending.skipped, ..Demand::default() };
        if *ask_running == AskRunning::Never {
            return Ok(demand);
        }
        let tally = RunningTally::new(filter, owned, history);
        let mut running = match endpoint.read("RUNNING", filter.pointer(), tally).await {
            Err(Error::Status { status, .. })
                if *ask_running == AskRunning::Auto
                    && !*running_answered
                    && means_not_offered(status) =>
            {
                return Ok(demand);
            }
            result => result?,
        };
        *running_answered = true;
        let verdict = state_filter.record(StateEvidence {
            same_tasks: pending.fingerprint.resembles(&running.fingerprint),
            only_running_started: running.started && !pending.started,
        });
        if verdict == StateFilter::Ignored {
            demand.skipped.running_ignored = true;
            return Ok(demand);
        }
        demand.skipped.add_unread(std::mem::take(&mut running.unread));
        let (running, update) = running.finish();
        demand.running = running;
        demand.waits = update.waits;
        demand.finished = update.finished;
        *history = update.history;
        Ok(demand)
    }
}

/// Whether a status says that the queue does not list running tasks at all. A client that is not let in (401,
/// 403), is too slow (408) or asks too often (429) learns nothing about that.
fn means_not_offered(status: u16) -> bool {
    matches!(status, 400..=499 | 501) && !matches!(status, 401 | 403 | 408 | 429)
}

impl DemandSource for HttpQueue {
    async fn demand(&mut self, owned: &BTreeSet<InstanceId>) -> Result<Demand, DemandError> {
        Ok(self.read(owned).await?)
    }
}
