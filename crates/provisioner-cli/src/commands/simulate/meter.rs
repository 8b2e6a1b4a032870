//! The progress of a comparison.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::output::Notices;

/// The time between two lines where a line cannot be redrawn, which keeps logs short.
const PAUSE: Duration = Duration::from_secs(5);

/// Shows how many runs are done; several threads use it concurrently.
pub(super) struct Meter {
    notices: Notices,
    began: Instant,
    /// The number of pauses that had passed at the last line.
    shown: AtomicU64,
}

impl Meter {
    pub(super) fn new(notices: Notices) -> Self {
        Self { notices, began: Instant::now(), shown: AtomicU64::new(0) }
    }

    /// Shows it at once on a terminal; elsewhere only when a pause has passed.
    pub(super) fn show(&self, done: usize, of: usize) {
        if self.notices.meter(done, of, "runs") {
            return;
        }
        let passed = self.began.elapsed().as_secs() / PAUSE.as_secs();
        if done < of && self.shown.fetch_max(passed, Ordering::Relaxed) < passed {
            self.notices.progress(format!("{done} of {of} runs"));
        }
    }
}
