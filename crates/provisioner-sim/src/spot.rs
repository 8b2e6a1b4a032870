//! A spot market as it was recorded: capacity pools that have capacity at times, and take their instances
//! back when it ends; and what stands beside them, on demand.
//!
//! Read from the traces of skypilot-org/spot-traces ([`Market::read`]), one file per zone and instance
//! type. A trace that is shorter than a run begins anew.

mod read;

use std::time::Duration;

pub use read::SpotError;

/// The market that a fleet buys in.
#[derive(Clone, Debug, PartialEq)]
pub struct Market {
    pools: Vec<SpotPool>,
    on_demand: Option<OnDemand>,
}

/// Instances on demand: there are always enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OnDemand {
    /// Asked for when a task has waited so long.
    pub after: Duration,
    /// What one costs, in instances of the spot market.
    pub price: f64,
}

impl OnDemand {
    /// What is taken where nothing else is said: after 300 s, at three times the spot price.
    pub const USUAL: Self = Self { after: Duration::from_mins(5), price: 3.0 };
}

/// One zone and instance type.
#[derive(Clone, Debug, PartialEq)]
pub struct SpotPool {
    /// Its name: zone and type.
    pub name: String,
    /// The share of what is asked for that it has room for, from 0 to 1, and from when, in milliseconds.
    /// The first is from 0.
    steps: Vec<(u64, f64)>,
    /// How long the record is, in milliseconds. Never zero.
    length: u64,
}

impl SpotPool {
    /// Makes one of looks `gap` apart: how many instances there were. `None` without a look or a gap.
    pub fn new(name: impl Into<String>, gap: Duration, looks: &[u32]) -> Option<Self> {
        let gap = u64::try_from(gap.as_millis()).ok().filter(|gap| *gap > 0)?;
        let most = f64::from(looks.iter().copied().max()?.max(1));
        let mut steps: Vec<(u64, f64)> = Vec::new();
        let mut at: u64 = 0;
        for look in looks {
            let share = f64::from(*look) / most;
            if steps.last().is_none_or(|(_, before)| (before - share).abs() > f64::EPSILON) {
                steps.push((at, share));
            }
            at = at.saturating_add(gap);
        }
        Some(Self { name: name.into(), steps, length: at })
    }

    /// The share that it has room for at `at` milliseconds.
    pub fn share(&self, at: u64) -> f64 {
        let at = at % self.length;
        self.steps[self.steps.partition_point(|(from, _)| *from <= at) - 1].1
    }

    /// When it next may change, after `at`.
    pub fn next_step(&self, at: u64) -> u64 {
        let begun = at - at % self.length;
        let next = self.steps.partition_point(|(from, _)| *from <= at - begun);
        begun.saturating_add(self.steps.get(next).map_or(self.length, |(from, _)| *from))
    }

    /// The part of the time in which it has any.
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
    /// Makes one of pools, in order of preference, and perhaps instances on demand.
    pub fn new(pools: Vec<SpotPool>, on_demand: Option<OnDemand>) -> Self {
        Self { pools, on_demand }
    }

    /// The pools of both, this one's first, and what there is on demand in this one.
    #[must_use]
    pub fn beside(mut self, other: Self) -> Self {
        self.pools.extend(other.pools);
        self
    }

    /// Its pools.
    pub fn pools(&self) -> &[SpotPool] {
        &self.pools
    }

    /// What there is on demand.
    pub fn on_demand(&self) -> Option<OnDemand> {
        self.on_demand
    }

    /// The same with other instances on demand, or none.
    #[must_use]
    pub fn with_on_demand(self, on_demand: Option<OnDemand>) -> Self {
        Self { on_demand, ..self }
    }

    /// Only the pool at `place`, and nothing on demand. Empty if there is none.
    #[must_use]
    pub fn only(&self, place: usize) -> Self {
        Self { pools: self.pools.get(place).cloned().into_iter().collect(), on_demand: None }
    }

    /// Nothing but instances on demand.
    #[must_use]
    pub fn only_on_demand(price: f64) -> Self {
        Self { pools: Vec::new(), on_demand: Some(OnDemand { after: Duration::ZERO, price }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(looks: &[u32]) -> SpotPool {
        SpotPool::new("a", Duration::from_secs(10), looks).unwrap()
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "halves")]
    fn a_pool_has_what_was_seen_and_begins_anew() {
        let pool = pool(&[4, 4, 2, 0]);
        let shares = [0, 19_999, 20_000, 30_000, 40_000, 60_000].map(|at| pool.share(at));
        assert_eq!(shares, [1.0, 1.0, 0.5, 0.0, 1.0, 0.5]);
        let steps = [0, 20_000, 30_000, 40_000].map(|at| pool.next_step(at));
        assert_eq!(steps, [20_000, 30_000, 40_000, 60_000]);
        assert_eq!(pool.availability(), 0.75);
    }

    #[test]
    fn what_never_changes_can_be_asked_all_the_same() {
        let never = pool(&[0]);
        assert_eq!((never.next_step(3), never.availability().to_bits()), (10_000, 0));
        assert!(SpotPool::new("a", Duration::ZERO, &[1]).is_none());
        assert!(SpotPool::new("a", Duration::from_secs(1), &[]).is_none());
    }
}
