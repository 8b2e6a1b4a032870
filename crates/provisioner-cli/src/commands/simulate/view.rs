//! The comparison as people and programs read it.

use std::fmt;

use provisioner_sim::load::Load;
use provisioner_sim::report::{Comparison, Contender, Standing};
use serde::Serialize;

use crate::output::{self, Report};

/// `simulate --output json`, and the tables.
#[derive(Debug, Serialize)]
pub(super) struct View {
    #[serde(flatten)]
    comparison: Comparison,
    usd_per_instance_hour: f64,
    #[serde(skip)]
    hours: f64,
    #[serde(skip)]
    round: String,
}

impl View {
    pub(super) fn new(comparison: Comparison, load: &Load, contenders: &[Contender]) -> Self {
        let first = contenders.first();
        Self {
            comparison,
            usd_per_instance_hour: first.map_or(1.0, |it| it.usd_per_hour),
            hours: hours(load.span()),
            round: first.map(|it| super::duration::format(it.setup.round)).unwrap_or_default(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
fn hours(millis: u64) -> f64 {
    millis as f64 / 3.6e6
}

/// How much more or less than the first, in whole percent.
fn beside(value: f64, first: f64) -> String {
    let change = 100.0 * (value / first - 1.0);
    if (value - first).abs() < f64::EPSILON {
        String::new()
    } else if change.is_finite() {
        format!("{change:+.0} %")
    } else {
        "-".to_owned()
    }
}

impl Report for View {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { load, world, seeds, bounds, policies } = &self.comparison;
        let Some(first) = policies.first() else { return Ok(()) };
        let tasks = first.outcome.tasks;
        writeln!(
            f,
            "{load}: {tasks} tasks in {:.1} h; world {world}, a round every {}, means of {seeds} \
             {}",
            self.hours,
            self.round,
            if *seeds == 1 { "seed" } else { "seeds" }
        )?;
        writeln!(
            f,
            "bounds: {:.1} instance-hours for the tasks alone, {:.1} without waiting and knowing \
             the future\n",
            bounds.busy_hours, bounds.clairvoyant_hours
        )?;
        let header =
            ["POLICY", "HOURS", "", "OF BOUND", "USD", "USED", "LAUNCHES", "", "PEAK", "LOST H"];
        let clairvoyant = bounds.clairvoyant_hours;
        output::write_table(
            f,
            header,
            policies.iter().map(|Standing { policy, outcome, cost_usd }| {
                [
                    policy.clone(),
                    format!("{:.1}", outcome.instance_hours),
                    beside(outcome.instance_hours, first.outcome.instance_hours),
                    format!("{:.2}", outcome.instance_hours / clairvoyant),
                    format!("{cost_usd:.2}"),
                    format!("{:.0} %", 100.0 * outcome.utilisation),
                    format!("{:.0}", outcome.launches),
                    beside(outcome.launches, first.outcome.launches),
                    format!("{:.0}", outcome.peak_instances),
                    format!("{:.1}", outcome.lost_hours),
                ]
            }),
        )?;
        writeln!(f)?;
        let header =
            ["POLICY", "WAIT", "", "P50", "P95", "", "P99", "MAX", "DELAY", "P95", "UNSERVED"];
        output::write_table(
            f,
            header,
            policies.iter().map(|Standing { policy, outcome, .. }| {
                let (wait, delay) = (&outcome.wait_seconds, &outcome.delay_seconds);
                [
                    policy.clone(),
                    format!("{:.1}", wait.mean),
                    beside(wait.mean, first.outcome.wait_seconds.mean),
                    format!("{:.0}", wait.p50),
                    format!("{:.0}", wait.p95),
                    beside(wait.p95, first.outcome.wait_seconds.p95),
                    format!("{:.0}", wait.p99),
                    format!("{:.0}", wait.max),
                    format!("{:.1}", delay.mean),
                    format!("{:.0}", delay.p95),
                    format!("{:.0}", outcome.unserved_tasks),
                ]
            }),
        )?;
        writeln!(
            f,
            "\nWaiting and delay in seconds; USD at {} per instance-hour; percent are beside {}",
            self.usd_per_instance_hour, first.policy
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beside_the_first_is_told_in_percent() {
        assert_eq!(beside(80.0, 100.0), "-20 %");
        assert_eq!(beside(100.0, 100.0), "");
        assert_eq!(beside(125.4, 100.0), "+25 %");
        assert_eq!(beside(1.0, 0.0), "-");
    }
}
