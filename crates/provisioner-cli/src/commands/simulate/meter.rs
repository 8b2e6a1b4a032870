//! How far a comparison is, for whoever waits for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::output::Notices;

/// Between two lines where no line can be drawn over: for logs, not for eyes.
const PAUSE: Duration = Duration::from_secs(5);

/// Tells how many runs are done. From several threads at a time.
pub(super) struct Meter {
    notices: Notices,
    began: Instant,
    /// Pauses that have passed when it was last told.
    told: AtomicU64,
}

impl Meter {
    pub(super) fn new(notices: Notices) -> Self {
        Self { notices, began: Instant::now(), told: AtomicU64::new(0) }
    }

    /// On a terminal at once; elsewhere only what takes long, now and then.
    pub(super) fn tell(&self, done: usize, of: usize) {
        if self.notices.meter(done, of, "runs") {
            return;
        }
        let passed = self.began.elapsed().as_secs() / PAUSE.as_secs();
        if done < of && self.told.fetch_max(passed, Ordering::Relaxed) < passed {
            self.notices.progress(format!("{done} of {of} runs"));
        }
    }
}
