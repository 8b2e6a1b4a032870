//! The figures of a run.

use serde::Serialize;

use crate::time::hours;

/// The figures of one run, or the mean of several runs.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Outcome {
    /// Number of tasks in the load.
    pub tasks: f64,
    /// Tasks that were never finished.
    pub unserved_tasks: f64,
    /// How many times a task was interrupted and had to start again.
    pub interrupted_tasks: f64,
    /// From a task's creation to its first start.
    pub wait_seconds: Distribution,
    /// From a task's creation to its end, minus its run time.
    pub delay_seconds: Distribution,
    /// Instance-hours billed.
    pub instance_hours: f64,
    /// The part of `instance_hours` that was bought on demand.
    pub on_demand_hours: f64,
    /// The part of `instance_hours` that was spent on interrupted runs.
    pub lost_hours: f64,
    /// Hours of completed task runs per hour billed.
    pub utilisation: f64,
    /// Instances that came up.
    pub launches: f64,
    /// Requests that were cancelled before they were fulfilled.
    pub cancelled_requests: f64,
    /// The highest number of simultaneous instances.
    pub peak_instances: f64,
}

/// A distribution of times, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Distribution {
    /// The mean.
    pub mean: f64,
    /// Half of the times are not longer.
    pub p50: f64,
    /// 95 % of the times are not longer.
    pub p95: f64,
    /// 99 % of the times are not longer.
    pub p99: f64,
    /// The longest time.
    pub max: f64,
}

impl Distribution {
    /// Summarises times in milliseconds. All fields are zero without any.
    pub(super) fn of(mut millis: Vec<u64>) -> Self {
        let Some(last) = millis.len().checked_sub(1) else { return Self::default() };
        millis.sort_unstable();
        // The nearest rank: the smallest time that `percent` of the times do not exceed.
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

    /// Returns the mean of several outcomes, field by field. All fields are zero without any.
    pub fn mean(outcomes: &[Self]) -> Self {
        let mut mean = Self::default();
        let n = count(outcomes.len().max(1));
        for outcome in outcomes {
            let mut outcome = outcome.clone();
            for (sum, field) in mean.fields().into_iter().zip(outcome.fields()) {
                *sum += *field / n;
            }
        }
        mean
    }
}

/// The state of the worker type in one round, for plots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the beginning of the load.
    pub at: u64,
    /// Waiting tasks.
    pub pending: u64,
    /// Open requests.
    pub requested: u64,
    /// Booting instances.
    pub booting: u64,
    /// Instances without a task.
    pub idle: u64,
    /// Instances with a task.
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
        let waits = Distribution::of((1..=200).rev().map(|n| n * 1000).collect());
        assert_eq!((waits.p50, waits.p95, waits.p99, waits.max), (100.0, 190.0, 198.0, 200.0));
        assert!((waits.mean - 100.5).abs() < 1e-9);
        assert_eq!(Distribution::of(vec![7000]).p50, 7.0);
        assert_eq!(Distribution::of(Vec::new()), Distribution::default());
    }

    #[test]
    fn a_mean_is_taken_field_by_field() {
        let one = Outcome { launches: 2.0, ..Outcome::default() };
        let other = Outcome {
            launches: 4.0,
            wait_seconds: Distribution { p95: 5.0, ..Distribution::default() },
            ..Outcome::default()
        };
        let mean = Outcome::mean(&[one, other]);
        assert_eq!((mean.launches, mean.wait_seconds.p95), (3.0, 2.5));
        assert_eq!(Outcome::mean(&[]), Outcome::default());
    }
}
