//! The display of `provisionerd demo`.

mod frame;
mod lines;
mod summary;

pub(crate) use frame::Frame;
pub(crate) use lines::{line, state};
pub(crate) use summary::SummaryView;

use std::time::Duration;

use provisioner::internal::domain::duration;

/// Writes a time of day.
fn of_day(at: jiff::Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

/// Writes a number of seconds with units.
fn seconds(seconds: f64) -> String {
    Duration::try_from_secs_f64(seconds.round()).map_or_else(|_| "?".to_owned(), duration::show)
}

/// Writes a count with separators between thousands.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(seconds(61.4), "1m1s");
    }
}
