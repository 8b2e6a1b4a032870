//! Reading and writing lengths of time: all spellings that the programs accept and print.
//!
//! The configuration writes durations as `"45s"`, `"1h30m"`, `"500ms"`, `"7d"` or `"0s"`, read by [`parse`]
//! and written by [`format`]. jiff's friendly parser does not serve for that: it also accepts signs,
//! fractions, spaces and weeks, all of which are refused here, and knows no days without a calendar. Its
//! printer does serve for sentences ([`show`]). The other functions are for tables and reports.

use std::fmt::Write as _;
use std::time::Duration;

use jiff::fmt::friendly::{Spacing, SpanPrinter};

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration")]
pub struct InvalidDuration(String);

/// The longest duration accepted: ten years. Durations are added to the clock, which must not overflow,
/// and a longer one is a typing error.
pub(crate) const LONGEST: Duration = Duration::from_hours(24 * 3650);

/// The units and their milliseconds. A duration is written in this order, each unit at most once.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

const COMPACT: SpanPrinter = SpanPrinter::new().spacing(Spacing::None);

/// Reads a duration of at most ten years (`LONGEST`).
pub fn parse(text: &str) -> Result<Duration, InvalidDuration> {
    parse_millis(text)
        .map(Duration::from_millis)
        .filter(|duration| *duration <= LONGEST)
        .ok_or_else(|| InvalidDuration(text.to_owned()))
}

fn parse_millis(text: &str) -> Option<u64> {
    let mut total = 0_u64;
    let mut units = UNITS.iter();
    let mut rest = text;
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let unit_len =
            after.len() - after.trim_start_matches(|c: char| c.is_ascii_lowercase()).len();
        let (unit, next) = after.split_at(unit_len);
        // The iterator continues after the last unit, which enforces the order and that no unit occurs twice.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        if next.is_empty() {
            return Some(total);
        }
        rest = next;
    }
}

/// Writes a duration as the configuration does, to the millisecond, so that [`parse`] reads it back.
pub fn format(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut out = String::new();
    for (name, millis) in UNITS {
        let n = rest / u128::from(millis);
        rest %= u128::from(millis);
        if n > 0 {
            // Writing to a String cannot fail.
            let _ = write!(out, "{n}{name}");
        }
    }
    if out.is_empty() { "0s".to_owned() } else { out }
}

/// Writes a duration in seconds alone (`900s`, `0.5s`), for scripts.
pub(crate) fn in_seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
}

/// Writes a duration for a sentence, in whole seconds: `45s`, `15m`, `1h30m`, `49h`.
pub fn show(duration: Duration) -> String {
    COMPACT.unsigned_duration_to_string(&Duration::from_secs(duration.as_secs()))
}

/// Writes a duration for a table, short and no more exact than it matters: `95s`, `4m12s`, `62m`, `3h12m`,
/// `47h`, `5d3h`, `12d`.
pub fn brief(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    let hours = seconds / 3600;
    let days = seconds / 86_400;
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

/// Writes how long something took, for a table: `340ms`, `1.2s`, and from ten seconds as [`brief`] does.
pub fn brief_seconds(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{:.0}ms", seconds * 1000.0)
    } else if seconds < 9.95 {
        format!("{seconds:.1}s")
    } else {
        brief(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
    }
}

/// Writes an average of durations for a report: `60 s`, `13 min`, `4.5 h`.
pub fn rounded(seconds: f64) -> String {
    if seconds < 600.0 {
        format!("{seconds:.0} s")
    } else if seconds < 3.0 * 3600.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_documented_forms_are_read() {
        for (text, millis) in [
            ("45s", 45_000),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("1h30m", 5_400_000),
            ("500ms", 500),
            ("0s", 0),
            ("7d", 604_800_000),
            ("90m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "+1s",
            " 1s",
            "1s ",
            "1 s",
            "1S",
            "1w",
            "30m1h",
            "1s1s",
            "1h-30m",
            "99999999999999999999s",
            "99999999999999999d",
            "3651d",
            "1µs",
            "٣s",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn scripts_get_seconds() {
        assert_eq!(in_seconds(Duration::from_mins(15)), "900s");
        assert_eq!(in_seconds(Duration::from_millis(1500)), "1.5s");
        assert_eq!(in_seconds(Duration::ZERO), "0s");
    }

    #[test]
    fn sentences_get_whole_seconds() {
        for (seconds, shown) in
            [(0.9, "0s"), (45.0, "45s"), (5_400.0, "1h30m"), (61.0, "1m1s"), (176_401.0, "49h1s")]
        {
            assert_eq!(show(Duration::from_secs_f64(seconds)), shown);
        }
    }

    #[test]
    fn tables_get_short_durations() {
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
            assert_eq!(brief(Duration::from_secs(seconds)), shown);
            assert!(shown.len() <= 6, "the column is as wide as its heading");
        }
        let shown = [0.0004, 0.34, 0.9996, 1.234, 9.96, 130.0].map(brief_seconds);
        assert_eq!(shown, ["0ms", "340ms", "1.0s", "1.2s", "9s", "2m10s"]);
        assert!(brief_seconds(f64::INFINITY).ends_with('d'));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(millis in 0..=3650_u64 * 86_400_000) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "[0-9dhms. -]{0,24}|.*") {
            let _ = parse(&text);
        }
    }
}
