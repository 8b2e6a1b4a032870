//! What policies learn about a worker type: soft state of bounded size that is kept across restarts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::adaptive::{Balance, Levels, Pace, Reference, Startups};

/// What has been learned about one worker type.
///
/// The size is bounded, whatever the number of tasks and instances, and the content fades within weeks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct PolicyMemory {
    pub(super) pace: Pace,
    pub(super) levels: Levels,
    pub(super) startups: Startups,
    pub(super) kept: u64,
    pub(super) balance: Balance,
    #[serde(skip)]
    pub(super) reference: Reference,
}

impl PolicyMemory {
    /// Records a startup: how long the request was open, and how long the instance then booted until its
    /// worker could take a task.
    pub fn record_startup(&mut self, requested: Duration, booted: Duration) {
        self.pace.record_launch();
        self.balance.record_launch();
        self.startups.record(requested, booted);
    }

    /// Returns how many instances beyond the demand were worth keeping in the last round. So many instances
    /// without a task are no sign of a problem.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// Returns the median and the 90th percentile of the observed startups, or `None` while there are too
    /// few of them.
    pub fn startups(&self) -> Option<(Duration, Duration)> {
        self.startups.quantiles()
    }

    /// Records how long a request had been open when it was cancelled unfilled.
    pub fn record_cancelled_request(&mut self, after: Duration) {
        self.startups.record_cancelled_request(after);
    }
}
