//! Simulated times are whole milliseconds; results are in hours.

use std::time::Duration;

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "2^53 ms are 285,000 years")]
pub(crate) fn hours(millis: u64) -> f64 {
    millis as f64 / 3.6e6
}
