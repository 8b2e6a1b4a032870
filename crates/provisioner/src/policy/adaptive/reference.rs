//! Plain workers for the same tasks: one is launched per waiting task, each ends itself after `idle-timeout`
//! without a task, and the longest idle one is woken first.
//!
//! [`balance`](super::balance) compares our instances with them. They are computed in numbers, from the demand
//! alone. On captures of a CI the waiting comes within a tenth, and the hours within 5 %, of a simulation
//! task by task (`BENCHMARKS.md`). The model cannot see tasks that end while as many begin.

use std::collections::VecDeque;

use super::{number, seconds};

/// The plain workers of one worker type.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::policy) struct Reference {
    /// The time of the last round, in milliseconds.
    observed_at: Option<i64>,
    demand: u64,
    waiting: u64,
    busy: u64,
    /// When how many fell idle, in milliseconds; the longest idle first.
    idle: VecDeque<(i64, u64)>,
    /// When how many will be ready.
    booting: VecDeque<(i64, u64)>,
}

/// The properties of plain workers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Plain {
    /// From seeing a task until its worker is ready, in seconds.
    pub(in crate::policy) startup: f64,
    /// The part of the startup that is billed, from 0 to 1.
    pub(in crate::policy) billed: f64,
    /// How long they stay up idle, in milliseconds.
    pub(in crate::policy) idle_timeout: i64,
    /// The minimum number of instances.
    pub(in crate::policy) min: u64,
    /// The maximum number of instances.
    pub(in crate::policy) max: u64,
}

/// What happened between two rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::policy) struct Passed {
    /// The time between them, in seconds.
    pub(in crate::policy) seconds: f64,
    /// The least number of new tasks.
    pub(in crate::policy) tasks: f64,
    /// Seconds of waiting of tasks for which there was room below the maximum.
    pub(in crate::policy) waited: f64,
    /// Seconds of waiting of the other tasks.
    pub(in crate::policy) beyond: f64,
    /// Billed seconds of instances.
    pub(in crate::policy) billed: f64,
    /// Instances launched.
    pub(in crate::policy) launches: f64,
}

/// The longest interval between rounds, in milliseconds. Beyond it the daemon was off, and the model starts
/// over.
const LONGEST_INTERVAL: i64 = 60_000;
/// Events within this part of the time that follows them (the startup, or the idle timeout) are merged, which
/// bounds the number of entries however often rounds come.
const PARTS: i64 = 64;

impl Reference {
    /// Advances the model to the demand at `now`, of which `short` wait for an instance. Returns `None` in the
    /// first round, and in the first one after a pause.
    pub(in crate::policy) fn observe(
        &mut self,
        now: i64,
        demand: u64,
        short: u64,
        plain: Plain,
    ) -> Option<Passed> {
        let passed = self.observed_at.map(|at| now - at);
        let passed = passed.filter(|passed| (0..=LONGEST_INTERVAL).contains(passed));
        let Some(passed) = passed else {
            // The model starts from the state of our own instances.
            let waiting = short.min(demand);
            let busy = demand - waiting;
            *self = Self { observed_at: Some(now), demand, waiting, busy, ..Self::default() };
            self.launch(now, busy, plain);
            return None;
        };
        let seconds = seconds(passed);
        let servable = self.waiting.min(plain.max.saturating_sub(self.busy));
        let ready = self.busy + total(&self.idle);
        let mut passed = Passed {
            seconds,
            waited: number(servable) * seconds,
            beyond: number(self.waiting - servable) * seconds,
            billed: (number(ready) + plain.billed * number(total(&self.booting))) * seconds,
            ..Passed::default()
        };
        while let Some((_, n)) = self.booting.pop_front_if(|(at, _)| *at <= now) {
            self.fall_idle(now, n, plain);
        }
        let rose = demand.saturating_sub(self.demand);
        let fell = self.demand.saturating_sub(demand);
        let ended = fell.min(self.busy);
        self.busy -= ended;
        self.fall_idle(now, ended, plain);
        // The rest was withdrawn, or never waited for a machine in the model.
        self.waiting = (self.waiting + rose).saturating_sub(fell - ended);
        self.assign();
        let mut there = self.busy + total(&self.idle) + total(&self.booting);
        while there > plain.min
            && let Some((_, n)) = self.idle.pop_front_if(|(at, _)| *at + plain.idle_timeout <= now)
        {
            let kept = plain.min.saturating_sub(there - n);
            if kept > 0 {
                self.idle.push_front((now, kept));
            }
            there -= n - kept;
        }
        passed.tasks = number(rose);
        passed.launches = number(self.launch(now, there, plain));
        self.observed_at = Some(now);
        self.demand = demand;
        Some(passed)
    }

    /// Launches one worker per waiting task that has none, in addition to those `there`, and returns how many.
    fn launch(&mut self, now: i64, there: u64, plain: Plain) -> u64 {
        let short = self.waiting.saturating_sub(total(&self.booting));
        let launched = short.min(plain.max.saturating_sub(there));
        if launched > 0 {
            let startup = millis(plain.startup);
            push(&mut self.booting, now + startup, launched, startup / PARTS);
        }
        launched
    }

    fn fall_idle(&mut self, now: i64, n: u64, plain: Plain) {
        if n > 0 {
            push(&mut self.idle, now, n, plain.idle_timeout / PARTS);
        }
    }

    /// Gives waiting tasks to idle workers.
    fn assign(&mut self) {
        while self.waiting > 0
            && let Some((_, idle)) = self.idle.front_mut()
        {
            let n = self.waiting.min(*idle);
            *idle -= n;
            self.waiting -= n;
            self.busy += n;
            if *idle == 0 {
                let _ = self.idle.pop_front();
            }
        }
    }
}

/// Adds an entry, or merges it with one that is closer than `close`.
fn push(entries: &mut VecDeque<(i64, u64)>, at: i64, n: u64, close: i64) {
    match entries.back_mut() {
        Some((last, there)) if at - *last < close => *there += n,
        _ => entries.push_back((at, n)),
    }
}

fn total(entries: &VecDeque<(i64, u64)>) -> u64 {
    entries.iter().map(|(_, n)| n).sum()
}

#[expect(clippy::cast_possible_truncation, reason = "startups; `as` saturates")]
fn millis(seconds: f64) -> i64 {
    (seconds * 1e3) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Plain =
        Plain { startup: 30.0, billed: 0.5, idle_timeout: 60_000, min: 0, max: 10 };

    /// Observes these demands, one every 10 s, and returns the sums.
    fn sum(reference: &mut Reference, plain: Plain, demands: &[u64]) -> Passed {
        let start = reference.observed_at.map_or(0, |at| at + 10_000);
        let mut sum = Passed::default();
        for (n, demand) in demands.iter().enumerate() {
            let now = start + 10_000 * i64::try_from(n).unwrap();
            let Some(came) = reference.observe(now, *demand, 0, plain) else { continue };
            sum.seconds += came.seconds;
            sum.tasks += came.tasks;
            sum.waited += came.waited;
            sum.beyond += came.beyond;
            sum.billed += came.billed;
            sum.launches += came.launches;
        }
        sum
    }

    #[test]
    fn a_task_waits_for_a_startup_and_the_next_one_finds_its_worker() {
        let mut reference = Reference::default();
        // Two tasks at 10, ready at 40, done at 60; one more from 80 to 90; both idle out by 150.
        let demands = [0, 2, 2, 2, 2, 2, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
        let came = sum(&mut reference, PLAIN, &demands);
        assert!((came.waited - 60.0).abs() < 1e-9 && came.beyond == 0.0, "{came:?}");
        assert!((came.tasks - 3.0).abs() < 1e-9 && (came.launches - 2.0).abs() < 1e-9);
        // Booting for 30 s at half, then until 120 (idle since 60) and until 150 (since 90).
        assert!((came.billed - (30.0 + 80.0 + 110.0)).abs() < 1e-9, "{came:?}");
        assert_eq!(total(&reference.idle) + reference.busy + total(&reference.booting), 0);
    }

    #[test]
    fn waiting_beyond_the_maximum_is_counted_apart() {
        let mut reference = Reference::default();
        let two = Plain { max: 2, ..PLAIN };
        let came = sum(&mut reference, two, &[0, 5, 5, 5, 5, 5]);
        assert!((came.waited - 60.0).abs() < 1e-9, "two wait 30 s: {came:?}");
        assert!((came.beyond - 120.0).abs() < 1e-9, "three wait 40 s: {came:?}");
        assert!((came.launches - 2.0).abs() < 1e-9);
    }

    #[test]
    fn the_minimum_stays_and_the_longest_idle_is_woken() {
        let mut reference = Reference::default();
        sum(&mut reference, Plain { min: 1, ..PLAIN }, &[3, 3, 0]);
        let idle = Plain { min: 1, ..PLAIN };
        sum(&mut reference, idle, &[0; 20]);
        assert_eq!(total(&reference.idle), 1);
        // A trickle that ten workers take in turns keeps all ten: none is idle for a minute.
        let mut trickle = Reference::default();
        let turns: Vec<_> = [10, 10, 0].into_iter().chain((0..60).map(|n| n % 2 * 5)).collect();
        sum(&mut trickle, PLAIN, &turns);
        assert_eq!(total(&trickle.idle) + trickle.busy, 10);
    }

    #[test]
    fn it_starts_over_after_a_pause_and_stays_small() {
        let mut reference = Reference::default();
        sum(&mut reference, PLAIN, &[0, 4, 4, 4]);
        assert_eq!(reference.observe(10_000_000, 7, 2, PLAIN), None);
        assert_eq!((reference.busy, reference.waiting, total(&reference.booting)), (5, 2, 2));
        assert_eq!(reference.observe(5_000, 7, 0, PLAIN), None, "a clock set back");
        let long = Plain { idle_timeout: 86_400_000, startup: 3600.0, max: 1_000_000, ..PLAIN };
        for n in 0..100_000 {
            reference.observe(5_000 + n * 1000, u64::try_from(n * 7 % 1000).unwrap(), 0, long);
            assert!(reference.idle.len() <= 66 && reference.booting.len() <= 66);
        }
    }
}
