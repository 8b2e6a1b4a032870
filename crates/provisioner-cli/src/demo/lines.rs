//! The demonstration as plain lines, where there is no terminal to draw on.

use provisioner::internal::domain::ids::WorkerTypeName;
use provisioner_sim::demo::{Glance, Line, Row};

use super::of_day;

/// One thing that happened.
pub(crate) fn line(line: &Line) -> String {
    let whose = line.worker_type.as_ref().map_or("-", WorkerTypeName::as_str);
    format!("{} {whose}: {}\n", of_day(line.at), line.text)
}

/// How it stands.
pub(crate) fn state(glance: &Glance) -> String {
    let sum = |of: fn(&Row) -> u64| -> u64 { glance.rows.iter().map(of).sum() };
    format!(
        "{} = {} pending, {} open, {} booting, {} busy, {} idle; {:.4} USD/h\n",
        of_day(glance.now),
        sum(|it| it.pending),
        sum(|it| it.open),
        sum(|it| it.booting),
        sum(|it| it.busy),
        sum(|it| it.idle),
        glance.usd_per_hour.dollars(),
    )
}
