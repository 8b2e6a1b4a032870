//! The live table.

use std::collections::VecDeque;

use provisioner::internal::domain::duration;
use provisioner_sim::demo::{Glance, Line, LineKind, Row};

use super::{grouped, of_day, seconds};
use crate::screen::{Size, cut};
use crate::style::{Paint, Role};

/// The number of past points that the curves show.
const PAST: usize = 60;
/// The seconds of a point, so that the curves show four hours.
const POINT: i64 = 4 * 60;
/// The number of lines that are kept, which is more than a terminal shows.
const KEPT: usize = 100;
/// The number of lines of a frame around the table and the events.
const AROUND: usize = 7;

/// The live table and its history.
#[derive(Debug)]
pub(crate) struct Frame {
    title: String,
    happened: VecDeque<Line>,
    pending: VecDeque<u64>,
    instances: VecDeque<u64>,
    last_point: Option<i64>,
}

impl Frame {
    pub(crate) fn new(title: String) -> Self {
        Self {
            title,
            happened: VecDeque::new(),
            pending: VecDeque::new(),
            instances: VecDeque::new(),
            last_point: None,
        }
    }

    /// Adds what happened.
    pub(crate) fn add(&mut self, lines: Vec<Line>) {
        self.happened.extend(lines);
        let surplus = self.happened.len().saturating_sub(KEPT);
        self.happened.drain(..surplus);
    }

    /// Draws the frame.
    pub(crate) fn draw(&mut self, glance: &Glance, size: Size, paint: Paint) -> String {
        self.remember(glance);
        let columns = size.columns.saturating_sub(1).max(20);
        let mut text = String::new();
        let mut add = |line: &str| {
            text.push_str(&cut(line, columns));
            text.push('\n');
        };
        add(&format!("{}  {}", of_day(glance.now), self.title));
        add("");
        for row in table(glance) {
            add(&row);
        }
        add("");
        let points = columns.saturating_sub(24).min(PAST);
        for (name, past) in [("tasks waiting", &self.pending), ("instances", &self.instances)] {
            let shown = past.iter().skip(past.len().saturating_sub(points)).copied();
            let most = past.iter().copied().max().unwrap_or(0);
            add(&format!("{name:<13} {:<points$} {most:>4} most", curve(shown, most)));
        }
        add("");
        let summary = &glance.summary;
        add(&format!(
            "{} done; half wait under {}, 95 % under {}; {:.2} USD, {:.0} % used",
            grouped(summary.tasks.finished),
            seconds(summary.wait_seconds.p50),
            seconds(summary.wait_seconds.p95),
            summary.cost_usd,
            summary.utilisation * 100.0,
        ));
        add("");
        let rest = size.rows.saturating_sub(AROUND + glance.rows.len() + 4).clamp(3, 20);
        let skipped = self.happened.len().saturating_sub(rest);
        for line in self.happened.iter().skip(skipped) {
            text.push_str(&happened(line, columns, paint));
        }
        text
    }

    /// Adds a point to the curves, or raises the last one.
    fn remember(&mut self, glance: &Glance) {
        let point = glance.now.as_second() / POINT;
        let sum = |of: fn(&Row) -> u64| glance.rows.iter().map(of).sum();
        let now = [sum(|row| row.pending), sum(Row::instances)];
        let new = self.last_point != Some(point);
        self.last_point = Some(point);
        for (past, now) in [&mut self.pending, &mut self.instances].into_iter().zip(now) {
            if new {
                past.push_back(now);
            } else if let Some(last) = past.back_mut() {
                *last = now.max(*last);
            }
            if past.len() > PAST {
                past.pop_front();
            }
        }
    }
}

fn table(glance: &Glance) -> Vec<String> {
    let mut rows = vec![
        "WORKER TYPE    PENDING  OLDEST  OPEN  BOOTING  BUSY  IDLE  WANTED     USD/H".to_owned(),
    ];
    for row in &glance.rows {
        let Row { worker_type, pending, oldest, open, booting, busy, idle, wanted, usd_per_hour } =
            row;
        let oldest = oldest.map_or_else(|| "-".to_owned(), duration::show);
        rows.push(format!(
            "{:<13} {pending:>8} {oldest:>7} {open:>5} {booting:>8} {busy:>5} {idle:>5} \
             {wanted:>7} {:>9.4}",
            cut(worker_type.as_str(), 13),
            usd_per_hour.dollars()
        ));
    }
    let sum = |of: fn(&Row) -> u64| -> u64 { glance.rows.iter().map(of).sum() };
    rows.push(format!(
        "{:<13} {:>8} {:>7} {:>5} {:>8} {:>5} {:>5} {:>7} {:>9.4}",
        "all",
        sum(|row| row.pending),
        "",
        sum(|row| row.open),
        sum(|row| row.booting),
        sum(|row| row.busy),
        sum(|row| row.idle),
        sum(|row| row.wanted),
        glance.usd_per_hour.dollars()
    ));
    rows
}

/// Draws a row of bars, in which `most` has the full height.
fn curve(values: impl Iterator<Item = u64>, most: u64) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let bar = |value: u64| match value {
        0 => ' ',
        value => {
            let height = (value * 8).div_ceil(most.max(1)).clamp(1, 8) - 1;
            BARS[usize::try_from(height).unwrap_or(0)]
        }
    };
    values.map(bar).collect()
}

fn happened(line: &Line, columns: usize, paint: Paint) -> String {
    let whose = line.worker_type.as_ref().map_or("", |name| name.as_str());
    let text = format!("{} {:<11} {}", of_day(line.at), cut(whose, 11), line.text);
    let text = cut(&text, columns);
    let painted = match line.kind {
        LineKind::Done => text,
        LineKind::Refused => paint.role(Role::Warning, &text),
        LineKind::Note | LineKind::World => paint.role(Role::Hint, &text),
    };
    painted + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use provisioner::internal::domain::clock;
    use provisioner_sim::demo::Demo;
    use provisioner_sim::deployment::start;

    use super::*;

    fn frame(size: Size, minutes: u64) -> String {
        let mut demo = Demo::new(1, start(), Duration::from_hours(6));
        let mut frame = Frame::new("a title".to_owned());
        let until = clock::after(demo.now(), Duration::from_mins(minutes));
        let mut text = String::new();
        while let Some(next) = demo.next_round().filter(|next| *next <= until) {
            frame.add(demo.advance(next));
            frame.add(demo.round());
            text = frame.draw(&demo.glance(), size, Paint::Plain);
        }
        text
    }

    #[test]
    fn it_fits_the_terminal() {
        for (columns, rows) in [(80, 24), (40, 24), (200, 60), (80, 10)] {
            let text = frame(Size { columns, rows }, 130);
            for line in text.lines() {
                assert!(line.chars().count() < columns, "{columns}: {line}");
            }
            assert!(text.lines().count() < rows.max(18), "{rows}:\n{text}");
        }
    }

    #[test]
    fn it_shows_tasks_machines_and_reasons() {
        let text = frame(Size { columns: 120, rows: 40 }, 130);
        for part in ["WORKER TYPE", "linux-large", "gpu", "all", "tasks waiting", "tasks wait, "] {
            assert!(text.contains(part), "no `{part}` in\n{text}");
        }
        assert!(text.contains('█'), "{text}");
    }

    #[test]
    fn a_curve_reaches_its_highest() {
        assert_eq!(curve([0, 1, 4, 8].into_iter(), 8), " ▁▄█");
        assert_eq!(curve([0, 0].into_iter(), 0), "  ");
    }
}
