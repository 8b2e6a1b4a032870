//! The numbers behind a decision, and the sentence that explains them.

use std::fmt;

use super::Comparison;
use crate::domain::plural;

/// The reason for a target. It holds only numbers, so that a round without actions formats no text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Why {
    /// One instance per waiting task that no instance has room for.
    Short,
    /// The estimator of worker-manager.
    WorkerManager {
        /// Instances per waiting task.
        ratio: f64,
    },
    /// The adaptive policy.
    Adaptive {
        /// Instances that tasks wait for and that do not boot yet.
        missing: u64,
        /// Requests for each of them.
        ask: f64,
        /// The number of startups from which that was learned.
        startups: u64,
        /// The median startup, in seconds.
        median: f64,
        /// The 90th percentile of the startups, in seconds.
        p90: f64,
        /// Instances that tasks need.
        demand: u64,
        /// Instances beyond the demand that are worth keeping.
        keep: u64,
        /// How many of these are worth launching.
        spare: u64,
        /// The worth of a second of waiting, in seconds of an instance.
        wait_cost: f64,
        /// The comparison from which that was learned, if it was learned.
        comparison: Option<Comparison>,
    },
}

impl fmt::Display for Why {
    /// Writes a sentence without a full stop; nothing if the numbers of the worker type explain the target.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Short => Ok(()),
            Self::WorkerManager { ratio } => write!(f, "{ratio} instances per waiting task"),
            Self::Adaptive {
                missing,
                ask,
                startups,
                median,
                p90,
                demand,
                keep,
                spare,
                wait_cost,
                comparison,
            } => {
                if missing > 0 && ask > 1.0 {
                    write!(
                        f,
                        "{ask} requests for each of {}, because of {startups} startups half took \
                         {median:.0} s and one in ten over {p90:.0} s; ",
                        plural::count(missing, "missing instance")
                    )?;
                }
                write!(
                    f,
                    "beyond the {demand} that tasks need, {} worth keeping and {spare} worth launching \
                     at wait-cost {wait_cost}",
                    plural::are(keep, "instance")
                )?;
                let Some(Comparison { wait, plain_wait, cost }) = comparison else {
                    return Ok(());
                };
                write!(
                    f,
                    ", with which tasks waited {wait:.0} s of late where workers that stay up idle \
                     would have let them wait {plain_wait:.0} s, for {:.0} % of their instance time",
                    100.0 * cost
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_decided_are_named() {
        let why = |comparison| Why::Adaptive {
            missing: 3,
            ask: 2.5,
            startups: 128,
            median: 88.4,
            p90: 160.2,
            demand: 14,
            keep: 5,
            spare: 2,
            wait_cost: 82.9,
            comparison,
        };
        let set = "2.5 requests for each of 3 missing instances, because of 128 startups half took 88 s and \
             one in ten over 160 s; beyond the 14 that tasks need, 5 instances are worth keeping and 2 \
             worth launching at wait-cost 82.9";
        assert_eq!(why(None).to_string(), set);
        let comparison = Comparison { wait: 44.2, plain_wait: 50.1, cost: 0.683 };
        let learned = ", with which tasks waited 44 s of late where workers that stay up idle would have \
                       let them wait 50 s, for 68 % of their instance time";
        assert_eq!(why(Some(comparison)).to_string(), format!("{set}{learned}"));
        assert_eq!(Why::Short.to_string(), "");
    }
}
