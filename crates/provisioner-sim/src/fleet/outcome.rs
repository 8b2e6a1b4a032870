//! What a run came to.

use serde::Serialize;

use super::bounds::hours;

/// What a run came to, or the mean of several.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Tasks of the load.
    pub tasks: f64,
    /// Tasks that were never finished.
    pub unserved_tasks: f64,
    /// How many times a task was interrupted, and began anew.
    pub interrupted_tasks: f64,
    /// From a task's creation to its (first) start.
    pub wait_seconds: Waits,
    /// From a task's creation to its end, without its run time.
    pub delay_seconds: Waits,
    /// Hours billed.
    pub instance_hours: f64,
    /// Of these, on demand.
    pub on_demand_hours: f64,
    /// Of these, for runs that were interrupted.
    pub lost_hours: f64,
    /// Hours that tasks ran to their end, per hour billed.
    pub utilisation: f64,
    /// Instances that came up.
    pub launches: f64,
    /// Requests that were cancelled before an instance came of them.
    pub cancelled_requests: f64,
    /// Most instances at a time.
    pub peak_instances: f64,
}

/// A distribution of times, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Waits {
    /// The mean.
    pub mean: f64,
    /// Half are not longer.
    pub p50: f64,
    /// 95 % are not longer.
    pub p95: f64,
    /// 99 % are not longer.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

impl Waits {
    /// Of these times in milliseconds. All zero if there are none.
    pub(super) fn of(mut millis: Vec<u64>) -> Self {
        let Some(last) = millis.len().checked_sub(1) else { return Self::default() };
        millis.sort_unstable();
        // The nearest rank: the smallest time that so many percent do not exceed.
        let at = |percent: usize| {
            let rank = ((last + 1) * percent).div_ceil(100);
            seconds(millis[rank.saturating_sub(1).min(last)])
        };
        Self {
            mean: seconds(millis.iter().sum()) / count(millis.len()),
            p50: at(50),
            p95: at(95),
            p99: at(99),
            max: at(100),
        }
    }

    fn fields(&mut self) -> [&mut f64; 5] {
        let Self { mean, p50, p95, p99, max } = self;
        [mean, p50, p95, p99, max]
    }
}

impl Outcome {
    fn fields(&mut self) -> Vec<&mut f64> {
        let Self {
            tasks,
            unserved_tasks,
            interrupted_tasks,
            wait_seconds,
            delay_seconds,
            instance_hours,
            on_demand_hours,
            lost_hours,
            utilisation,
            launches,
            cancelled_requests,
            peak_instances,
        } = self;
        let mut fields = vec![
            tasks,
            unserved_tasks,
            interrupted_tasks,
            instance_hours,
            on_demand_hours,
            lost_hours,
            utilisation,
            launches,
            cancelled_requests,
            peak_instances,
        ];
        fields.extend(wait_seconds.fields());
        fields.extend(delay_seconds.fields());
        fields
    }

    /// The mean of several, field by field. All zero if there are none.
    pub fn mean(of: &[Self]) -> Self {
        let mut mean = Self::default();
        let n = count(of.len().max(1));
        for outcome in of {
            let mut outcome = outcome.clone();
            for (sum, field) in mean.fields().into_iter().zip(outcome.fields()) {
                *sum += *field / n;
            }
        }
        mean
    }
}

/// One worker type at one moment, for plots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// When, in milliseconds.
    pub at: u64,
    /// Tasks that wait.
    pub pending: u64,
    /// Instances asked for.
    pub requested: u64,
    /// Instances that boot.
    pub booting: u64,
    /// Instances that run no task.
    pub idle: u64,
    /// Instances that run a task.
    pub busy: u64,
}

fn seconds(millis: u64) -> f64 {
    hours(millis) * 3600.0
}

#[expect(clippy::cast_precision_loss, reason = "numbers of tasks")]
pub(super) fn count(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "whole numbers")]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let waits = Waits::of((1..=200).rev().map(|n| n * 1000).collect());
        assert_eq!((waits.p50, waits.p95, waits.p99, waits.max), (100.0, 190.0, 198.0, 200.0));
        assert!((waits.mean - 100.5).abs() < 1e-9);
        assert_eq!(Waits::of(vec![7000]).p50, 7.0);
        assert_eq!(Waits::of(Vec::new()), Waits::default());
    }

    #[test]
    fn a_mean_is_taken_field_by_field() {
        let one = Outcome { launches: 2.0, ..Outcome::default() };
        let other = Outcome {
            launches: 4.0,
            wait_seconds: Waits { p95: 5.0, ..Waits::default() },
            ..Outcome::default()
        };
        let mean = Outcome::mean(&[one, other]);
        assert_eq!((mean.launches, mean.wait_seconds.p95), (3.0, 2.5));
        assert_eq!(Outcome::mean(&[]), Outcome::default());
    }
}
