//! Durations in a table: short, and only as exact as matters.

use std::time::Duration;

/// Writes an age: `95s`, `4m12s`, `62m`, `3h12m`, `47h`, `5d3h`, `12d`.
pub(super) fn age(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..600 if !seconds.is_multiple_of(60) => format!("{minutes}m{}s", seconds % 60),
        120..10_800 => format!("{minutes}m"),
        10_800..28_800 if !minutes.is_multiple_of(60) => format!("{hours}h{}m", minutes % 60),
        10_800..172_800 => format!("{hours}h"),
        172_800..691_200 if !hours.is_multiple_of(24) => format!("{days}d{}h", hours % 24),
        _ => format!("{days}d"),
    }
}

/// Writes how long something took: `340ms`, `1.2s`, `95s`.
pub(super) fn took(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{:.0}ms", seconds * 1000.0)
    } else if seconds < 9.95 {
        format!("{seconds:.1}s")
    } else {
        age(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (252, "4m12s"),
            (599, "9m59s"),
            (600, "10m"),
            (3_725, "62m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_520, "3h12m"),
            (28_800, "8h"),
            (172_799, "47h"),
            (172_800, "2d"),
            (442_800, "5d3h"),
            (864_000, "10d"),
        ] {
            assert_eq!(age(Duration::from_secs(seconds)), shown);
            assert!(shown.len() <= 6, "the column is as wide as its heading");
        }
    }

    #[test]
    fn rounds_take_their_time() {
        let shown = [0.0004, 0.34, 0.9996, 1.234, 9.96, 130.0].map(took);
        assert_eq!(shown, ["0ms", "340ms", "1.0s", "1.2s", "9s", "2m10s"]);
        assert!(took(f64::INFINITY).ends_with('d'));
    }
}
