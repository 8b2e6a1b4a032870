//! The summary of a demonstration.

use std::fmt;
use std::time::Duration;

use provisioner::internal::domain::{duration, plural};
use provisioner_sim::demo::Summary;
use serde::Serialize;

use super::{grouped, seconds};
use crate::output::Report;

/// The summary as text and JSON.
#[derive(Serialize)]
pub(crate) struct SummaryView {
    seed: u64,
    #[serde(flatten)]
    summary: Summary,
}

impl SummaryView {
    pub(crate) fn new(seed: u64, summary: Summary) -> Self {
        Self { seed, summary }
    }
}

/// `1 task`, `3 tasks`, `1,200 tasks`.
fn count(n: u64, one: &str) -> String {
    plural::count(n, one).replacen(&n.to_string(), &grouped(n), 1)
}

impl Report for SummaryView {
    fn text(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary {
            seconds: lasted,
            rounds,
            actions: _,
            tasks,
            wait_seconds: waits,
            launches,
            interruptions,
            refused_launches,
            instance_hours,
            utilisation,
            cost_usd,
        } = &self.summary;
        writeln!(
            f,
            "{} of CI on the simulated EC2 (seed {}, {}):",
            duration::show(Duration::from_secs(*lasted)),
            self.seed,
            count(*rounds, "round")
        )?;
        writeln!(
            f,
            "  {} done, {} running, {} waiting; {} lost with their machine and restarted",
            count(tasks.finished, "task"),
            grouped(tasks.running),
            grouped(tasks.pending),
            grouped(tasks.lost_runs),
        )?;
        writeln!(
            f,
            "  waited {} on average, half of them under {}, 95 % under {}, {} at most",
            seconds(waits.mean),
            seconds(waits.p50),
            seconds(waits.p95),
            seconds(waits.max),
        )?;
        writeln!(
            f,
            "  {} launched, {} reclaimed by EC2; {} refused and repeated elsewhere",
            count(*launches, "instance"),
            grouped(*interruptions),
            count(*refused_launches, "launch call"),
        )?;
        writeln!(
            f,
            "  {instance_hours:.1} instance-hours, {:.0} % of them used: {cost_usd:.2} USD",
            utilisation * 100.0
        )
    }
}
