//! Times, between the SDK's type and jiff's.

use aws_sdk_ec2::primitives::DateTime;
use jiff::Timestamp;

/// A time from EC2. One outside jiff's range (year 9999) is none.
pub(crate) fn timestamp(time: &DateTime) -> Option<Timestamp> {
    let nanos = i32::try_from(time.subsec_nanos()).ok()?;
    Timestamp::new(time.secs(), nanos).ok()
}

/// A time for EC2, in whole seconds as it takes them.
pub(crate) fn date_time(time: Timestamp) -> DateTime {
    DateTime::from_secs(time.as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_there_and_back() {
        let time: Timestamp = "2026-11-23T12:34:56Z".parse().unwrap();
        assert_eq!(timestamp(&date_time(time)), Some(time));
        assert_eq!(timestamp(&DateTime::from_secs(i64::MAX)), None);
    }
}
