//! Arithmetic on points in time that saturates instead of panicking.
//!
//! Nothing here reads a clock: `now` is an argument everywhere in the core.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

/// `at` and `time` later, or the last representable instant.
pub fn after(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time)
        .ok()
        .and_then(|time| at.checked_add(time).ok())
        .unwrap_or(Timestamp::MAX)
}

/// `at` and `time` earlier, or the first representable instant.
pub fn before(at: Timestamp, time: Duration) -> Timestamp {
    SignedDuration::try_from(time)
        .ok()
        .and_then(|time| at.checked_sub(time).ok())
        .unwrap_or(Timestamp::MIN)
}

/// How long before `now` it was; zero if it lies ahead (clocks differ between machines).
pub fn age(at: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(at)).unwrap_or(Duration::ZERO)
}

/// The next midnight in UTC.
pub fn next_midnight(now: Timestamp) -> Timestamp {
    const DAY: i64 = 24 * 60 * 60;
    let second = now.as_second();
    Timestamp::from_second((second.div_euclid(DAY) + 1) * DAY).unwrap_or(Timestamp::MAX)
}

/// The midnight in UTC at or before `now`.
pub fn last_midnight(now: Timestamp) -> Timestamp {
    const DAY: i64 = 24 * 60 * 60;
    Timestamp::from_second(now.as_second().div_euclid(DAY) * DAY).unwrap_or(Timestamp::MIN)
}

/// A duration as people write it: `45s`, `15m`, `1h30m`.
pub fn show(time: Duration) -> String {
    let seconds = time.as_secs();
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match (h, m, s) {
        (0, 0, s) => format!("{s}s"),
        (0, m, 0) => format!("{m}m"),
        (0, m, s) => format!("{m}m{s}s"),
        (h, 0, 0) => format!("{h}h"),
        (h, m, 0) => format!("{h}h{m}m"),
        (h, m, s) => format!("{h}h{m}m{s}s"),
    }
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

    #[test]
    fn durations_read_well() {
        assert_eq!(show(Duration::from_secs(45)), "45s");
        assert_eq!(show(Duration::from_mins(90)), "1h30m");
        assert_eq!(show(Duration::from_secs(61)), "1m1s");
    }
}
