//! Arithmetic on points in time that saturates instead of panicking.
//!
//! Nothing here reads a clock: `now` is an argument everywhere.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

const SECONDS_PER_DAY: i64 = 24 * 60 * 60;

/// Returns the point `time` after `at`, or the last representable one.
pub fn after(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time)
        .ok()
        .and_then(|time| at.checked_add(time).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Returns the point `time` before `at`, or the first representable one.
pub(crate) fn before(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time)
        .ok()
        .and_then(|time| at.checked_sub(time).ok())
        .unwrap_or(Timestamp::MIN)
}

/// Returns the time from `at` to `now`; zero if `at` is in the future, since clocks differ between machines.
pub fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or(Duration::ZERO)
}

/// Returns the first midnight in UTC after `now`.
pub fn next_midnight(now: Timestamp) -> Timestamp {
    let second = now.as_second();
    Timestamp::from_second((second.div_euclid(SECONDS_PER_DAY) + 1) * SECONDS_PER_DAY)
        .unwrap_or(Timestamp::MAX)
}

/// Returns the last midnight in UTC at or before `now`.
pub fn last_midnight(now: Timestamp) -> Timestamp {
    Timestamp::from_second(now.as_second().div_euclid(SECONDS_PER_DAY) * SECONDS_PER_DAY)
        .unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midnight_is_the_next_one() {
        let now: Timestamp = "2026-11-23T22:00:00Z".parse().unwrap();
        assert_eq!(next_midnight(now).to_string(), "2026-11-24T00:00:00Z");
        assert_eq!(last_midnight(now).to_string(), "2026-11-23T00:00:00Z");
    }

    #[test]
    fn the_future_has_no_age() {
        let now: Timestamp = "2026-11-23T22:00:00Z".parse().unwrap();
        assert_eq!(age(after(now, Duration::from_secs(5)), now), Duration::ZERO);
        assert_eq!(age(now, after(now, Duration::from_secs(5))), Duration::from_secs(5));
    }
}
