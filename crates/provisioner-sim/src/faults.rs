//! The faults of the world.

use std::time::Duration;

use provisioner::internal::domain::duration;

/// Probabilities in percent, and maximum delays. The default is a world without faults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Calls that never reach EC2.
    pub lost_before: u64,
    /// Calls whose answer is lost after their effect.
    pub lost_after: u64,
    /// Calls that the network delivers twice, one after the other.
    pub duplicated: u64,
    /// Calls refused by throttling, whatever the buckets hold.
    pub throttled: u64,
    /// Observations that fail.
    pub blind: u64,
    /// Observations whose pages shift while they are read, so that records appear twice and in another order.
    pub shifted: u64,
    /// Requests that find no capacity for some minutes.
    pub no_capacity: u64,
    /// Evaluations of waiting requests that move the time of the status, although the status stays.
    pub status_moves: u64,
    /// Launching calls that are granted in part.
    pub partial: u64,
    /// Requests that wait forever.
    pub never_filled: u64,
    /// Bulk calls that fail completely because EC2 does not know one of the ids.
    pub bulk_not_found: u64,
    /// Instances whose worker never claims a task.
    pub never_claims: u64,
    /// Instances that EC2 interrupts within 20 minutes, with a notice.
    pub interrupted: u64,
    /// Writes to the disk that fail.
    pub disk: u64,
    /// Pages of describe calls that show the past, because another replica answers.
    pub backwards: u64,
    /// Answers of the queue that are wrong: nothing waits, running tasks still wait, a machine's task is
    /// missing, elements are malformed or of unknown worker types, or there is no `workerId`.
    pub queue_wrong: u64,
    /// The maximum lag of describe calls.
    pub lag: Duration,
    /// The maximum time until a request is fulfilled.
    pub fill: Duration,
    /// The maximum time that an answer takes.
    pub slow: Duration,
    /// The maximum age of what a page in `backwards` shows.
    pub back: Duration,
    /// The maximum time that the queue takes to answer. The client gives up after [`QUEUE_TIMEOUT`].
    pub queue_slow: Duration,
}

/// The default of `queue.timeout`.
pub const QUEUE_TIMEOUT: Duration = Duration::from_secs(10);

impl Faults {
    /// The names of all faults.
    pub const KINDS: [&str; 21] = [
        "lost-before",
        "lost-after",
        "duplicated",
        "throttled",
        "blind",
        "shifted",
        "no-capacity",
        "status-moves",
        "partial",
        "never-filled",
        "bulk-not-found",
        "never-claims",
        "interrupted",
        "disk",
        "backwards",
        "queue-wrong",
        "lag",
        "fill",
        "slow",
        "back",
        "queue-slow",
    ];

    /// Sets a fault by its name (`lost-after`), in percent or as a time (`45s`).
    ///
    /// # Errors
    ///
    /// There is no such fault, or the value is invalid.
    pub fn set(&mut self, kind: &str, value: &str) -> Result<(), String> {
        let percent = || match value.trim_end_matches('%').parse() {
            Ok(percent @ 0..=100) => Ok(percent),
            _ => Err(format!("`{value}` is not a percentage")),
        };
        let time = || duration::parse(value).map_err(|error| format!("`{value}`: {error}"));
        match kind {
            "lost-before" => self.lost_before = percent()?,
            "lost-after" => self.lost_after = percent()?,
            "duplicated" => self.duplicated = percent()?,
            "throttled" => self.throttled = percent()?,
            "blind" => self.blind = percent()?,
            "shifted" => self.shifted = percent()?,
            "no-capacity" => self.no_capacity = percent()?,
            "status-moves" => self.status_moves = percent()?,
            "partial" => self.partial = percent()?,
            "never-filled" => self.never_filled = percent()?,
            "bulk-not-found" => self.bulk_not_found = percent()?,
            "never-claims" => self.never_claims = percent()?,
            "interrupted" => self.interrupted = percent()?,
            "disk" => self.disk = percent()?,
            "backwards" => self.backwards = percent()?,
            "queue-wrong" => self.queue_wrong = percent()?,
            "lag" => self.lag = time()?,
            "fill" => self.fill = time()?,
            "slow" => self.slow = time()?,
            "back" => self.back = time()?,
            "queue-slow" => self.queue_slow = time()?,
            _ => return Err(format!("`{kind}` is not a fault")),
        }
        Ok(())
    }

    /// Ends a fault by its name.
    ///
    /// # Errors
    ///
    /// There is no such fault.
    pub fn end(&mut self, kind: &str) -> Result<(), String> {
        self.set(kind, "0%").or_else(|_| self.set(kind, "0s"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_can_be_set_and_ended() {
        for kind in Faults::KINDS {
            let mut faults = Faults::default();
            faults.set(kind, "7%").or_else(|_| faults.set(kind, "7s")).unwrap();
            assert_ne!(faults, Faults::default(), "{kind}");
            faults.end(kind).unwrap();
            assert_eq!(faults, Faults::default(), "{kind}");
        }
        assert_eq!(Faults::default().end("x").unwrap_err(), "`x` is not a fault");
    }
}
