//! A recorded spot market: capacity pools that have capacity at times and reclaim their instances when it
//! ends, and on-demand instances beside them.
//!
//! [`Market::read`] reads the traces of skypilot-org/spot-traces, one file per zone and instance type. A
//! trace that is shorter than a run is repeated.

mod read;

use std::time::Duration;

pub use read::{MarketSource, SpotError};

/// The market in which instances are bought.
#[derive(Clone, Debug, PartialEq)]
pub struct Market {
    pools: Vec<SpotPool>,
    on_demand: Option<OnDemand>,
}

/// On-demand instances, whose capacity is unlimited.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnDemand {
    /// How long a task waits before an instance is requested on demand for it.
    pub after: Duration,
    /// The price as a multiple of the spot price.
    pub price: f64,
}

impl OnDemand {
    /// The default: after 300 s, at three times the spot price.
    pub const USUAL: Self = Self { after: Duration::from_mins(5), price: 3.0 };
}

/// The capacity of one zone and instance type over time.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotPool {
    /// Zone and type, as in the name of the file.
    pub name: String,
    /// The share of requests that find capacity, from 0 to 1, with the time in milliseconds from which it
    /// holds. The first time is 0.
    steps: Vec<(u64, f64)>,
    /// The length of the recording in milliseconds. Never zero.
    length: u64,
}

impl SpotPool {
    /// Creates a pool from samples of how many instances there were, `gap` apart. Returns `None` without a
    /// sample or a gap.
    pub fn new(name: impl Into<String>, gap: Duration, samples: &[u32]) -> Option<Self> {
        let gap = u64::try_from(gap.as_millis()).ok().filter(|gap| *gap > 0)?;
        let most = f64::from(samples.iter().copied().max()?.max(1));
        let mut steps: Vec<(u64, f64)> = Vec::new();
        let mut at: u64 = 0;
        for sample in samples {
            let share = f64::from(*sample) / most;
            if steps.last().is_none_or(|(_, before)| (before - share).abs() > f64::EPSILON) {
                steps.push((at, share));
            }
            at = at.saturating_add(gap);
        }
        Some(Self { name: name.into(), steps, length: at })
    }

    /// The share of requests that find capacity at `at` milliseconds.
    pub fn share(&self, at: u64) -> f64 {
        let at = at % self.length;
        self.steps[self.steps.partition_point(|(from, _)| *from <= at) - 1].1
    }

    /// The first time after `at` at which the share may change.
    pub fn next_step(&self, at: u64) -> u64 {
        let repetition = at - at % self.length;
        let next = self.steps.partition_point(|(from, _)| *from <= at - repetition);
        repetition.saturating_add(self.steps.get(next).map_or(self.length, |(from, _)| *from))
    }

    /// The part of the time in which there is any capacity, from 0 to 1.
    pub fn availability(&self) -> f64 {
        let ends = self.steps.iter().skip(1).map(|(from, _)| *from).chain([self.length]);
        let there = self.steps.iter().zip(ends).filter(|((_, share), _)| *share > 0.0);
        let sum: u64 = there.map(|((from, _), end)| end - from).sum();
        #[expect(clippy::cast_precision_loss, reason = "for display")]
        let part = sum as f64 / self.length as f64;
        part
    }
}

impl Market {
    /// Creates a market of pools, in order of preference, and perhaps on-demand instances.
    pub fn new(pools: Vec<SpotPool>, on_demand: Option<OnDemand>) -> Self {
        Self { pools, on_demand }
    }

    /// Adds the pools of another market behind those of this one.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.pools.extend(other.pools);
        self
    }

    /// The pools, in order of preference.
    pub fn pools(&self) -> &[SpotPool] {
        &self.pools
    }

    /// The on-demand instances, if there are any.
    pub fn on_demand(&self) -> Option<OnDemand> {
        self.on_demand
    }

    /// Replaces the on-demand instances.
    #[must_use]
    pub fn with_on_demand(self, on_demand: Option<OnDemand>) -> Self {
        Self { on_demand, ..self }
    }

    /// Returns a market of only the pool at `index`, which is empty if there is no such pool.
    #[must_use]
    pub fn only(&self, index: usize) -> Self {
        Self { pools: self.pools.get(index).cloned().into_iter().collect(), on_demand: None }
    }

    /// Returns a market without spot pools.
    #[must_use]
    pub fn only_on_demand(price: f64) -> Self {
        Self { pools: Vec::new(), on_demand: Some(OnDemand { after: Duration::ZERO, price }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(samples: &[u32]) -> SpotPool {
        SpotPool::new("a", Duration::from_secs(10), samples).unwrap()
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "halves")]
    fn a_pool_follows_its_recording_and_repeats_it() {
        let pool = pool(&[4, 4, 2, 0]);
        let shares = [0, 19_999, 20_000, 30_000, 40_000, 60_000].map(|at| pool.share(at));
        assert_eq!(shares, [1.0, 1.0, 0.5, 0.0, 1.0, 0.5]);
        let steps = [0, 20_000, 30_000, 40_000].map(|at| pool.next_step(at));
        assert_eq!(steps, [20_000, 30_000, 40_000, 60_000]);
        assert_eq!(pool.availability(), 0.75);
    }

    #[test]
    fn a_pool_without_changes_still_has_a_next_step() {
        let never = pool(&[0]);
        assert_eq!((never.next_step(3), never.availability().to_bits()), (10_000, 0));
        assert!(SpotPool::new("a", Duration::ZERO, &[1]).is_none());
        assert!(SpotPool::new("a", Duration::from_secs(1), &[]).is_none());
    }
}
