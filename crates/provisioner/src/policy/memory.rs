//! What policies learn of a worker type. Soft state: kept over restarts, of bounded size.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::adaptive::{Balance, Levels, Pace, Reference, Startups};

/// What is learned of one worker type.
///
/// Of bounded size, whatever the number of tasks and instances; it fades within weeks.
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
    /// Takes in how long an instance was asked for, and then booted until its worker could take a task.
    pub fn saw_startup(&mut self, requested: Duration, booted: Duration) {
        self.pace.launched();
        self.balance.launched();
        self.startups.saw(requested, booted);
    }

    /// How many instances beyond the demand were worth keeping at the last look: nothing is wrong with
    /// so many that never had a task.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    /// How long instances took to start, as far as that was seen: half of them no longer than the first,
    /// nine in ten no longer than the second. `None` before there are enough of them to tell.
    pub fn startups(&self) -> Option<(Duration, Duration)> {
        self.startups.quantiles()
    }

    /// Takes in how long a request had been open that was cancelled unfilled.
    pub fn saw_cancelled(&mut self, after: Duration) {
        self.startups.cancelled(after);
    }
}
