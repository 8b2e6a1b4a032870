//! Startups: how long they take, how much that varies, and what it pays to ask for more than is needed.
//!
//! Of two instances asked for at once the sooner one is worth having: a task takes it, and the other is
//! not needed. Which is sooner shows early: a request that is filled late can be cancelled before it
//! costs anything. How much either helps hangs on how startups vary, so it is computed from those that
//! were seen. Where they do not vary, or requests are filled before they could be cancelled, nothing is
//! asked for in excess.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The startups of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::policy) struct Startups {
    /// The latest that were seen whole, up to [`KEPT`]; in no order.
    seen: Vec<Startup>,
    /// The requests that were cancelled since the last of them.
    cancelled: Cancelled,
    /// How many were seen whole, ever.
    whole: u64,
    /// Which is forgotten next.
    next: usize,
    #[serde(skip)]
    known: Option<Known>,
}

/// One startup, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Startup {
    /// From asking until the instance was there.
    requested: f64,
    /// From there until it could take a task.
    booted: f64,
    /// What was cancelled since the one before. Remembered with those that were not, so that a burst of
    /// cancelled requests does not drive out what is known.
    #[serde(default)]
    cancelled: Cancelled,
}

/// Requests that were cancelled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Cancelled {
    number: f64,
    /// How long they had been open on average, in seconds.
    after: f64,
}

/// What follows from them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Known {
    figures: Figures,
    hedge: Hedge,
    /// At which price, and how many startups ago.
    price: Price,
    age: u32,
}

/// What decides between hedges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Price {
    /// What a second of waiting is worth, in seconds of an instance.
    pub(in crate::policy) waiting: f64,
    /// How long an instance stays, in seconds, that came up and is one too many.
    pub(in crate::policy) surplus: f64,
    /// How long after it is known to be one too many a request can be cancelled, in seconds.
    pub(in crate::policy) lag: f64,
}

impl Price {
    /// Whether it is the same, but for rounds that come a little sooner or later.
    fn is_like(self, other: Self) -> bool {
        let same = |a: f64, b: f64| (a - b).abs() < 1e-9;
        same(self.waiting, other.waiting)
            && same(self.surplus, other.surplus)
            && (self.lag - other.lag).abs() < 5.0
    }
}

impl Startups {
    /// Median and 90th percentile, once there are enough to tell.
    pub(in crate::policy) fn quantiles(&self) -> Option<(Duration, Duration)> {
        if self.whole < ENOUGH {
            return None;
        }
        // The figures asked for do not depend on the price.
        let price = Price { waiting: 0.0, surplus: 0.0, lag: 0.0 };
        let (figures, _) = self.clone().known(price);
        let time = |seconds| Duration::try_from_secs_f64(seconds).ok();
        Some((time(figures.median)?, time(figures.p90)?))
    }
}

/// Startups in figures, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Figures {
    /// The mean of all.
    pub(in crate::policy) mean: f64,
    /// Half take no longer.
    pub(in crate::policy) median: f64,
    /// Nine in ten take no longer.
    pub(in crate::policy) p90: f64,
    /// The part of them that is billed.
    pub(in crate::policy) boot: f64,
    /// How long a task waits for one on average, with the hedge that pays.
    pub(in crate::policy) wait: f64,
}

/// How many instances are asked for beyond those that are needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Hedge {
    /// Requests per instance that is missing.
    pub(in crate::policy) ask: f64,
    /// Booting instances per waiting task, above which no more are asked for.
    pub(in crate::policy) boot: f64,
}

impl Hedge {
    /// No more than is needed.
    pub(in crate::policy) const NONE: Self = Self { ask: 1.0, boot: 1.0 };
}

/// Enough to see how startups vary, few enough to forget within days.
const KEPT: usize = 128;
/// With fewer nothing is asked for in excess.
const ENOUGH: u64 = 20;
/// With fewer they are taken to be as usual.
const FEW: u64 = 5;
/// After so many more, what follows is computed anew.
const ANEW: u32 = 16;

/// Before any was seen: EC2 and a plain image, on average.
const USUAL: Figures = Figures { mean: 100.0, median: 90.0, p90: 150.0, boot: 65.0, wait: 100.0 };

/// What can be asked for per missing instance, and what can boot per waiting task.
const ASKED: [f64; 7] = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0];
const BOOTED: [f64; 4] = [1.0, 1.25, 1.5, 2.0];
/// However much waiting is worth, no more boot per waiting task than this, those included that are filled
/// before the rest is cancelled; and no more are asked for that nobody could have cancelled.
const MOST_BOOTED: f64 = 3.0;
const MOST_AT_ONCE: f64 = 2.0;

impl Startups {
    /// Takes in a startup that ended with a worker ready.
    pub(in crate::policy) fn saw(&mut self, requested: Duration, booted: Duration) {
        self.whole = self.whole.saturating_add(1);
        let startup = Startup {
            requested: requested.as_secs_f64(),
            booted: booted.as_secs_f64(),
            cancelled: std::mem::take(&mut self.cancelled),
        };
        match self.seen.get_mut(self.next) {
            Some(oldest) => *oldest = startup,
            None => self.seen.push(startup),
        }
        self.next = (self.next + 1) % KEPT;
        if let Some(known) = &mut self.known {
            known.age = known.age.saturating_add(1);
        }
    }

    /// Takes in a request that was cancelled: it would have taken longer than that.
    pub(in crate::policy) fn cancelled(&mut self, after: Duration) {
        let Cancelled { number, after: mean } = &mut self.cancelled;
        *number += 1.0;
        *mean += (after.as_secs_f64() - *mean) / *number;
    }

    /// How many were seen, of those that are remembered.
    pub(in crate::policy) fn number(&self) -> u64 {
        self.whole.min(KEPT as u64)
    }

    /// Whether enough were seen for figures. (A memory of many that is empty is what another version left.)
    pub(in crate::policy) fn are_known(&self) -> bool {
        self.whole >= FEW && !self.seen.is_empty()
    }

    /// What was seen, in figures; and the hedge that pays.
    pub(in crate::policy) fn known(&mut self, price: Price) -> (Figures, Hedge) {
        if !self.are_known() {
            return (USUAL, Hedge::NONE);
        }
        // While there are few, each counts.
        let anew = if self.whole > ENOUGH { ANEW } else { 1 };
        let known = self.known.filter(|known| known.price.is_like(price) && known.age < anew);
        let known = known.unwrap_or_else(|| {
            let startups = weighed(&self.seen, self.cancelled);
            let enough = self.whole >= ENOUGH;
            let hedge = if enough { best(&startups, price) } else { Hedge::NONE };
            Known { figures: figures(&startups, hedge, price.lag), hedge, price, age: 0 }
        });
        self.known = Some(known);
        (known.figures, known.hedge)
    }
}

/// A startup that was seen whole, and for how large a part of all it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Weighed {
    requested: f64,
    booted: f64,
    weight: f64,
}

/// By request time. A cancelled request counts as those that took longer than it, in equal parts
/// (Efron's redistribution to the right, which gives the Kaplan-Meier estimate): without it, cancelling
/// the slow would make all look quick.
fn weighed(seen: &[Startup], cancelled: Cancelled) -> Vec<Weighed> {
    let mut seen = seen.to_vec();
    seen.sort_by(|a, b| a.requested.total_cmp(&b.requested));
    let mut left: Vec<Cancelled> = seen.iter().map(|startup| startup.cancelled).collect();
    left.push(cancelled);
    left.retain(|cancelled| cancelled.number > 0.0);
    left.sort_by(|a, b| a.after.total_cmp(&b.after));
    let mut left = left.into_iter().peekable();
    let all = |cancelled: &[Startup]| cancelled.iter().map(|it| it.cancelled.number).sum::<f64>();
    // How many are not weighed yet, and the weight of each.
    let mut rest = number(seen.len()) + all(&seen) + cancelled.number;
    let mut each = 1.0 / rest;
    let mut weighed = Vec::with_capacity(seen.len());
    for Startup { requested, booted, .. } in seen {
        while let Some(gone) = left.next_if(|gone| gone.after < requested) {
            rest -= gone.number;
            each += each * gone.number / rest;
        }
        rest -= 1.0;
        weighed.push(Weighed { requested, booted, weight: each });
    }
    // Those that were cancelled later than the last that was filled: as slow as that one at least.
    let rest = 1.0 - weighed.iter().map(|startup| startup.weight).sum::<f64>();
    if let Some(last) = weighed.last_mut() {
        last.weight += rest.max(0.0);
    }
    weighed
}

fn figures(startups: &[Weighed], hedge: Hedge, lag: f64) -> Figures {
    let mut times: Vec<_> =
        startups.iter().map(|it| (it.requested + it.booted, it.weight)).collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let quantile = |part: f64| {
        let mut sum = 0.0;
        let reached = times.iter().find(|(_, weight)| {
            sum += weight;
            sum >= part - 1e-9
        });
        reached.or(times.last()).map_or(0.0, |(time, _)| *time)
    };
    Figures {
        mean: times.iter().map(|(time, weight)| time * weight).sum(),
        median: quantile(0.5),
        p90: quantile(0.9),
        boot: startups.iter().map(|it| it.booted * it.weight).sum(),
        wait: expected(startups, hedge, lag).waited,
    }
}

/// The hedge whose waiting and excess boots cost least, in seconds of an instance per task. A larger one
/// has to be cheaper by a percent: it takes calls and quota.
fn best(startups: &[Weighed], price: Price) -> Hedge {
    let none = cost(startups, Hedge::NONE, price).unwrap_or(f64::MAX);
    let mut best = (Hedge::NONE, none);
    for boot in BOOTED {
        for ask in ASKED.into_iter().filter(|ask| *ask >= boot) {
            let hedge = Hedge { ask, boot };
            let Some(cost) = cost(startups, hedge, price) else { continue };
            if cost < best.1 * 0.99 {
                best = (hedge, cost);
            }
        }
    }
    best.0
}

/// What a hedge costs per waiting task, in seconds of an instance; `None` if too many boot for it.
fn cost(startups: &[Weighed], hedge: Hedge, price: Price) -> Option<f64> {
    let Expected { waited, booted, instances } = expected(startups, hedge, price.lag);
    let quick = startups.iter().take_while(|startup| startup.requested <= price.lag);
    let at_once = quick.map(|startup| startup.weight).sum::<f64>() * hedge.ask;
    let few = instances <= MOST_BOOTED + 1e-9 && at_once <= MOST_AT_ONCE + 1e-9;
    let surplus = (instances - 1.0).max(0.0) * price.surplus;
    few.then_some(price.waiting * waited + booted + surplus)
}

/// What comes of a hedge, per waiting task.
struct Expected {
    /// How long it waits.
    waited: f64,
    /// How long instances boot for it, in all.
    booted: f64,
    /// How many.
    instances: f64,
}

/// What comes of a hedge if many tasks wait: as many are asked for as `ask` says; when `boot` of them are
/// filled the rest is cancelled, `lag` later; the quickest serves the task.
fn expected(startups: &[Weighed], hedge: Hedge, lag: f64) -> Expected {
    let mut filled = 0.0;
    let enough = startups.iter().find(|startup| {
        filled += startup.weight * hedge.ask;
        filled >= hedge.boot - 1e-9
    });
    let until = enough.map_or(f64::MAX, |startup| startup.requested + lag);
    let mut kept: Vec<_> = startups
        .iter()
        .take_while(|startup| startup.requested <= until)
        .map(|it| (it.requested + it.booted, it.booted, it.weight * hedge.ask))
        .collect();
    kept.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (mut served, mut waited, mut booted, mut instances) = (0.0_f64, 0.0, 0.0, 0.0);
    for (ready, boot, weight) in kept {
        let takes = weight.min(1.0 - served);
        served += takes;
        waited += takes * ready;
        booted += weight * boot;
        instances += weight;
    }
    Expected { waited, booted, instances }
}

#[expect(clippy::cast_precision_loss, reason = "at most 128")]
fn number(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price { waiting: 35.0, surplus: 0.0, lag: 10.0 };

    /// Round seconds, spread evenly: `(requested, booted)` of the n-th of 100.
    fn seen(times: impl Fn(f64) -> (f64, f64)) -> Startups {
        let mut startups = Startups::default();
        for n in 0..100 {
            // Not in order, as they never are.
            let (requested, booted) = times(f64::from(n * 37 % 100));
            startups.saw(Duration::from_secs_f64(requested), Duration::from_secs_f64(booted));
        }
        startups
    }

    fn hedge(startups: &mut Startups) -> Hedge {
        startups.known(PRICE).1
    }

    #[test]
    fn on_the_first_day_nothing_is_asked_for_in_excess() {
        let mut startups = Startups::default();
        for n in 0..19 {
            let (figures, hedge) = startups.known(PRICE);
            assert_eq!((figures == USUAL, hedge), (n < 5, Hedge::NONE));
            startups.saw(Duration::from_secs(10 + n), Duration::from_secs(20 + 9 * n));
            startups.cancelled(Duration::from_secs(30));
        }
        assert_eq!(hedge(&mut startups), Hedge::NONE);
        startups.saw(Duration::from_secs(30), Duration::from_mins(1));
        assert!(hedge(&mut startups).ask > 1.0);
    }

    #[test]
    fn where_startups_do_not_vary_nothing_is_asked_for_in_excess() {
        let mut startups = seen(|_| (30.0, 68.0));
        let (figures, hedge) = startups.known(PRICE);
        assert_eq!(hedge, Hedge::NONE);
        let expected = Figures { mean: 98.0, median: 98.0, p90: 98.0, boot: 68.0, wait: 98.0 };
        assert!((figures.mean - expected.mean).abs() < 1e-9 && (figures.wait - 98.0).abs() < 1e-9);
        assert_eq!((figures.median, figures.p90), (expected.median, expected.p90));
    }

    #[test]
    fn requests_that_are_filled_late_are_worth_cancelling() {
        // Filled after 10 to 109 s.
        let mut startups = seen(|n| (10.0 + n, 60.0));
        let hedge = hedge(&mut startups);
        assert!(hedge.ask >= 3.0 && hedge.boot <= 1.25, "{hedge:?}");
        let (figures, _) = startups.known(PRICE);
        assert!(figures.wait < figures.mean - 25.0, "{figures:?}");
    }

    #[test]
    fn requests_that_are_filled_before_they_can_be_cancelled_are_not_asked_for_in_excess() {
        let mut startups = seen(|n| (2.0 + n / 50.0, 95.0));
        assert_eq!(hedge(&mut startups), Hedge::NONE);
        // What boots at random is worth booting twice, at that price of waiting.
        let mut startups = seen(|n| (2.0, 20.0 + 2.0 * n));
        let booted = hedge(&mut startups);
        assert!(booted.ask > 1.0 && booted.ask <= MOST_AT_ONCE, "{booted:?}");
        let cheap = startups.known(Price { waiting: 0.1, ..PRICE }).1;
        assert_eq!(cheap, Hedge::NONE, "not where waiting is worth little");
        let dear = startups.known(Price { surplus: 3600.0, ..PRICE }).1;
        assert_eq!(dear, Hedge::NONE, "not where one too many stays for an hour");
    }

    #[test]
    fn what_was_cancelled_counts_as_slower() {
        let mut startups = Startups::default();
        startups.cancelled(Duration::from_secs(20));
        for requested in [10, 30, 40] {
            startups.saw(Duration::from_secs(requested), Duration::from_secs(50));
        }
        let of = |startups: &Startups| -> Vec<_> {
            let weighed = weighed(&startups.seen, startups.cancelled);
            weighed.iter().map(|it| (it.requested, (it.weight * 1e6).round() / 1e6)).collect()
        };
        assert_eq!(of(&startups), [(10.0, 0.25), (30.0, 0.375), (40.0, 0.375)]);
        // Two more, one after the last that was filled: that one stands for it.
        startups.cancelled(Duration::from_mins(1));
        assert_eq!(of(&startups), [(10.0, 0.2), (30.0, 0.266_667), (40.0, 0.533_333)]);
    }

    #[test]
    fn a_burst_of_cancelled_requests_drives_nothing_out() {
        let mut startups = seen(|n| (10.0 + n, 60.0));
        let before = startups.known(PRICE);
        for _ in 0..10_000 {
            startups.cancelled(Duration::from_secs(15));
        }
        startups.saw(Duration::from_secs(30), Duration::from_mins(1));
        startups.known = None;
        let after = startups.known(PRICE);
        assert_eq!(startups.seen.len(), 101);
        assert!((after.0.mean - before.0.mean).abs() < 10.0, "{before:?} {after:?}");
        assert!(after.1.ask > 1.0);
    }

    #[test]
    fn only_the_latest_count() {
        let mut startups = seen(|n| (10.0 + n, 60.0));
        for _ in 0..KEPT {
            startups.saw(Duration::from_secs(30), Duration::from_secs(68));
        }
        assert_eq!(hedge(&mut startups), Hedge::NONE);
        assert_eq!((startups.seen.len(), startups.number()), (KEPT, KEPT as u64));
        let json = serde_json::to_string(&startups).unwrap();
        assert!(json.len() < 16 * 1024, "{} bytes", json.len());
        let mut back: Startups = serde_json::from_str(&json).unwrap();
        assert_eq!(back.known(PRICE), startups.known(PRICE));
    }
}
