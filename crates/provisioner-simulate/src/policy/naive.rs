//! The rules of 2014 as they were (mozilla/aws-provisioner), for comparison. They count every instance as
//! busy and do not credit booting ones, so that tasks that wait for a boot lead to further requests.

use provisioner::internal::policy::Situation;

/// Returns how many requests should be open. With P pending tasks, S open requests, R instances and a maximum
/// M, these rules cancel `max(0, S-P, S+R-M)` requests and make `min(max(0, P-S), M-S-R)` new ones.
pub(super) fn coming(situation: &Situation) -> u64 {
    let Situation { pending, requested, max, booting, idle, busy, unknown, stopping, .. } =
        *situation;
    let there = requested + booting + idle + busy + unknown + stopping;
    let cancelled = requested.saturating_sub(pending).max(there.saturating_sub(max));
    let asked = pending.saturating_sub(requested).min(max.saturating_sub(there));
    requested.saturating_sub(cancelled) + asked
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn booting_instances_are_not_credited_and_the_maximum_is_kept() {
        let coming = |pending, requested, booting| {
            let nothing = Situation::nothing(Timestamp::UNIX_EPOCH);
            coming(&Situation { pending, requested, booting, max: 20, ..nothing })
        };
        assert_eq!(coming(5, 0, 5), 5, "5 more, round after round");
        assert_eq!(coming(5, 5, 5), 5);
        assert_eq!(coming(5, 5, 15), 5);
        assert_eq!(coming(5, 0, 18), 2);
        assert_eq!(coming(2, 5, 0), 2, "three are cancelled");
        assert_eq!(coming(9, 5, 18), 2, "over the maximum");
        assert_eq!(coming(0, 0, 0), 0);
    }
}
