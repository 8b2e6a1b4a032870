//! Startups: how long they take, how much that varies, and whether it pays to request more than is needed.
//!
//! Of two instances requested at once the sooner one is useful: a task takes it, and the other is not
//! needed. The slower one often shows early, since a request that is filled late can be cancelled before
//! it costs anything. How much this helps depends on how startups vary, so it is computed from the observed
//! ones. If they do not vary, or requests are filled before they could be cancelled, nothing is requested
//! in excess.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The startups of one worker type.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(in crate::policy) struct Startups {
    /// The latest complete startups, up to [`KEPT`], in no order.
    seen: Vec<Startup>,
    /// The requests that were cancelled since the latest of them.
    cancelled: Cancelled,
    /// The number of complete startups since the beginning.
    #[serde(rename = "whole")]
    complete: u64,
    /// The index of the one that is replaced next.
    next: usize,
    #[serde(skip)]
    known: Option<KnownStartups>,
}

/// One startup, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Startup {
    /// From the request until the instance existed.
    requested: f64,
    /// From then until its worker could take a task.
    booted: f64,
    /// The requests that were cancelled since the startup before. They are stored with complete startups, so
    /// that a burst of cancelled requests does not displace what is known.
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

/// What was computed from the startups.
#[derive(Clone, Copy, Debug, PartialEq)]
struct KnownStartups {
    figures: Figures,
    hedge: Hedge,
    /// The price for which it was computed.
    price: Price,
    /// How many startups ago.
    age: u32,
}

/// The prices and times that decide between hedges.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Price {
    /// The worth of a second of waiting, in seconds of an instance.
    pub(in crate::policy) waiting: f64,
    /// How long a surplus instance stays once it is up, in seconds.
    pub(in crate::policy) surplus: f64,
    /// How long it takes to cancel a request that has become surplus, in seconds.
    pub(in crate::policy) lag: f64,
}

impl Price {
    /// Whether both are equal, apart from a small difference of the interval between rounds.
    fn is_like(self, other: Self) -> bool {
        let same = |a: f64, b: f64| (a - b).abs() < 1e-9;
        same(self.waiting, other.waiting)
            && same(self.surplus, other.surplus)
            && (self.lag - other.lag).abs() < 5.0
    }
}

impl Startups {
    /// Returns the median and the 90th percentile, once there are enough startups.
    pub(in crate::policy) fn quantiles(&self) -> Option<(Duration, Duration)> {
        if self.complete < ENOUGH {
            return None;
        }
        // These figures do not depend on the price.
        let price = Price { waiting: 0.0, surplus: 0.0, lag: 0.0 };
        let (figures, _) = self.clone().figures(price);
        let time = |seconds| Duration::try_from_secs_f64(seconds).ok();
        Some((time(figures.median)?, time(figures.p90)?))
    }
}

/// Statistics of the startups, in seconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Figures {
    /// The mean.
    pub(in crate::policy) mean: f64,
    /// The median.
    pub(in crate::policy) median: f64,
    /// The 90th percentile.
    pub(in crate::policy) p90: f64,
    /// The mean of the billed part.
    pub(in crate::policy) boot: f64,
    /// The mean wait of a task for an instance, with the hedge that pays.
    pub(in crate::policy) wait: f64,
}

/// How many instances are requested beyond those that are needed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::policy) struct Hedge {
    /// Requests per missing instance.
    pub(in crate::policy) ask: f64,
    /// Booting instances per waiting task, above which no more are requested.
    pub(in crate::policy) boot: f64,
}

impl Hedge {
    /// Requests no more than is needed.
    pub(in crate::policy) const NONE: Self = Self { ask: 1.0, boot: 1.0 };
}

/// The number of remembered startups: enough to see how they vary, few enough to forget within days.
const KEPT: usize = 128;
/// With fewer startups nothing is requested in excess.
const ENOUGH: u64 = 20;
/// With fewer startups the usual figures are assumed.
const FEW: u64 = 5;
/// The number of new startups after which the figures are computed again.
const REFRESH: u32 = 16;

/// The figures before any startup was observed: EC2 with a plain image, on average.
const USUAL: Figures = Figures { mean: 100.0, median: 90.0, p90: 150.0, boot: 65.0, wait: 100.0 };

/// The numbers of requests per missing instance from which a hedge is chosen.
const ASKED: [f64; 7] = [1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0];
/// The numbers of booting instances per waiting task from which a hedge is chosen.
const BOOTED: [f64; 4] = [1.0, 1.25, 1.5, 2.0];
/// The most instances that may boot per waiting task, whatever waiting is worth, including those that are
/// filled before the rest is cancelled.
const MOST_BOOTED: f64 = 3.0;
/// The most requests per waiting task that are filled too soon to be cancelled.
const MOST_AT_ONCE: f64 = 2.0;

impl Startups {
    /// Records a startup that ended with a ready worker.
    pub(in crate::policy) fn record(&mut self, requested: Duration, booted: Duration) {
        self.complete = self.complete.saturating_add(1);
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

    /// Records a cancelled request, which would have taken longer than `after`.
    pub(in crate::policy) fn record_cancelled_request(&mut self, after: Duration) {
        let Cancelled { number, after: mean } = &mut self.cancelled;
        *number += 1.0;
        *mean += (after.as_secs_f64() - *mean) / *number;
    }

    /// Returns how many startups are remembered.
    pub(in crate::policy) fn number(&self) -> u64 {
        self.complete.min(KEPT as u64)
    }

    /// Whether there are enough startups for figures. (Another version can leave a count without startups.)
    pub(in crate::policy) fn are_known(&self) -> bool {
        self.complete >= FEW && !self.seen.is_empty()
    }

    /// Returns the figures of the startups, and the hedge that pays at `price`.
    pub(in crate::policy) fn figures(&mut self, price: Price) -> (Figures, Hedge) {
        if !self.are_known() {
            return (USUAL, Hedge::NONE);
        }
        // While there are few startups, each one counts.
        let refresh = if self.complete > ENOUGH { REFRESH } else { 1 };
        let known = self.known.filter(|known| known.price.is_like(price) && known.age < refresh);
        let known = known.unwrap_or_else(|| {
            let startups = weights(&self.seen, self.cancelled);
            let enough = self.complete >= ENOUGH;
            let hedge = if enough { best(&startups, price) } else { Hedge::NONE };
            KnownStartups { figures: figures(&startups, hedge, price.lag), hedge, price, age: 0 }
        });
        self.known = Some(known);
        (known.figures, known.hedge)
    }
}

/// A complete startup with its weight: the fraction of all startups for which it stands.
#[derive(Clone, Copy, Debug, PartialEq)]
struct WeightedStartup {
    requested: f64,
    booted: f64,
    weight: f64,
}

/// Weights the startups, in the order of their request times.
///
/// A cancelled request adds to the weight of those that took longer than it, in equal parts (Efron's
/// redistribution to the right, which gives the Kaplan-Meier estimate). Without this, cancelling slow requests
/// would make all startups look quick.
fn weights(seen: &[Startup], cancelled: Cancelled) -> Vec<WeightedStartup> {
    let mut seen = seen.to_vec();
    seen.sort_by(|a, b| a.requested.total_cmp(&b.requested));
    let mut left: Vec<Cancelled> = seen.iter().map(|startup| startup.cancelled).collect();
    left.push(cancelled);
    left.retain(|cancelled| cancelled.number > 0.0);
    left.sort_by(|a, b| a.after.total_cmp(&b.after));
    let mut left = left.into_iter().peekable();
    let all_cancelled = seen.iter().map(|startup| startup.cancelled.number).sum::<f64>();
    // How many have no weight yet, and the weight of each.
    let mut rest = number(seen.len()) + all_cancelled + cancelled.number;
    let mut each = 1.0 / rest;
    let mut weighted = Vec::with_capacity(seen.len());
    for Startup { requested, booted, .. } in seen {
        while let Some(gone) = left.next_if(|gone| gone.after < requested) {
            rest -= gone.number;
            each += each * gone.number / rest;
        }
        rest -= 1.0;
        weighted.push(WeightedStartup { requested, booted, weight: each });
    }
    // Requests cancelled after the slowest startup count as at least as slow as that one.
    let rest = 1.0 - weighted.iter().map(|startup| startup.weight).sum::<f64>();
    if let Some(last) = weighted.last_mut() {
        last.weight += rest.max(0.0);
    }
    weighted
}

/// Returns the figures of weighted startups.
fn figures(startups: &[WeightedStartup], hedge: Hedge, lag: f64) -> Figures {
    let mut times: Vec<_> = startups
        .iter()
        .map(|startup| (startup.requested + startup.booted, startup.weight))
        .collect();
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
        boot: startups.iter().map(|startup| startup.booted * startup.weight).sum(),
        wait: expected(startups, hedge, lag).waited,
    }
}

/// Returns the hedge whose waiting and excess boots cost least, in seconds of an instance per task. A larger
/// hedge must be cheaper by a percent, because it takes calls and quota.
fn best(startups: &[WeightedStartup], price: Price) -> Hedge {
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

/// Returns the cost of a hedge per waiting task, in seconds of an instance, or `None` if too many boot for it.
fn cost(startups: &[WeightedStartup], hedge: Hedge, price: Price) -> Option<f64> {
    let HedgeEffect { waited, booted, instances } = expected(startups, hedge, price.lag);
    let quick = startups.iter().take_while(|startup| startup.requested <= price.lag);
    let at_once = quick.map(|startup| startup.weight).sum::<f64>() * hedge.ask;
    let few = instances <= MOST_BOOTED + 1e-9 && at_once <= MOST_AT_ONCE + 1e-9;
    let surplus = (instances - 1.0).max(0.0) * price.surplus;
    few.then_some(price.waiting * waited + booted + surplus)
}

/// The expected effect of a hedge, per waiting task.
struct HedgeEffect {
    /// How long the task waits, in seconds.
    waited: f64,
    /// How long instances boot for it in total, in seconds.
    booted: f64,
    /// How many instances boot for it.
    instances: f64,
}

/// Returns the expected effect of a hedge if many tasks wait: `ask` instances are requested per task; when
/// `boot` of them are filled the rest is cancelled, `lag` later; the quickest one serves the task.
fn expected(startups: &[WeightedStartup], hedge: Hedge, lag: f64) -> HedgeEffect {
    let mut filled = 0.0;
    let enough = startups.iter().find(|startup| {
        filled += startup.weight * hedge.ask;
        filled >= hedge.boot - 1e-9
    });
    let until = enough.map_or(f64::MAX, |startup| startup.requested + lag);
    let mut kept: Vec<_> = startups
        .iter()
        .take_while(|startup| startup.requested <= until)
        .map(|startup| {
            let ready = startup.requested + startup.booted;
            (ready, startup.booted, startup.weight * hedge.ask)
        })
        .collect();
    kept.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut served = 0.0_f64;
    let mut effect = HedgeEffect { waited: 0.0, booted: 0.0, instances: 0.0 };
    for (ready, boot, weight) in kept {
        let takes = weight.min(1.0 - served);
        served += takes;
        effect.waited += takes * ready;
        effect.booted += weight * boot;
        effect.instances += weight;
    }
    effect
}

#[expect(clippy::cast_precision_loss, reason = "at most 128")]
fn number(n: usize) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICE: Price = Price { waiting: 35.0, surplus: 0.0, lag: 10.0 };

    /// Returns 100 startups, the n-th with the times `(requested, booted)` of `times(n)`.
    fn seen(times: impl Fn(f64) -> (f64, f64)) -> Startups {
        let mut startups = Startups::default();
        for n in 0..100 {
            // They never come in order.
            let (requested, booted) = times(f64::from(n * 37 % 100));
            startups.record(Duration::from_secs_f64(requested), Duration::from_secs_f64(booted));
        }
        startups
    }

    fn hedge(startups: &mut Startups) -> Hedge {
        startups.figures(PRICE).1
    }

    #[test]
    fn on_the_first_day_nothing_is_requested_in_excess() {
        let mut startups = Startups::default();
        for n in 0..19 {
            let (figures, hedge) = startups.figures(PRICE);
            assert_eq!((figures == USUAL, hedge), (n < 5, Hedge::NONE));
            startups.record(Duration::from_secs(10 + n), Duration::from_secs(20 + 9 * n));
            startups.record_cancelled_request(Duration::from_secs(30));
        }
        assert_eq!(hedge(&mut startups), Hedge::NONE);
        startups.record(Duration::from_secs(30), Duration::from_mins(1));
        assert!(hedge(&mut startups).ask > 1.0);
    }

    #[test]
    fn where_startups_do_not_vary_nothing_is_requested_in_excess() {
        let mut startups = seen(|_| (30.0, 68.0));
        let (figures, hedge) = startups.figures(PRICE);
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
        let (figures, _) = startups.figures(PRICE);
        assert!(figures.wait < figures.mean - 25.0, "{figures:?}");
    }

    #[test]
    fn requests_filled_before_they_can_be_cancelled_are_not_made_in_excess() {
        let mut startups = seen(|n| (2.0 + n / 50.0, 95.0));
        assert_eq!(hedge(&mut startups), Hedge::NONE);
        // Boots of random length are worth booting twice at this price of waiting.
        let mut startups = seen(|n| (2.0, 20.0 + 2.0 * n));
        let booted = hedge(&mut startups);
        assert!(booted.ask > 1.0 && booted.ask <= MOST_AT_ONCE, "{booted:?}");
        let cheap = startups.figures(Price { waiting: 0.1, ..PRICE }).1;
        assert_eq!(cheap, Hedge::NONE, "not where waiting is worth little");
        let dear = startups.figures(Price { surplus: 3600.0, ..PRICE }).1;
        assert_eq!(dear, Hedge::NONE, "not where one too many stays for an hour");
    }

    #[test]
    fn cancelled_requests_count_as_slower() {
        let mut startups = Startups::default();
        startups.record_cancelled_request(Duration::from_secs(20));
        for requested in [10, 30, 40] {
            startups.record(Duration::from_secs(requested), Duration::from_secs(50));
        }
        let of = |startups: &Startups| -> Vec<_> {
            let weighted = weights(&startups.seen, startups.cancelled);
            weighted
                .iter()
                .map(|startup| (startup.requested, (startup.weight * 1e6).round() / 1e6))
                .collect()
        };
        assert_eq!(of(&startups), [(10.0, 0.25), (30.0, 0.375), (40.0, 0.375)]);
        // Two cancelled requests now, one later than the slowest startup, which then stands for it.
        startups.record_cancelled_request(Duration::from_mins(1));
        assert_eq!(of(&startups), [(10.0, 0.2), (30.0, 0.266_667), (40.0, 0.533_333)]);
    }

    #[test]
    fn a_burst_of_cancelled_requests_displaces_nothing() {
        let mut startups = seen(|n| (10.0 + n, 60.0));
        let before = startups.figures(PRICE);
        for _ in 0..10_000 {
            startups.record_cancelled_request(Duration::from_secs(15));
        }
        startups.record(Duration::from_secs(30), Duration::from_mins(1));
        startups.known = None;
        let after = startups.figures(PRICE);
        assert_eq!(startups.seen.len(), 101);
        assert!((after.0.mean - before.0.mean).abs() < 10.0, "{before:?} {after:?}");
        assert!(after.1.ask > 1.0);
    }

    #[test]
    fn only_the_latest_count() {
        let mut startups = seen(|n| (10.0 + n, 60.0));
        for _ in 0..KEPT {
            startups.record(Duration::from_secs(30), Duration::from_secs(68));
        }
        assert_eq!(hedge(&mut startups), Hedge::NONE);
        assert_eq!((startups.seen.len(), startups.number()), (KEPT, KEPT as u64));
        let json = serde_json::to_string(&startups).unwrap();
        assert!(json.len() < 16 * 1024, "{} bytes", json.len());
        let mut back: Startups = serde_json::from_str(&json).unwrap();
        assert_eq!(back.figures(PRICE), startups.figures(PRICE));
    }
}
