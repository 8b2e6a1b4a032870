//! A status as text: a table, a few facts, and the problems with their fixes.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use provisioner::internal::domain::duration::{brief, brief_seconds};
use provisioner::internal::domain::shown::shown;
use provisioner::internal::domain::{clock, plural};
use provisioner::internal::status::{
    HourlyCost, LastReload, LastRound, OtherMachines, Problem, RoundOutcome, Status, StatusNote,
    StatusSource, Trigger, WorkerTypeRow,
};
use serde::{Serialize, Serializer};

use super::columns::{Heading, lay_out};
use super::count;
use super::wrap::wrap;
use crate::style::{Paint, Role};

/// The width of output that is not a terminal.
pub(crate) const USUAL_WIDTH: usize = 80;

const HEADINGS: [Heading; 9] = [
    ("PENDING", "PENDING"),
    ("OLDEST", "OLDEST"),
    ("WANTED", "WANTED"),
    ("OPEN", "OPEN"),
    ("BOOTING", "BOOT"),
    ("BUSY", "BUSY"),
    ("IDLE", "IDLE"),
    ("STOPPING", "STOP"),
    // It is as wide as "unknown", so that the table does not move when a price becomes known.
    ("  USD/H", "  USD/H"),
];

/// The name of the row of instances without a configured worker type. Names have no parentheses.
const OTHER: &str = "(other)";
/// The name of the row of sums. Names have no capitals.
const TOTAL: &str = "TOTAL";
/// Stands for an unknown count.
const UNKNOWN: &str = "?";
/// Stands for a count that does not apply.
const NONE: &str = "-";

/// The number of notes that are shown, because a hundred worker types may have as many notes.
const NOTES: usize = 8;

/// How late a round may be before it is reported as late, because it waits for EC2 and the queue.
const LATE: Duration = Duration::from_mins(1);
/// The age from which the observation of EC2 is reported as old.
const OLD: Duration = Duration::from_mins(2);

/// A status for `width` columns. Its JSON is the status itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StatusView<'a> {
    pub(crate) status: &'a Status,
    pub(crate) paint: Paint,
    pub(crate) width: usize,
}

impl Serialize for StatusView<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.status.serialize(serializer)
    }
}

impl fmt::Display for StatusView<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines().iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl StatusView<'_> {
    /// Returns the text, line by line.
    pub(crate) fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let Status { worker_types, last_round, errors, .. } = self.status;
        // A daemon that did not answer has no rows, only an error.
        if !worker_types.is_empty() {
            lines.extend(self.table());
        } else if self.status.observed.is_some() || self.status.demand_known {
            lines.push("No worker type is configured.".to_owned());
        }
        if !worker_types.is_empty() || self.status.observed.is_some() || last_round.is_some() {
            lines.push(String::new());
            lines.extend(self.facts());
        }
        lines.extend(self.notes());
        let (ended, going_on): (Vec<_>, Vec<_>) =
            errors.iter().partition(|problem| problem.ended.is_some());
        for (problems, heading, role) in
            [(going_on, "Errors:", Role::Error), (ended, "Ended:", Role::Faint)]
        {
            if problems.is_empty() {
                continue;
            }
            if !lines.is_empty() {
                lines.push(String::new());
            }
            lines.push(self.paint.role(role, heading));
            lines.extend(problems.into_iter().flat_map(|problem| self.problem(problem)));
        }
        lines
    }

    fn table(&self) -> Vec<String> {
        let Status { worker_types, other, cost, .. } = self.status;
        let decimals = decimals(cost);
        let mut rows: Vec<_> = worker_types
            .iter()
            .map(|row| (shown(&row.name).to_string(), cells(row, decimals)))
            .collect();
        let OtherMachines { booting, busy, idle, stopping, cost: other_cost } = *other;
        let counts = [booting, busy, idle, stopping];
        let has_other = counts.iter().any(|count| count.is_some_and(|count| count > 0));
        if has_other {
            let [booting, busy, idle, stopping] = counts.map(count);
            let none = || NONE.to_owned();
            let cost = dollars(&other_cost, decimals);
            let cells = [none(), none(), none(), none(), booting, busy, idle, stopping, cost];
            rows.push((OTHER.to_owned(), cells));
        }
        if rows.len() > 1 {
            rows.push((TOTAL.to_owned(), cells(&self.total(), decimals)));
        }
        let mut lines = lay_out("WORKER TYPE", HEADINGS, &rows, self.width);
        for (i, line) in lines.iter_mut().enumerate() {
            if i == 0 {
                *line = self.paint.role(Role::Heading, line);
            } else if let Some(before) = line.strip_suffix("unknown") {
                *line = format!("{before}{}", self.paint.role(Role::Warning, "unknown"));
            }
        }
        lines
    }

    /// Returns the row of sums.
    fn total(&self) -> WorkerTypeRow {
        let Status { worker_types, other, cost, .. } = self.status;
        let sum = |of: fn(&WorkerTypeRow) -> Option<u64>, more: Option<u64>| {
            worker_types.iter().map(of).chain([more]).sum::<Option<u64>>()
        };
        WorkerTypeRow {
            name: TOTAL.to_owned(),
            pending: sum(|row| row.pending, Some(0)),
            oldest_pending: None,
            oldest_pending_seconds: worker_types
                .iter()
                .filter_map(|row| row.oldest_pending_seconds)
                .max(),
            running: sum(|row| row.running, Some(0)),
            wanted: sum(|row| row.wanted, Some(0)),
            open_requests: sum(|row| row.open_requests, Some(0)),
            booting: sum(|row| row.booting, other.booting),
            busy: sum(|row| row.busy, other.busy),
            idle: sum(|row| row.idle, other.idle),
            stopping: sum(|row| row.stopping, other.stopping),
            cost: *cost,
        }
    }

    fn facts(&self) -> Vec<String> {
        let Status {
            time, source, observed, last_round, cost, daemon_running, last_reload, ..
        } = self.status;
        let mut facts = vec![("Cost per hour:", self.cost(cost))];
        let failed = last_round.as_ref().is_some_and(|round| round.outcome == RoundOutcome::Failed);
        let is_old = |at: &Timestamp| failed || clock::age(*at, *time) > OLD;
        // A status that was read directly has just been observed.
        if let Some(at) = observed.filter(|at| *source == StatusSource::Daemon && is_old(at)) {
            facts.push(("As of:", format!("{}, when EC2 was last observed", ago(at, *time))));
        }
        facts.extend(self.unknown().map(|why| ("? is unknown:", why.to_owned())));
        facts.push((
            "Last round:",
            last_round
                .as_ref()
                .map_or_else(|| self.no_round().to_owned(), |round| self.ended(round)),
        ));
        if let Some(round) = last_round.as_ref().filter(|_| *daemon_running != Some(false)) {
            facts.push(("Next round:", self.next(round)));
        }
        if let Some(LastReload { time: at, failure: Some(why), .. }) = last_reload {
            let failed = self.paint.role(Role::Warning, "failed");
            let text = format!(
                "{failed} {}, so the old configuration stays in force: {}",
                ago(*at, *time),
                shown(why)
            );
            facts.push(("Last reload:", text));
        }
        let column = facts.iter().map(|(label, _)| label.len()).max().unwrap_or(0) + 1;
        let indent = " ".repeat(column);
        let lines = facts.into_iter().flat_map(|(label, text)| {
            // The gap after the label must survive, so only the text is wrapped.
            let mut lines = wrap(&text, "", self.width.saturating_sub(column));
            for (i, line) in lines.iter_mut().enumerate() {
                *line = if i == 0 {
                    format!("{label:<column$}{line}")
                } else {
                    format!("{indent}{line}")
                };
            }
            lines
        });
        lines.collect()
    }

    fn cost(&self, cost: &HourlyCost) -> String {
        let (machines, known) = match *cost {
            HourlyCost { usd_per_hour: Some(usd), .. } => {
                return format!("{} USD", money(usd, decimals(cost)));
            }
            HourlyCost { known_usd_per_hour, unknown_price_machines, .. } => {
                (unknown_price_machines.unwrap_or(0), known_usd_per_hour.unwrap_or(0.0))
            }
        };
        let machines = match machines {
            0 => String::new(),
            n => format!(": {} of unknown price", plural::count(n, "machine")),
        };
        let known = match known {
            0.0 => String::new(),
            usd => format!(", and {} USD for the others", money(usd, decimals(cost))),
        };
        format!("{}{machines}{known}", self.paint.role(Role::Warning, "unknown"))
    }

    /// Returns why there are unknown counts, if so.
    fn unknown(&self) -> Option<&'static str> {
        let Status { source, observed, demand_known, last_round, .. } = self.status;
        match (observed.is_some(), demand_known) {
            (true, true) => None,
            (true, false) => Some("the queue could not be read"),
            (false, true) => Some("EC2 could not be read"),
            (false, false) if *source == StatusSource::Daemon && last_round.is_none() => {
                Some("no round has ended yet")
            }
            (false, false) if *source == StatusSource::Daemon => Some("EC2 could not be read yet"),
            (false, false) => Some("neither EC2 nor the queue could be read"),
        }
    }

    fn no_round(&self) -> &'static str {
        match self.status.source {
            StatusSource::Daemon => "none has ended yet",
            StatusSource::Direct => "none known: no daemon has run with this state directory",
        }
    }

    fn next(&self, round: &LastRound) -> String {
        let now = self.status.time;
        let late = clock::age(round.next, now);
        if late <= LATE {
            let left = clock::age(now, round.next);
            return if left.as_secs() == 0 {
                "due".to_owned()
            } else {
                format!("in {}", brief(left))
            };
        }
        let why = match self.status.daemon_running {
            None => "no daemon seems to be running",
            Some(_) => "the loop hangs, or its round takes a long time",
        };
        format!("was due {}: {}", ago(round.next, now), self.paint.role(Role::Warning, why))
    }

    fn ended(&self, round: &LastRound) -> String {
        let ended = ended(round, self.status.time);
        if self.status.daemon_running == Some(false) {
            let running = self.paint.role(Role::Warning, "no daemon is running");
            format!("{ended}; {running}")
        } else {
            ended
        }
    }

    fn notes(&self) -> Vec<String> {
        let notes = &self.status.notes;
        if notes.is_empty() {
            return Vec::new();
        }
        let mut lines = vec![String::new(), self.paint.role(Role::Heading, "Notes:")];
        for StatusNote { worker_type, kind, text } in notes.iter().take(NOTES) {
            let whom = worker_type.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
            lines.extend(self.indented(&format!("{whom}{text} ({kind})"), 2, 4));
        }
        if notes.len() > NOTES {
            let more = notes.len() - NOTES;
            lines.push(format!("  and {more} more; `provisionerd plan` prints all of them"));
        }
        lines
    }

    fn problem(&self, problem: &Problem) -> Vec<String> {
        let Problem {
            time,
            since,
            ended,
            rounds,
            worker_type,
            operation,
            code,
            message,
            request_id,
            fix,
        } = problem;
        let now = self.status.time;
        let whom = worker_type.as_ref().map(|name| format!("{name}: ")).unwrap_or_default();
        let what = match operation {
            Some(operation) if message.is_empty() => format!("{operation}: {code}"),
            Some(operation) => format!("{operation}: {code}: {message}"),
            None => format!("{message} ({code})"),
        };
        let request = request_id.as_ref().map(|id| format!(" (request {id})")).unwrap_or_default();
        let what = format!("{whom}{what}{request}");
        let rounds = match rounds {
            1 => String::new(),
            n => format!(", {n} times"),
        };
        let when = match ended {
            Some(ended) => {
                let lasted = brief(clock::age(*since, *ended));
                format!("ended {}, after {lasted}{rounds}", ago(*ended, now))
            }
            None if rounds.is_empty() => ago(*time, now),
            None => {
                format!(
                    "for {}{rounds}, last {}",
                    brief(clock::age(*since, *time)),
                    ago(*time, now)
                )
            }
        };
        let mut lines = self.indented(&what, 2, 4);
        lines.extend(self.indented(&when, 4, 4));
        if let Some(fix) = fix.as_ref().filter(|_| ended.is_none()) {
            let mut fix = self.indented(&format!("fix: {fix}"), 4, 9);
            if let Some(first) = fix.first_mut() {
                *first = first.replacen("fix:", &self.paint.role(Role::Hint, "fix:"), 1);
            }
            lines.extend(fix);
        }
        if ended.is_some() {
            lines = lines.iter().map(|line| self.paint.role(Role::Faint, line)).collect();
        }
        lines
    }

    /// Wraps prose, indenting the first line to one column and the others to another.
    fn indented(&self, text: &str, first: usize, others: usize) -> Vec<String> {
        let width = self.width.saturating_sub(first);
        // A line break is a gap between words here; other characters may act on the terminal.
        let text = text.split_whitespace().map(|word| shown(word).to_string());
        let text = &text.collect::<Vec<_>>().join(" ");
        let lines = wrap(text, &" ".repeat(others.saturating_sub(first)), width);
        lines.into_iter().map(|line| format!("{}{line}", " ".repeat(first))).collect()
    }
}

fn cells(row: &WorkerTypeRow, decimals: usize) -> [String; 9] {
    let oldest = match (row.pending, row.oldest_pending_seconds) {
        (Some(0), _) => NONE.to_owned(),
        (_, Some(seconds)) => brief(Duration::from_secs(seconds)),
        (_, None) => UNKNOWN.to_owned(),
    };
    [
        count(row.pending),
        oldest,
        count(row.wanted),
        count(row.open_requests),
        count(row.booting),
        count(row.busy),
        count(row.idle),
        count(row.stopping),
        dollars(&row.cost, decimals),
    ]
}

fn dollars(cost: &HourlyCost, decimals: usize) -> String {
    cost.usd_per_hour.map_or_else(|| "unknown".to_owned(), |usd| money(usd, decimals))
}

fn money(usd: f64, decimals: usize) -> String {
    if usd > 0.0 { format!("{usd:.decimals$}") } else { "0".to_owned() }
}

/// Returns how many decimals distinguish amounts of this size; spot prices are in hundredths of a cent.
fn decimals(total: &HourlyCost) -> usize {
    match total.known_usd_per_hour.unwrap_or(0.0) {
        ..1.0 => 4,
        ..100.0 => 3,
        _ => 2,
    }
}

fn ended(round: &LastRound, now: Timestamp) -> String {
    let LastRound { time, outcome, trigger, iteration, duration_seconds, actions, .. } = round;
    let actions = match (actions.done, actions.failed) {
        (0, 0) if *outcome == RoundOutcome::Incomplete => "something was withheld".to_owned(),
        (0, 0) => "nothing to do".to_owned(),
        (done, 0) => format!("{} done", plural::count(done, "action")),
        (done, failed) => format!("{} done, {failed} failed", plural::count(done, "action")),
    };
    let took = brief_seconds(*duration_seconds);
    let how = match outcome {
        RoundOutcome::Done => format!("done in {took}: {actions}"),
        RoundOutcome::Incomplete => format!("partly done in {took}: {actions}"),
        RoundOutcome::DemandUnknown => format!("without the queue, in {took}: {actions}"),
        RoundOutcome::Failed => format!("failed after {took}: EC2 could not be read"),
        RoundOutcome::DryRun => format!("dry run, in {took}"),
        RoundOutcome::Unrecognised => format!("ended after {took}: {actions}"),
    };
    let brought = match trigger {
        Trigger::Start => ", at the start",
        Trigger::WakeUp => ", woken",
        Trigger::Reload => ", after a reload",
        Trigger::Due | Trigger::Unrecognised => "",
    };
    format!("{}, {how} (round {iteration}{brought})", ago(*time, now))
}

/// Returns how long ago it was, in words.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let passed = clock::age(at, now);
    if passed < Duration::from_secs(1) {
        "just now".to_owned()
    } else {
        format!("{} ago", brief(passed))
    }
}

#[cfg(test)]
mod tests;
