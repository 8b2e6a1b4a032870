//! Durations as the configuration writes them: `"45s"`, `"1h30m"`, `"500ms"`, `"7d"`, `"0s"`.

use std::fmt::Write as _;
use std::time::Duration;

/// Text that is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration")]
pub struct InvalidDuration(String);

/// The longest duration taken. Times are added to the clock, which must not run over; and more is a
/// slip of the pen.
pub const LONGEST: Duration = Duration::from_hours(24 * 3650);

/// Largest first: a duration is written in this order, each unit at most once.
const UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// Reads a duration of at most [`LONGEST`].
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
        // The iterator goes on from the last unit: order and "once only" in one.
        let (_, millis) = units.find(|(name, _)| *name == unit)?;
        total = total.checked_add(number.parse::<u64>().ok()?.checked_mul(*millis)?)?;
        if next.is_empty() {
            return Some(total);
        }
        rest = next;
    }
}

/// Writes a duration so that [`parse`] reads it back, to the millisecond.
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

/// Writes a duration in seconds alone (`900s`), for scripts; `0.5s` below one.
pub fn in_seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f64())
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
