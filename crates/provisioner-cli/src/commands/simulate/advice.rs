//! The comparison in plain words: the costs of the current and the other settings, and what to change.

use std::fmt;

use provisioner::internal::domain::clock;
use provisioner::internal::domain::duration::rounded;
use provisioner::internal::domain::money::UsdPerHour;
use provisioner::internal::domain::plural;
use provisioner::internal::state_dir::RecordedLoad;
use provisioner_simulate::load::Load;
use provisioner_simulate::report::{Comparison, PolicyResult};
use serde::{Serialize, Serializer};

use super::change::Change;

/// Sentences.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Advice(Vec<String>);

impl Serialize for Advice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&self.0)
    }
}

/// A smaller relative difference does not count, because seeds differ by as much.
const SAME: f64 = 0.01;
/// A smaller difference of waits does not count, in seconds.
const SAME_WAIT: f64 = 0.5;
/// The fewest tasks from which something is advised.
const LEAST_TASKS: usize = 50;
/// The shortest load, in hours, from which costs are projected to a month and something is advised.
const A_DAY: f64 = 24.0;
/// The hours of a year of 365 days, divided by twelve.
const HOURS_PER_MONTH: f64 = 730.0;

impl Advice {
    /// Writes the advice; `changes` leads from the first contender to each of them.
    pub(super) fn new(
        comparison: &Comparison,
        load: &Load,
        changes: &[Change],
        recorded: Option<&RecordedLoad>,
        price: Option<UsdPerHour>,
        by_themselves: Option<&(usize, PolicyResult)>,
    ) -> Self {
        let Some((first, others)) = comparison.policies.split_first() else {
            return Self::default();
        };
        let hours = load.span_hours();
        let words = Words { hours, priced: price.is_some() };
        let mut lines: Vec<String> = recorded.into_iter().map(measured).collect();
        lines.push(words.alone(
            first,
            recorded.is_some() || changes.iter().any(|change| !change.settings.is_empty()),
        ));
        lines.extend(others.iter().map(|other| words.beside(other, first)));
        if let Some((place, alone)) = by_themselves
            && let Some(told) = comparison.policies.get(*place)
        {
            lines.push(words.assumption(told, alone));
        }
        let others: Vec<_> = others.iter().zip(changes.iter().skip(1)).collect();
        if !others.is_empty() {
            match too_little(load.tasks().len(), hours) {
                Some(why) => lines.push(why),
                None => lines.extend(words.verdict(first, &others)),
            }
        }
        Self(lines)
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// Returns why nothing is advised, if the load is too small: chance decides such a comparison.
fn too_little(tasks: usize, hours: f64) -> Option<String> {
    (tasks < LEAST_TASKS || hours < A_DAY).then(|| {
        format!(
            "No advice: {} in {hours:.1} h are too few to choose by; it takes {LEAST_TASKS} tasks and a \
             day at least.",
            plural::count(tasks, "task")
        )
    })
}

/// Returns the sentence about the recorded waits.
fn measured(recorded: &RecordedLoad) -> String {
    let tasks = &recorded.tasks;
    let mut waits: Vec<f64> =
        tasks.iter().map(|task| clock::age(task.created, task.started).as_secs_f64()).collect();
    waits.sort_by(f64::total_cmp);
    #[expect(clippy::cast_precision_loss, reason = "numbers of tasks")]
    let mean = waits.iter().sum::<f64>() / waits.len().max(1) as f64;
    let late = waits.get(waits.len() * 19 / 20).copied().unwrap_or_default();
    format!(
        "As recorded: {} tasks; they waited {} on average, one in twenty over {}.",
        tasks.len(),
        rounded(mean),
        rounded(late)
    )
}

struct Words {
    /// The length of the load.
    hours: f64,
    /// Whether costs are in dollars; otherwise they are in instance-hours.
    priced: bool,
}

impl Words {
    fn amount(&self, cost: f64) -> String {
        if self.priced { format!("{cost:.2} USD") } else { format!("{cost:.1} instance-hours") }
    }

    fn alone(&self, standing: &PolicyResult, is_today: bool) -> String {
        let PolicyResult { policy, outcome, cost_usd } = standing;
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
            rounded(wait.mean),
            rounded(wait.p95),
            unserved(standing),
        )
    }

    /// Returns on which behaviour of the workers the cost of a policy rests.
    fn assumption(&self, told: &PolicyResult, by_themselves: &PolicyResult) -> String {
        format!(
            "`{}` is simulated with workers that stop when they are told to: {}. With workers that end \
             themselves when they have been idle for long, it is {} (`--knowledge counts`). Which of them \
             yours are decides what is saved; docs/operations.md says how workers ask.",
            told.policy,
            self.amount(told.cost_usd),
            self.amount(by_themselves.cost_usd),
        )
    }

    fn beside(&self, other: &PolicyResult, first: &PolicyResult) -> String {
        let ours = &first.outcome.wait_seconds;
        let theirs = &other.outcome.wait_seconds;
        let change = other.cost_usd - first.cost_usd;
        let percent = 100.0 * change / first.cost_usd;
        let cost = if percent.abs() < 0.5 || change.abs() < 1e-9 {
            "the same".to_owned()
        } else {
            let more = if change > 0.0 { "more" } else { "less" };
            let percent =
                if percent.is_finite() { format!(" ({percent:+.0} %)") } else { String::new() };
            format!("{} {more}{percent}", self.amount(change.abs()))
        };
        format!(
            "With `{}`: {}, {cost}; a task waits {}, {}; one in twenty over {}, {}.{}",
            other.policy,
            self.amount(other.cost_usd),
            rounded(theirs.mean),
            difference(theirs.mean - ours.mean),
            rounded(theirs.p95),
            difference(theirs.p95 - ours.p95),
            unserved(other),
        )
    }

    fn verdict(&self, first: &PolicyResult, others: &[(&PolicyResult, &Change)]) -> Vec<String> {
        let deployable = others.iter().filter(|(other, change)| {
            !change.only_simulated && other.outcome.unserved_tasks <= first.outcome.unserved_tasks
        });
        let wait = |standing: &PolicyResult| standing.outcome.wait_seconds.mean;
        let cheaper = |other: &PolicyResult| other.cost_usd < first.cost_usd * (1.0 - SAME);
        let dearer = |other: &PolicyResult| other.cost_usd > first.cost_usd * (1.0 + SAME);
        let margin = (wait(first) * SAME).max(SAME_WAIT);
        let quicker = |other: &PolicyResult| wait(other) < wait(first) - margin;
        let slower = |other: &PolicyResult| wait(other) > wait(first) + margin;
        let better = deployable.clone().filter(|(other, _)| {
            (cheaper(other) || quicker(other)) && !dearer(other) && !slower(other)
        });
        if let Some((best, change)) =
            better.min_by(|(a, _), (b, _)| a.cost_usd.total_cmp(&b.cost_usd))
        {
            let what = match (cheaper(best), quicker(best)) {
                (true, true) => "cheaper and quicker",
                (true, false) => "cheaper and equally quick",
                _ => "quicker at the same cost",
            };
            let month = (first.cost_usd - best.cost_usd) / self.hours * HOURS_PER_MONTH;
            let month = if self.hours >= A_DAY && cheaper(best) {
                format!(": {} less a month", self.amount(month))
            } else {
                String::new()
            };
            let mut lines = vec![format!("`{}` is {what}{month}.", best.policy)];
            if !change.settings.is_empty() {
                lines.push(format!("To change: {change}."));
                if change.asks_workers {
                    let line = "This requires workers that ask whether to stop (server.worker-listen); \
                                `--knowledge counts` simulates workers that do not.";
                    lines.push(line.to_owned());
                }
            }
            return lines;
        }
        let mut lines =
            vec![format!("Nothing here is both cheaper and quicker than `{}`.", first.policy)];
        let trade = |lines: &mut Vec<String>, other: &PolicyResult, change: &Change| {
            let hours = (wait(first) - wait(other)) * other.outcome.tasks / 3600.0;
            let each = ((other.cost_usd - first.cost_usd) / hours).abs();
            let (takes, waiting) = if hours > 0.0 { ("costs", "saves") } else { ("saves", "adds") };
            let mut line = format!(
                "`{}` {takes} {} for every hour of waiting that it {waiting}.",
                other.policy,
                self.amount(each)
            );
            if !change.settings.is_empty() {
                line = format!("{line} To change: {change}.");
            }
            lines.push(line);
        };
        let cheapest = deployable
            .clone()
            .filter(|(other, _)| cheaper(other) && slower(other))
            .min_by(|(a, _), (b, _)| a.cost_usd.total_cmp(&b.cost_usd));
        let quickest = deployable
            .filter(|(other, _)| quicker(other) && dearer(other))
            .min_by(|(a, _), (b, _)| wait(a).total_cmp(&wait(b)));
        for (other, change) in cheapest.into_iter().chain(quickest) {
            trade(&mut lines, other, change);
        }
        lines
    }
}

fn unserved(standing: &PolicyResult) -> String {
    match standing.outcome.unserved_tasks {
        none if none <= 0.0 => String::new(),
        some => format!(" {some:.0} tasks were never completed."),
    }
}

fn difference(change: f64) -> String {
    if change.abs() < SAME_WAIT {
        "the same".to_owned()
    } else {
        format!("{} {}", rounded(change.abs()), if change > 0.0 { "more" } else { "less" })
    }
}

#[cfg(test)]
mod tests {
    use provisioner_simulate::simulation::{Distribution, Outcome};

    use super::*;

    fn standing(policy: &str, cost_usd: f64, wait: f64) -> PolicyResult {
        let wait_seconds = Distribution { mean: wait, p95: 2.0 * wait, ..Distribution::default() };
        let outcome = Outcome { tasks: 3600.0, wait_seconds, ..Outcome::default() };
        PolicyResult { policy: policy.to_owned(), outcome, cost_usd }
    }

    const WORDS: Words = Words { hours: 73.0, priced: true };

    fn verdict(others: &[(PolicyResult, Change)]) -> String {
        let others: Vec<_> = others.iter().map(|(standing, change)| (standing, change)).collect();
        WORDS.verdict(&standing("basic", 100.0, 60.0), &others).join(" ")
    }

    #[test]
    fn a_cheaper_and_quicker_policy_is_named_with_the_change() {
        let change = Change {
            settings: vec![("[worker-types.linux]".to_owned(), "policy = \"x\"".to_owned())],
            file: Some("p.toml".to_owned()),
            ..Change::default()
        };
        let advice = verdict(&[(standing("x", 80.0, 40.0), change)]);
        assert_eq!(
            advice,
            "`x` is cheaper and quicker: 200.00 USD less a month. To change: in `p.toml`, \
             [worker-types.linux] policy = \"x\"."
        );
    }

    #[test]
    fn a_trade_of_cost_for_waiting_is_named_with_its_price() {
        let others = [
            (standing("slow", 70.0, 90.0), Change::default()),
            (standing("dear", 120.0, 20.0), Change::default()),
        ];
        assert_eq!(
            verdict(&others),
            "Nothing here is both cheaper and quicker than `basic`. `slow` saves 1.00 USD for every \
             hour of waiting that it adds. `dear` costs 0.50 USD for every hour of waiting that it \
             saves."
        );
    }

    #[test]
    fn a_policy_that_cannot_be_deployed_is_not_advised() {
        let only_simulated = Change { only_simulated: true, ..Change::default() };
        let others = [(standing("naive-2014", 50.0, 10.0), only_simulated)];
        assert!(verdict(&others).starts_with("Nothing here"));
        let mut unserved = standing("x", 50.0, 10.0);
        unserved.outcome.unserved_tasks = 1.0;
        assert!(verdict(&[(unserved, Change::default())]).starts_with("Nothing here"));
    }

    #[test]
    fn nothing_is_advised_from_few_tasks_or_hours() {
        assert_eq!(too_little(50, 24.0), None);
        for (tasks, hours) in [(49, 100.0), (10_000, 23.9)] {
            let why = too_little(tasks, hours).unwrap();
            assert!(why.starts_with("No advice: "), "{why}");
        }
    }

    #[test]
    fn a_sentence_compares_a_policy_with_the_first() {
        let first = standing("basic", 100.0, 60.0);
        let other = standing("x", 100.2, 800.0);
        assert_eq!(
            WORDS.beside(&other, &first),
            "With `x`: 100.20 USD, the same; a task waits 13 min, 12 min more; one in twenty over 27 \
             min, 25 min more."
        );
        assert_eq!(
            Words { hours: 1.0, priced: false }.alone(&first, false),
            "With `basic`: 100.0 instance-hours in 1.0 h; a task waits 60 s on average, one in twenty \
             over 120 s."
        );
    }
}
