//! The comparison as text and JSON.

use std::fmt;

use provisioner::internal::domain::plural;
use provisioner_simulate::load::Load;
use provisioner_simulate::report::{Comparison, Contender, PolicyResult};
use provisioner_simulate::spot::OnDemand;
use serde::Serialize;

use super::advice::Advice;
use super::market::ALONE;
use crate::output::{self, Report};

/// The contract of `simulate --output json`, and the tables.
#[derive(Debug, Serialize)]
pub(super) struct View {
    #[serde(flatten)]
    comparison: Comparison,
    usd_per_instance_hour: f64,
    /// The first policy with the alternative ways to buy instances in world Z.
    #[serde(rename = "otherwise", skip_serializing_if = "Option::is_none")]
    alternatives: Option<Vec<PolicyResult>>,
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
        alternatives: Option<Vec<PolicyResult>>,
        advice: Advice,
        load: &Load,
        contenders: &[Contender],
    ) -> Self {
        let first = contenders.first();
        Self {
            comparison,
            alternatives,
            advice,
            usd_per_instance_hour: first.map_or(1.0, |contender| contender.usd_per_hour),
            on_demand: first
                .and_then(|contender| contender.setup.market.as_ref()?.on_demand())
                .map_or(OnDemand::USUAL.price, |on_demand| on_demand.price),
            hours: load.span_hours(),
            round: first
                .map(|contender| super::duration::format(contender.setup.round))
                .unwrap_or_default(),
        }
    }
}

/// Returns the text beside a policy's name in a plot.
pub(super) fn in_short(standing: &PolicyResult) -> String {
    let PolicyResult { outcome, .. } = standing;
    format!(
        "{:.0} instance-hours · {:.0} launches · waiting {:.0} s on average, over {:.0} s in one of 20 cases",
        outcome.instance_hours,
        outcome.launches,
        outcome.wait_seconds.mean,
        outcome.wait_seconds.p95
    )
}

/// Returns `value` as a multiple of `of`, which may be 0.
fn times(value: f64, of: f64) -> String {
    if of > 0.0 { format!("{:.2}", value / of) } else { "-".to_owned() }
}

/// Returns how much more or less than the first it is, in whole percent.
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
            "{load}: {tasks} tasks in {:.1} h; world {world}, a round every {}, means of {}",
            self.hours,
            self.round,
            plural::count(*seeds, "seed")
        )?;
        writeln!(
            f,
            "bounds: {:.1} instance-hours for the tasks alone, {:.1} without waiting and with \
             knowledge of the future\n",
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
                let wait = &outcome.wait_seconds;
                let delay = &outcome.delay_seconds;
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
        if let Some(alternatives) = &self.alternatives {
            self.write_alternatives(f, alternatives)?;
        }
        writeln!(
            f,
            "\nWaits and delays are in seconds, USD at {} per instance-hour, and percentages relative to {}",
            self.usd_per_instance_hour, first.policy
        )?;
        write!(f, "\nIn plain words:\n{}", self.advice)
    }
}

impl View {
    /// Writes the table of the policies and of the alternative ways to buy for the first one.
    fn write_alternatives(
        &self,
        f: &mut fmt::Formatter<'_>,
        alternatives: &[PolicyResult],
    ) -> fmt::Result {
        let policies = &self.comparison.policies;
        // A provisioner that does not choose among zones buys in one pool.
        let alone = alternatives.iter().filter(|standing| standing.policy.starts_with(ALONE));
        let Some(best) = alone
            .min_by(|a, b| a.outcome.delay_seconds.mean.total_cmp(&b.outcome.delay_seconds.mean))
        else {
            return Ok(());
        };
        let units = |standing: &PolicyResult| standing.cost_usd / self.usd_per_instance_hour;
        writeln!(f, "\nWays to buy instances, compared with `{}`:\n", best.policy)?;
        let header = ["BOUGHT", "UNITS", "", "ON DEMAND H", "DELAY", "", "INTERRUPTED", "UNSERVED"];
        output::write_table(
            f,
            header,
            policies.iter().chain(alternatives).map(|standing| {
                let outcome = &standing.outcome;
                [
                    standing.policy.clone(),
                    format!("{:.0}", units(standing)),
                    format!("{}x", times(units(standing), units(best))),
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
            "A unit is the cost of an hour of a spot instance; an hour on demand costs {:.0}",
            self.on_demand
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_from_the_first_are_in_percent() {
        assert_eq!(beside(80.0, 100.0), "-20 %");
        assert_eq!(beside(100.0, 100.0), "");
        assert_eq!(beside(125.4, 100.0), "+25 %");
        assert_eq!(beside(1.0, 0.0), "-");
    }
}
