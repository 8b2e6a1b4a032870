//! What the daemon takes for the present.

use jiff::Timestamp;
use tokio::time::Instant;

use crate::clock;

/// The clock beside the daemon.
#[derive(Clone, Copy, Debug, Default)]
pub enum Clock {
    /// The machine's.
    #[default]
    System,
    /// One that goes as tokio's does, which a simulation pauses: no time passes there but by waiting.
    Tokio {
        /// What it showed.
        showed: Timestamp,
        /// And when.
        at: Instant,
    },
}

impl Clock {
    /// One that shows `now` and goes as tokio's does.
    pub fn showing(now: Timestamp) -> Self {
        Self::Tokio { showed: now, at: Instant::now() }
    }

    /// What it shows.
    pub fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Tokio { showed, at } => clock::after(showed, at.elapsed()),
        }
    }

    /// When it will show `time`.
    pub(super) fn instant(self, time: Timestamp) -> Instant {
        Instant::now() + clock::age(self.now(), time)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_goes_as_tokios_clock_does() {
        let start: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let clock = Clock::showing(start);
        let later = clock::after(start, Duration::from_hours(1));
        tokio::time::sleep_until(clock.instant(later)).await;
        assert_eq!(clock.now(), later);
    }
}
