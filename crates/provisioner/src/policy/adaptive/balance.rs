//! What waiting is taken to be worth where nobody says: as much as makes tasks wait a little less than with
//! plain workers, and no more than keeps the bill below theirs.
//!
//! No price suits every load: what halves the waiting on one buys nothing on another. So the price follows
//! what is measured. Over about a day, our waiting and our instances are held against those of
//! [plain workers](super::reference) for the same demand: with more waiting than aimed at the price goes up,
//! with less it goes down, and above the most that may be spent it goes down whatever the waiting.

use serde::{Deserialize, Serialize};

use super::reference::Passed;

/// The price of waiting of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::policy) struct Balance {
    /// The logarithm of how much more than [`FIRST`] waiting is worth.
    log: f64,
    ours: Sums,
    plain: Sums,
}

/// Sums of about a day.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Sums {
    tasks: f64,
    waited: f64,
    beyond: f64,
    billed: f64,
    launches: f64,
}

/// Ours beside plain workers, over about a day.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Beside {
    /// How long tasks waited on average, in seconds.
    pub wait: f64,
    /// How long they would have waited.
    pub plain_wait: f64,
    /// Our instance time in parts of theirs.
    pub cost: f64,
}

/// What waiting is worth to begin with, in seconds of an instance.
///
/// Of 5 to 150 the one with which the loads that are too short or sparse to learn from came out best
/// (`BENCHMARKS.md`).
pub(in crate::policy) const FIRST: f64 = 75.0;
/// The lowest and the highest that is learned: 5 and 610.
const LOWEST: f64 = -2.7;
const HIGHEST: f64 = 2.1;

/// Of what hedging saves in waiting so much goes to tasks, which wait less than with plain workers; the rest
/// goes to the bill, as fewer instances are held.
const SHARE: f64 = 0.25;
/// The most that may be spent, in parts of what plain workers cost.
const MOST_SPENT: f64 = 0.89;
/// Tasks that wait because the maximum is reached cannot be helped. The others make up for them, as far as
/// so large a part of their own waiting.
const MADE_UP: f64 = 0.12;
/// How fast the price follows: by so many factors of e if tasks waited twice as long as aimed at for as long
/// as the sums remember. Of 3 to 24 all came out alike, the slower later.
const GAIN: f64 = 12.0;
/// The same for the bill.
const BILL_GAIN: f64 = 6.0;
/// Until half of the sums is faded, in seconds.
const FADES: f64 = 86_400.0;
/// Where little happens, the sums count as if so many startups had been waited for, and so many seconds of
/// instances billed.
const FEW_STARTUPS: f64 = 20.0;
const FEW_BILLED: f64 = 36_000.0;
/// Steps of the price, as a logarithm: what follows from it is computed anew with each.
const STEP: f64 = 0.1;

/// Launches are too many when there are more of them than this, per launch of a plain worker and also per
/// task.
const MOST_PER_PLAIN: f64 = 2.4;
const MOST_PER_TASK: f64 = 0.3;
/// Too few to judge by.
const FEW_LAUNCHES: f64 = 20.0;

impl Balance {
    /// Takes in what came of the time since the last look, ours and theirs. `hedged` is how long a task
    /// waits for a launch, in parts of a startup; `startup` that, in seconds.
    pub(in crate::policy) fn weigh(
        &mut self,
        ours: Passed,
        plain: Passed,
        hedged: f64,
        startup: f64,
    ) {
        let fade = 0.5_f64.powf(plain.seconds / FADES);
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
        self.log = self.log.clamp(LOWEST, HIGHEST);
    }

    /// Takes in an instance of ours that came up.
    pub(in crate::policy) fn launched(&mut self) {
        self.ours.launches += 1.0;
    }

    /// They are held against nothing.
    pub(in crate::policy) fn forget_launches(&mut self) {
        self.ours.launches = 0.0;
    }

    /// What a second of waiting is worth, in seconds of an instance: a figure that can be named.
    pub(in crate::policy) fn price(&self) -> f64 {
        let price = FIRST * ((self.log / STEP).round() * STEP).exp();
        (10.0 * price).round() / 10.0
    }

    /// Whether far more is launched than plain workers would be, and than there are tasks for.
    pub(in crate::policy) fn launches_too_many(&self) -> bool {
        let launches = self.ours.launches;
        launches > FEW_LAUNCHES
            && launches > MOST_PER_PLAIN * self.plain.launches
            && launches > MOST_PER_TASK * self.plain.tasks
    }

    /// Ours beside theirs, where there is enough to tell.
    pub(in crate::policy) fn beside(&self) -> Option<Beside> {
        let (ours, plain) = (self.ours, self.plain);
        (plain.tasks >= 1.0 && plain.billed > 0.0).then(|| Beside {
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

    /// The price after ten days of that, every ten seconds.
    fn price(ours: Passed, plain: Passed, hedged: f64) -> f64 {
        let mut balance = Balance::default();
        for _ in 0..86_400 {
            balance.weigh(ours, plain, hedged, 100.0);
        }
        balance.price()
    }

    #[test]
    fn it_begins_at_the_first_price_and_stays_there_while_all_is_as_aimed_at() {
        assert!((Balance::default().price() - FIRST).abs() < 1e-9);
        let as_aimed = price(passed(10.0, 50.0), passed(10.0, 100.0), 1.0);
        assert!((as_aimed - FIRST).abs() < 1e-9, "{as_aimed}");
        assert!((price(Passed::default(), Passed::default(), 1.0) - FIRST).abs() < 1e-9);
    }

    #[test]
    fn with_more_waiting_than_aimed_at_it_goes_up_and_with_less_down() {
        assert!(price(passed(11.0, 50.0), passed(10.0, 100.0), 1.0) > 600.0);
        assert!(price(passed(9.0, 50.0), passed(10.0, 100.0), 1.0) < 5.1);
        // What a hedge saves is shared: at 0.6 of a startup nine tenths of the waiting are aimed at.
        let shared = price(passed(9.0, 50.0), passed(10.0, 100.0), 0.6);
        assert!((shared - FIRST).abs() < 1.0, "{shared}");
    }

    #[test]
    fn it_goes_down_when_too_much_is_spent_whatever_the_waiting() {
        let dear = price(passed(10.2, 95.0), passed(10.0, 100.0), 1.0);
        assert!(dear < FIRST / 2.0, "{dear}");
    }

    #[test]
    fn tasks_that_wait_for_the_maximum_are_made_up_for_to_a_limit() {
        let full = |waited| Passed { beyond: 1000.0, ..passed(waited, 50.0) };
        let plain = Passed { beyond: 1000.0, ..passed(10.0, 100.0) };
        assert!(price(full(8.9), plain, 0.6) > FIRST);
        assert!(price(full(7.0), plain, 0.6) < FIRST, "a fifth of the waiting less will do");
    }

    #[test]
    fn launches_are_held_against_those_of_plain_workers_and_against_tasks() {
        let of = |ours: u32, plain: f64, tasks: f64| {
            let mut balance = Balance::default();
            let came = Passed { launches: plain, tasks, seconds: 10.0, ..Passed::default() };
            balance.weigh(Passed { seconds: 10.0, ..Passed::default() }, came, 1.0, 100.0);
            (0..ours).for_each(|_| balance.launched());
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
        balance.launched();
        let json = serde_json::to_string(&balance).unwrap();
        assert_eq!(serde_json::from_str::<Balance>(&json).unwrap(), balance);
        let beside = balance.beside().unwrap();
        assert!((beside.wait - 20.0).abs() < 1e-9 && (beside.plain_wait - 10.0).abs() < 1e-9);
        assert!((beside.cost - 0.7).abs() < 1e-9);
        assert_eq!(Balance::default().beside(), None);
    }
}
