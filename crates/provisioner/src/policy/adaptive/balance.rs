//! The learned price of waiting: high enough that tasks wait a little less than with plain workers, and low
//! enough that the bill stays below theirs.
//!
//! No price suits every load: one that halves the waiting on one load buys nothing on another. So the price
//! follows measurements. Over about a day our waiting and our instances are compared with those of
//! [plain workers](super::reference) for the same demand. The price rises while tasks wait longer than
//! intended and falls while they wait less; above the most that may be spent it falls in any case.

use serde::{Deserialize, Serialize};

use super::reference::Passed;

/// The price of waiting of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::policy) struct Balance {
    /// The logarithm of the price in units of [`INITIAL_PRICE`].
    log: f64,
    ours: Sums,
    plain: Sums,
}

/// Sums over about a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Sums {
    tasks: f64,
    waited: f64,
    beyond: f64,
    billed: f64,
    launches: f64,
}

/// A comparison of our instances with plain workers, over about a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Comparison {
    /// How long tasks waited on average, in seconds.
    pub wait: f64,
    /// How long they would have waited for plain workers, in seconds.
    pub plain_wait: f64,
    /// Our instance time as a fraction of theirs.
    pub cost: f64,
}

/// The price before anything is learned, in seconds of an instance per second of waiting.
///
/// Of the prices from 5 to 150 this one did best on loads that are too short or sparse to learn from
/// (`BENCHMARKS.md`).
pub(in crate::policy) const INITIAL_PRICE: f64 = 75.0;
/// The logarithms of the lowest and the highest learned price, which are 5 and 610.
const LOWEST_LOG: f64 = -2.7;
const HIGHEST_LOG: f64 = 2.1;

/// The part of the waiting saved by hedging that tasks keep by waiting less than with plain workers. The rest
/// lowers the bill, since fewer instances are held.
const SHARE: f64 = 0.25;
/// The most that may be spent, as a fraction of what plain workers cost.
const MOST_SPENT: f64 = 0.89;
/// Tasks that wait because the maximum is reached cannot be helped. The others make up for them by waiting
/// less, up to this part of their own waiting.
const MADE_UP: f64 = 0.12;
/// How fast the price follows the waiting: the change of its logarithm if tasks waited twice as long as
/// intended for as long as the sums remember. Values from 3 to 24 gave the same results, the lower ones later.
const GAIN: f64 = 12.0;
/// How fast the price follows the bill.
const BILL_GAIN: f64 = 6.0;
/// The half-life of the sums, in seconds.
const HALF_LIFE: f64 = 86_400.0;
/// Added to the sums, so that the price moves slowly while little happens: startups that were waited for, and
/// billed seconds of instances.
const FEW_STARTUPS: f64 = 20.0;
const FEW_BILLED: f64 = 36_000.0;
/// The steps of the price, as a logarithm, so that it changes seldom.
const STEP: f64 = 0.1;

/// Launches are too many if they exceed both of these: per launch of a plain worker, and per task.
const MOST_PER_PLAIN: f64 = 2.4;
const MOST_PER_TASK: f64 = 0.3;
/// With fewer launches nothing is concluded.
const FEW_LAUNCHES: f64 = 20.0;

impl Balance {
    /// Records the time since the last round, for our instances and for plain workers, and adjusts the price.
    ///
    /// `hedged` is how long a task waits for a launch, as a fraction of `startup`, which is in seconds.
    pub(in crate::policy) fn weigh(
        &mut self,
        ours: Passed,
        plain: Passed,
        hedged: f64,
        startup: f64,
    ) {
        let fade = 0.5_f64.powf(plain.seconds / HALF_LIFE);
        self.ours.add(ours, fade);
        self.plain.add(plain, fade);
        let aim = 1.0 - SHARE * (1.0 - hedged.clamp(0.0, 1.0));
        let beyond = (1.0 - aim) * self.plain.beyond / self.plain.waited.max(1.0);
        let aim = aim - beyond.min(MADE_UP);
        let weight = self.plain.waited + FEW_STARTUPS * startup;
        self.log += GAIN * (ours.waited - aim * plain.waited) / weight;
        let over = ours.billed - MOST_SPENT * plain.billed;
        if over > 0.0 && self.ours.billed > MOST_SPENT * self.plain.billed {
            self.log -= BILL_GAIN * over / (self.plain.billed + FEW_BILLED);
        }
        self.log = self.log.clamp(LOWEST_LOG, HIGHEST_LOG);
    }

    /// Records an instance of ours that came up.
    pub(in crate::policy) fn record_launch(&mut self) {
        self.ours.launches += 1.0;
    }

    /// Forgets our launches while there is nothing to compare them with.
    pub(in crate::policy) fn forget_launches(&mut self) {
        self.ours.launches = 0.0;
    }

    /// Returns the worth of a second of waiting, in seconds of an instance, rounded to a tenth for display.
    pub(in crate::policy) fn price(&self) -> f64 {
        let price = INITIAL_PRICE * ((self.log / STEP).round() * STEP).exp();
        (10.0 * price).round() / 10.0
    }

    /// Whether there are far more launches than of plain workers, and than the tasks need.
    pub(in crate::policy) fn launches_too_many(&self) -> bool {
        let launches = self.ours.launches;
        launches > FEW_LAUNCHES
            && launches > MOST_PER_PLAIN * self.plain.launches
            && launches > MOST_PER_TASK * self.plain.tasks
    }

    /// Returns the comparison with plain workers, once there is something to compare.
    pub(in crate::policy) fn comparison(&self) -> Option<Comparison> {
        let Self { log: _, ours, plain } = self;
        (plain.tasks >= 1.0 && plain.billed > 0.0).then(|| Comparison {
            wait: (ours.waited + ours.beyond) / plain.tasks,
            plain_wait: (plain.waited + plain.beyond) / plain.tasks,
            cost: ours.billed / plain.billed,
        })
    }
}

impl Sums {
    fn add(&mut self, passed: Passed, fade: f64) {
        let Self { tasks, waited, beyond, billed, launches } = self;
        for (sum, more) in [
            (tasks, passed.tasks),
            (waited, passed.waited),
            (beyond, passed.beyond),
            (billed, passed.billed),
            (launches, passed.launches),
        ] {
            *sum = *sum * fade + more;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(waited: f64, billed: f64) -> Passed {
        Passed { seconds: 10.0, tasks: 0.1, waited, billed, ..Passed::default() }
    }

    /// Returns the price after ten days of rounds every ten seconds that all pass like these.
    fn price(ours: Passed, plain: Passed, hedged: f64) -> f64 {
        let mut balance = Balance::default();
        for _ in 0..86_400 {
            balance.weigh(ours, plain, hedged, 100.0);
        }
        balance.price()
    }

    #[test]
    fn it_begins_at_the_initial_price_and_stays_there_while_tasks_wait_as_intended() {
        assert!((Balance::default().price() - INITIAL_PRICE).abs() < 1e-9);
        let as_aimed = price(passed(10.0, 50.0), passed(10.0, 100.0), 1.0);
        assert!((as_aimed - INITIAL_PRICE).abs() < 1e-9, "{as_aimed}");
        assert!((price(Passed::default(), Passed::default(), 1.0) - INITIAL_PRICE).abs() < 1e-9);
    }

    #[test]
    fn it_rises_with_more_waiting_than_intended_and_falls_with_less() {
        assert!(price(passed(11.0, 50.0), passed(10.0, 100.0), 1.0) > 600.0);
        assert!(price(passed(9.0, 50.0), passed(10.0, 100.0), 1.0) < 5.1);
        // The saving of a hedge is shared: at 0.6 of a startup the aim is nine tenths of the waiting.
        let shared = price(passed(9.0, 50.0), passed(10.0, 100.0), 0.6);
        assert!((shared - INITIAL_PRICE).abs() < 1.0, "{shared}");
    }

    #[test]
    fn it_goes_down_when_too_much_is_spent_whatever_the_waiting() {
        let dear = price(passed(10.2, 95.0), passed(10.0, 100.0), 1.0);
        assert!(dear < INITIAL_PRICE / 2.0, "{dear}");
    }

    #[test]
    fn tasks_that_wait_for_the_maximum_are_made_up_for_to_a_limit() {
        let full = |waited| Passed { beyond: 1000.0, ..passed(waited, 50.0) };
        let plain = Passed { beyond: 1000.0, ..passed(10.0, 100.0) };
        assert!(price(full(8.9), plain, 0.6) > INITIAL_PRICE);
        assert!(
            price(full(7.0), plain, 0.6) < INITIAL_PRICE,
            "a fifth of the waiting less will do"
        );
    }

    #[test]
    fn launches_are_held_against_those_of_plain_workers_and_against_tasks() {
        let of = |ours: u32, plain: f64, tasks: f64| {
            let mut balance = Balance::default();
            let came = Passed { launches: plain, tasks, seconds: 10.0, ..Passed::default() };
            balance.weigh(Passed { seconds: 10.0, ..Passed::default() }, came, 1.0, 100.0);
            (0..ours).for_each(|_| balance.record_launch());
            balance.launches_too_many()
        };
        assert!(of(30, 10.0, 20.0));
        assert!(!of(23, 10.0, 20.0), "2.3 times as many as plain workers");
        assert!(!of(30, 1.0, 200.0), "one for seven tasks");
        assert!(!of(15, 1.0, 1.0), "too few to tell");
    }

    #[test]
    fn it_is_kept_over_restarts() {
        let mut balance = Balance::default();
        let plain = Passed { tasks: 1.0, ..passed(10.0, 100.0) };
        balance.weigh(passed(20.0, 70.0), plain, 1.0, 100.0);
        balance.record_launch();
        let json = serde_json::to_string(&balance).unwrap();
        assert_eq!(serde_json::from_str::<Balance>(&json).unwrap(), balance);
        let comparison = balance.comparison().unwrap();
        assert!(
            (comparison.wait - 20.0).abs() < 1e-9 && (comparison.plain_wait - 10.0).abs() < 1e-9
        );
        assert!((comparison.cost - 0.7).abs() < 1e-9);
        assert_eq!(Balance::default().comparison(), None);
    }
}
