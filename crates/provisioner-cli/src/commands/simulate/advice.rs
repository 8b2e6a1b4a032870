//! The comparison in plain words: what today's setting costs, what another would, and what to change.

use std::fmt;

use provisioner::clock;
use provisioner::config::duration;
use provisioner::money::UsdPerHour;
use provisioner::policy::Policy;
use provisioner::state_dir::RecordedLoad;
use provisioner_sim::load::Load;
use provisioner_sim::report::{Comparison, Standing};
use serde::{Serialize, Serializer};

use super::deployment::Deployment;
use crate::exit::Failure;

/// What a user would have to change for a contender to be theirs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Settings as they are written, each with its table, where a configuration was read.
    settings: Vec<(String, String)>,
    /// The file to change, if that is one.
    file: Option<String>,
    /// Why nobody can deploy it, if so.
    only_here: bool,
    /// It counts on workers that stop when asked.
    asks_workers: bool,
}

impl Change {
    /// From one configuration and policy to another.
    pub(super) fn between(
        (today, from): (&Deployment, &Policy),
        (other, to): (&Deployment, &Policy),
    ) -> Result<Self, Failure> {
        let (ours, theirs) = (today.worker_type()?, other.worker_type()?);
        let table = format!("[worker-types.{}]", today.name);
        let mut settings = Vec::new();
        let mut differs = |table: &str, key: &str, from: Option<String>, to: Option<String>| {
            if from != to {
                let text = to.map_or_else(|| format!("no {key}"), |to| format!("{key} = {to}"));
                settings.push((table.to_owned(), text));
            }
        };
        let rule = |policy: &Policy| Policy { idle_timeout: None, ..*policy };
        let quoted = |policy: &Policy| Some(format!("\"{}\"", rule(policy)));
        differs(&table, "policy", quoted(from), quoted(to));
        let time = |time| Some(format!("\"{}\"", duration::format(time)));
        let idle = [
            from.idle_timeout.unwrap_or(ours.idle_timeout),
            to.idle_timeout.unwrap_or(theirs.idle_timeout),
        ];
        differs(&table, "idle-timeout", time(idle[0]), time(idle[1]));
        let pairs = [
            ("min-instances", ours.min_instances, theirs.min_instances),
            ("max-instances", ours.max_instances, theirs.max_instances),
        ];
        for (key, from, to) in pairs {
            differs(&table, key, Some(from.to_string()), Some(to.to_string()));
        }
        let price = |price: Option<UsdPerHour>| price.map(|it| it.dollars().to_string());
        differs(&table, "max-price", price(ours.max_price), price(theirs.max_price));
        differs(&table, "boot-timeout", time(ours.boot_timeout), time(theirs.boot_timeout));
        let interval = |of: &Deployment| time(of.settings.provisioner.interval);
        differs("[provisioner]", "interval", interval(today), interval(other));
        let most = |of: &Deployment| of.settings.limits.max_instances.map(|it| it.to_string());
        differs("[limits]", "max-instances", most(today), most(other));
        let usd = |of: &Deployment| price(of.settings.limits.max_usd_per_hour);
        differs("[limits]", "max-usd-per-hour", usd(today), usd(other));
        Ok(Self {
            settings,
            file: today.file.clone(),
            only_here: rule(to).for_production().is_err(),
            asks_workers: to.lets_go(),
        })
    }
}

impl fmt::Display for Change {
    /// `in FILE, [table]: key = value, key = value; [table]: …`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "in `{file}`, ")?;
        }
        let mut last = "";
        for (place, (table, setting)) in self.settings.iter().enumerate() {
            let between = match place {
                0 => "",
                _ if table == last => ", ",
                _ => "; ",
            };
            f.write_str(between)?;
            if table != last {
                write!(f, "{table} ")?;
            }
            f.write_str(setting)?;
            last = table;
        }
        Ok(())
    }
}

/// Sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Advice(Vec<String>);

impl Serialize for Advice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

/// Less than this part, or this many seconds, is no difference: seeds differ by as much.
const SAME: f64 = 0.01;
const SAME_WAIT: f64 = 0.5;
/// From so many hours of load on, a month can be reckoned.
const A_DAY: f64 = 24.0;
const HOURS_PER_MONTH: f64 = 730.0;

impl Advice {
    /// `changes` leads from the first contender to each.
    pub(super) fn new(
        comparison: &Comparison,
        load: &Load,
        changes: &[Change],
        recorded: Option<&RecordedLoad>,
        price: Option<UsdPerHour>,
    ) -> Self {
        let Some((first, others)) = comparison.policies.split_first() else {
            return Self::default();
        };
        let hours = super::view::hours(load.span());
        let words = Words { hours, priced: price.is_some() };
        let mut lines: Vec<String> = recorded.into_iter().map(measured).collect();
        lines.push(
            words.alone(
                first,
                recorded.is_some() || changes.iter().any(|it| !it.settings.is_empty()),
            ),
        );
        lines.extend(others.iter().map(|other| words.beside(other, first)));
        let others: Vec<_> = others.iter().zip(changes.iter().skip(1)).collect();
        if !others.is_empty() {
            lines.extend(words.verdict(first, &others));
        }
        Self(lines)
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// What the record itself tells.
fn measured(recorded: &RecordedLoad) -> String {
    let tasks = &recorded.tasks;
    let mut waits: Vec<f64> =
        tasks.iter().map(|it| clock::age(it.created, it.started).as_secs_f64()).collect();
    waits.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "numbers of tasks")]
    let mean = waits.iter().sum::<f64>() / waits.len().max(1) as f64;
    let late = waits.get(waits.len() * 19 / 20).copied().unwrap_or_default();
    format!(
        "As recorded: {} tasks; they waited {} on average, one in twenty over {}.",
        tasks.len(),
        seconds(mean),
        seconds(late)
    )
}

struct Words {
    /// The load's length.
    hours: f64,
    /// Whether costs are dollars, and not instance-hours.
    priced: bool,
}

impl Words {
    fn amount(&self, cost: f64) -> String {
        if self.priced { format!("{cost:.2} USD") } else { format!("{cost:.1} instance-hours") }
    }

    fn alone(&self, standing: &Standing, is_today: bool) -> String {
        let Standing { policy, outcome, cost_usd } = standing;
        let month = if self.hours >= A_DAY {
            let month = cost_usd / self.hours * HOURS_PER_MONTH;
            format!(" ({} a month)", self.amount(month))
        } else {
            String::new()
        };
        let wait = &outcome.wait_seconds;
        format!(
            "{} `{policy}`: {} in {}{month}; a task waits {} on average, one in twenty over {}.{}",
            if is_today { "Today, with" } else { "With" },
            self.amount(*cost_usd),
            if self.hours >= 2.0 * A_DAY {
                format!("{:.1} days", self.hours / A_DAY)
            } else {
                format!("{:.1} h", self.hours)
            },
            seconds(wait.mean),
            seconds(wait.p95),
            unserved(standing),
        )
    }

    fn beside(&self, other: &Standing, first: &Standing) -> String {
        let (ours, theirs) = (&first.outcome.wait_seconds, &other.outcome.wait_seconds);
        let change = other.cost_usd - first.cost_usd;
        let percent = 100.0 * change / first.cost_usd;
        let percent =
            if percent.is_finite() { format!(" ({percent:+.0} %)") } else { String::new() };
        format!(
            "With `{}`: {}, {} {}{percent}; a task waits {}, {}; one in twenty over {}, {}.{}",
            other.policy,
            self.amount(other.cost_usd),
            self.amount(change.abs()),
            if change > 0.0 { "more" } else { "less" },
            seconds(theirs.mean),
            difference(theirs.mean - ours.mean),
            seconds(theirs.p95),
            difference(theirs.p95 - ours.p95),
            unserved(other),
        )
    }

    fn verdict(&self, first: &Standing, others: &[(&Standing, &Change)]) -> Vec<String> {
        let can_be_had = others.iter().filter(|(it, change)| {
            !change.only_here && it.outcome.unserved_tasks <= first.outcome.unserved_tasks
        });
        let wait = |it: &Standing| it.outcome.wait_seconds.mean;
        let cheaper = |it: &Standing| it.cost_usd < first.cost_usd * (1.0 - SAME);
        let dearer = |it: &Standing| it.cost_usd > first.cost_usd * (1.0 + SAME);
        let margin = (wait(first) * SAME).max(SAME_WAIT);
        let quicker = |it: &Standing| wait(it) < wait(first) - margin;
        let slower = |it: &Standing| wait(it) > wait(first) + margin;
        let better = can_be_had
            .clone()
            .filter(|(it, _)| (cheaper(it) || quicker(it)) && !dearer(it) && !slower(it));
        if let Some((best, change)) =
            better.min_by(|(a, _), (b, _)| a.cost_usd.total_cmp(&b.cost_usd))
        {
            let what = match (cheaper(best), quicker(best)) {
                (true, true) => "cheaper and quicker",
                (true, false) => "cheaper, and as quick",
                _ => "quicker, and costs the same",
            };
            let mut lines = vec![format!("`{}` is {what}.", best.policy)];
            if !change.settings.is_empty() {
                lines.push(format!("To change: {change}."));
                if change.asks_workers {
                    lines.push(
                        "This counts on workers that stop when asked; `--knowledge counts` reckons \
                         without."
                            .to_owned(),
                    );
                }
            }
            return lines;
        }
        let mut lines =
            vec![format!("Nothing here is both cheaper and quicker than `{}`.", first.policy)];
        let trade = |lines: &mut Vec<String>, it: &Standing, change: &Change| {
            let hours = (wait(first) - wait(it)) * it.outcome.tasks / 3600.0;
            let each = ((it.cost_usd - first.cost_usd) / hours).abs();
            let kind = if hours > 0.0 { "takes" } else { "gives" };
            let mut line =
                format!("`{}` {kind} {} per hour of waiting", it.policy, self.amount(each));
            line.push_str(if hours > 0.0 { " that it saves." } else { " that it adds." });
            if !change.settings.is_empty() {
                line = format!("{line} To change: {change}.");
            }
            lines.push(line);
        };
        if let Some((it, change)) = can_be_had
            .clone()
            .filter(|(it, _)| cheaper(it) && slower(it))
            .min_by(|(a, _), (b, _)| a.cost_usd.total_cmp(&b.cost_usd))
        {
            trade(&mut lines, it, change);
        }
        if let Some((it, change)) = can_be_had
            .filter(|(it, _)| quicker(it) && dearer(it))
            .min_by(|(a, _), (b, _)| wait(a).total_cmp(&wait(b)))
        {
            trade(&mut lines, it, change);
        }
        lines
    }
}

fn unserved(standing: &Standing) -> String {
    match standing.outcome.unserved_tasks {
        none if none <= 0.0 => String::new(),
        some => format!(" {some:.0} tasks were never finished."),
    }
}

/// Seconds, or what is easier to read of them.
fn seconds(seconds: f64) -> String {
    if seconds < 600.0 {
        format!("{seconds:.0} s")
    } else if seconds < 3.0 * 3600.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

fn difference(change: f64) -> String {
    if change.abs() < SAME_WAIT {
        "the same".to_owned()
    } else {
        format!("{} {}", seconds(change.abs()), if change > 0.0 { "more" } else { "less" })
    }
}
