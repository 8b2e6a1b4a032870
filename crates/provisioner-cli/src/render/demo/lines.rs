//! The demonstration as plain lines, for output that is not a terminal.

use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner_sim::demo::{Glance, Line, Row};

use super::of_day;

/// Writes one event.
pub(crate) fn line(line: &Line) -> String {
    let whose = line.worker_type.as_ref().map_or("-", WorkerTypeName::as_str);
    format!("{} {whose}: {}\n", of_day(line.at), line.text)
}

/// Writes the current state.
pub(crate) fn state(glance: &Glance) -> String {
    let sum = |of: fn(&Row) -> u64| -> u64 { glance.rows.iter().map(of).sum() };
    format!(
        "{} = {} pending, {} open, {} booting, {} busy, {} idle; {:.4} USD/h\n",
        of_day(glance.now),
        sum(|row| row.pending),
        sum(|row| row.open),
        sum(|row| row.booting),
        sum(|row| row.busy),
        sum(|row| row.idle),
        glance.usd_per_hour.dollars(),
    )
}
