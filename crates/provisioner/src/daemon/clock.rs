//! The clock of the daemon: the machine's, or one that a simulation sets.

use std::sync::{Arc, Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use crate::domain::clock;

/// The clock beside the daemon.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that runs as tokio's does, which a simulation pauses: time passes only while it waits.
    Tokio {
        /// What it showed.
        showed: Timestamp,
        /// And when.
        at: Instant,
        /// How far it has been set ahead since.
        hand: ClockOffset,
    },
}

/// Sets a clock, as a machine's is set while programs run beside it. Clones lead to the same clock.
#[derive(Clone, Debug, Default)]
pub struct ClockOffset(Arc<Mutex<SignedDuration>>);

impl ClockOffset {
    /// Sets the clock: so far ahead of where it would be, had it never been set.
    pub fn set(&self, ahead: SignedDuration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = ahead;
    }

    /// How far ahead it is.
    pub fn ahead(&self) -> SignedDuration {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock {
    /// One that shows `now` and goes as tokio's does.
    pub fn showing(now: Timestamp) -> Self {
        Self::set_by(ClockOffset::default(), now)
    }

    /// The same, and `hand` sets it: for simulations of a machine whose clock steps.
    pub fn set_by(hand: ClockOffset, now: Timestamp) -> Self {
        Self::Tokio { showed: now, at: Instant::now(), hand }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            Self::Tokio { showed, at, hand } => {
                let goes = clock::after(*showed, at.elapsed());
                goes.checked_add(hand.ahead()).unwrap_or(goes)
            }
        }
    }

    /// When it will show `time`, unless it is set.
    pub(super) fn instant(&self, time: Timestamp) -> Instant {
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

    #[tokio::test(start_paused = true)]
    async fn it_can_be_set_while_somebody_reads_it() {
        let start: Timestamp = "2026-11-23T08:00:00Z".parse().unwrap();
        let hand = ClockOffset::default();
        let clock = Clock::set_by(hand.clone(), start);
        let beside = clock.clone();
        tokio::time::sleep(Duration::from_secs(5)).await;
        for ahead in [30, -90, 0] {
            hand.set(SignedDuration::from_secs(ahead));
            let shown = start + SignedDuration::from_secs(5 + ahead);
            assert_eq!([clock.now(), beside.now()], [shown; 2]);
        }
    }
}
