//! The comparison as people and programs read it.

use std::fmt;

use provisioner_simulate::load::Load;
use provisioner_simulate::report::{Comparison, Contender, PolicyResult};
use provisioner_simulate::spot::OnDemand;
use serde::Serialize;

use super::advice::Advice;
use super::market::ALONE;
use crate::output::{self, Report};

/// `simulate --output json`, and the tables.
#[derive(Debug, Serialize)]
pub(super) struct View {
    #[serde(flatten)]
    comparison: Comparison,
    usd_per_instance_hour: f64,
    /// The first policy, where instances are bought in other ways.
    #[serde(skip_serializing_if = "Option::is_none")]
    otherwise: Option<Vec<PolicyResult>>,
    advice: Advice,
    #[serde(skip)]
    on_demand: f64,
    #[serde(skip)]
    hours: f64,
    #[serde(skip)]
    round: String,
}

impl View {
    pub(super) fn new(
        comparison: Comparison,
        otherwise: Option<Vec<PolicyResult>>,
        advice: Advice,
        load: &Load,
        contenders: &[Contender],
    ) -> Self {
        let first = contenders.first();
        Self {
            comparison,
            otherwise,
            advice,
            usd_per_instance_hour: first.map_or(1.0, |it| it.usd_per_hour),
            on_demand: first
                .and_then(|it| it.setup.market.as_ref()?.on_demand())
                .map_or(OnDemand::USUAL.price, |it| it.price),
            hours: hours(load.span()),
            round: first.map(|it| super::duration::format(it.setup.round)).unwrap_or_default(),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "for display")]
pub(super) fn hours(millis: u64) -> f64 {
    millis as f64 / 3.6e6
}

/// What stands beside a policy's name in a plot.
pub(super) fn in_short(standing: &PolicyResult) -> String {
    let PolicyResult { outcome, .. } = standing;
    format!(
        "{:.0} instance-hours · {:.0} launches · waiting {:.0} s on average, {:.0} s in one of 20 cases",
        outcome.instance_hours,
        outcome.launches,
        outcome.wait_seconds.mean,
        outcome.wait_seconds.p95
    )
}

/// How many times `of`; there may be none.
fn times(value: f64, of: f64) -> String {
    if of > 0.0 { format!("{:.2}", value / of) } else { "-".to_owned() }
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
            policies.iter().map(|PolicyResult { policy, outcome, cost_usd }| {
                [
                    policy.clone(),
                    format!("{:.1}", outcome.instance_hours),
                    beside(outcome.instance_hours, first.outcome.instance_hours),
                    times(outcome.instance_hours, clairvoyant),
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
            policies.iter().map(|PolicyResult { policy, outcome, .. }| {
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
        if let Some(otherwise) = &self.otherwise {
            self.bought(f, otherwise)?;
        }
        writeln!(
            f,
            "\nWaiting and delay in seconds; USD at {} per instance-hour; percent are beside {}",
            self.usd_per_instance_hour, first.policy
        )?;
        write!(f, "\nIn plain words:\n{}", self.advice)
    }
}

impl View {
    /// What becomes of the first policy where instances are bought otherwise, beside the policies.
    fn bought(&self, f: &mut fmt::Formatter<'_>, otherwise: &[PolicyResult]) -> fmt::Result {
        let policies = &self.comparison.policies;
        // One pool alone is what a fleet has that knows nothing of zones.
        let alone = otherwise.iter().filter(|it| it.policy.starts_with(ALONE));
        let Some(best) = alone
            .min_by(|a, b| a.outcome.delay_seconds.mean.total_cmp(&b.outcome.delay_seconds.mean))
        else {
            return Ok(());
        };
        let units = |it: &PolicyResult| it.cost_usd / self.usd_per_instance_hour;
        writeln!(f, "\nHow instances are bought, held against `{}`:\n", best.policy)?;
        let header = ["BOUGHT", "UNITS", "", "ON DEMAND H", "DELAY", "", "INTERRUPTED", "UNSERVED"];
        output::write_table(
            f,
            header,
            policies.iter().chain(otherwise).map(|it| {
                let outcome = &it.outcome;
                [
                    it.policy.clone(),
                    format!("{:.0}", units(it)),
                    format!("{}x", times(units(it), units(best))),
                    format!("{:.1}", outcome.on_demand_hours),
                    format!("{:.1}", outcome.delay_seconds.mean),
                    format!(
                        "{}x",
                        times(outcome.delay_seconds.mean, best.outcome.delay_seconds.mean)
                    ),
                    format!("{:.0}", outcome.interrupted_tasks),
                    format!("{:.0}", outcome.unserved_tasks),
                ]
            }),
        )?;
        writeln!(
            f,
            "A unit is an hour of a spot instance; one on demand costs {:.0}",
            self.on_demand
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
