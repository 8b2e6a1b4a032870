//! How the world misbehaves.

use std::time::Duration;

/// Percentages of cases, and longest delays. The default is a world without faults.
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
    /// Looks that fail.
    pub blind: u64,
    /// Looks whose pages shift while they are read: records show twice, and in another order.
    pub shifted: u64,
    /// Launching calls refused for want of capacity.
    pub no_capacity: u64,
    /// Launching calls granted in part.
    pub partial: u64,
    /// Requests that wait for ever.
    pub never_filled: u64,
    /// Bulk calls that fail as a whole by one id that EC2 does not know (any more).
    pub bulk_not_found: u64,
    /// Instances whose worker never claims a task.
    pub never_claims: u64,
    /// Instances that EC2 takes back within 20 minutes, with an interruption notice.
    pub interrupted: u64,
    /// Writes to the disk that fail.
    pub disk: u64,
    /// How long describe calls lag at most.
    pub lag: Duration,
    /// How long a request waits at most for its instance.
    pub fill: Duration,
    /// How long an answer takes at most.
    pub slow: Duration,
}
