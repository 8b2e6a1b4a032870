//! How long the soak lasts.

use std::time::Duration;

/// The length without `PROVISIONER_SOAK`, which every test run can afford.
const SHORT: Duration = Duration::from_secs(20);

/// From this length on there is time for calls that hang longer than the daemon waits for them, and for
/// figures that hold for a day.
const LONG: Duration = Duration::from_mins(10);

/// How long, and how hard.
#[derive(Clone, Copy, Debug)]
pub(super) struct Length {
    pub(super) whole: Duration,
}

impl Length {
    /// Reads `PROVISIONER_SOAK`: a number with `s`, `m` or `h`.
    pub(super) fn from_env() -> Self {
        let whole = std::env::var("PROVISIONER_SOAK").map_or(SHORT, |text| {
            parse(&text).unwrap_or_else(|| {
                panic!("PROVISIONER_SOAK={text:?} is no duration; write it like 30s, 10m or 1h")
            })
        });
        Self { whole }
    }

    pub(super) fn is_long(self) -> bool {
        self.whole >= LONG
    }

    /// The percentage of describe calls that fail. In a long soak that makes about one percent of all calls; a
    /// short soak makes too few calls to meet many kinds of failure at that rate.
    pub(super) fn per_cent(self) -> f64 {
        if self.is_long() { 0.5 } else { 8.0 }
    }

    /// How long a hanging call hangs. The daemon waits 30 s for an answer.
    pub(super) fn hang(self) -> Duration {
        if self.is_long() { Duration::from_secs(35) } else { Duration::from_millis(1_500) }
    }

    /// Returns this percentage of the length.
    pub(super) fn part(self, per_cent: u32) -> Duration {
        self.whole * per_cent / 100
    }
}

fn parse(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    let unit = match unit {
        "s" => Duration::from_secs(1),
        "m" => Duration::from_mins(1),
        "h" => Duration::from_hours(1),
        _ => return None,
    };
    Some(unit * number)
}

#[test]
fn lengths_have_a_unit() {
    assert_eq!(parse("90s"), Some(Duration::from_secs(90)));
    assert_eq!(parse("10m"), Some(Duration::from_mins(10)));
    assert_eq!(parse("1h"), Some(Duration::from_hours(1)));
    for other in ["", "h", "5", "0s", "-1s", "1d", "1.5h", "1µ"] {
        assert_eq!(parse(other), None, "{other}");
    }
}
