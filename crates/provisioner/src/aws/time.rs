//! Converts times between the SDK's type and jiff's.

use aws_sdk_ec2::primitives::DateTime;
use jiff::Timestamp;

/// Converts a time from EC2. Returns `None` outside jiff's range, which ends with the year 9999.
pub(crate) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    let nanos = i32::try_from(time.subsec_nanos()).ok()?;
    Timestamp::new(time.secs(), nanos).ok()
}

/// Converts a time for EC2, which takes full seconds.
pub(crate) fn date_time(time: Timestamp) -> DateTime {
    DateTime::from_secs(time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_both_conversions() {
        let time: Timestamp = "2026-11-23T12:34:56Z".parse().unwrap();
        assert_eq!(timestamp(&date_time(time)), Some(time));
        assert_eq!(timestamp(&DateTime::from_secs(i64::MAX)), None);
    }
}
